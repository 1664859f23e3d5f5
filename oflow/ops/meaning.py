"""What S, B and P mean, written out: cut a tensor into the shards that ranks hold, run a kernel on them, join its results.

A mesh is a tuple of sizes, outer axis first; a way gives one Sbp (for operators: one Signature) for each of its axes. Cuts are
nested, outer axis first; joins too, so of two partial axes value = join of the outer(join of the inner(shards)).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from oflow.errors import SbpError
from oflow.ops.boxing import JOIN, identity_of
from oflow.ops.op import Attributes, Op, Shards
from oflow.sbp import Box, Sbp, Signature, split_range
from oflow.types import FLOATS, TensorType, freeze

Mesh = tuple[int, ...]
Arrays = Sequence[np.ndarray]


def type_of(array: np.ndarray) -> TensorType:
    return TensorType(array.shape, array.dtype.name)


def _whole_box(shape: tuple[int, ...]) -> Box:
    return tuple((0, n) for n in shape)


@lru_cache(maxsize=65536)
def boxes(shape: tuple[int, ...], way: tuple[Sbp, ...], mesh: Mesh) -> tuple[Box, ...]:
    """The region that each rank holds, in row-major order of the mesh: nested balanced ranges of the split axes."""
    found = [_whole_box(shape)]
    for sbp, parts in zip(way, mesh, strict=True):
        found = [_part(box, sbp, parts, at) for box in found for at in range(parts)]
    return tuple(found)


def _part(box: Box, sbp: Sbp, parts: int, at: int) -> Box:
    if not sbp.is_split:
        return box
    start, stop = box[sbp.axis]
    low, high = split_range(stop - start, parts, at)
    return (*box[: sbp.axis], (start + low, start + high), *box[sbp.axis + 1 :])


# ------------------------------------------------------------ cut


def cut(array: np.ndarray, way: Sequence[Sbp], mesh: Mesh, random: np.random.Generator) -> list[np.ndarray]:
    """One shard a rank: slices, copies, random summands, or candidates of a maximum or minimum.

    Replicas along a B axis hold the same, further cuts included.
    """
    if not mesh:
        return [array]
    if way[0].is_split or way[0].is_partial:
        outer = _cut(array, way[0], mesh[0], random)
        return [shard for part in outer for shard in cut(part, way[1:], mesh[1:], random)]
    inner = cut(array, way[1:], mesh[1:], random)
    return [shard.copy() for _ in range(mesh[0]) for shard in inner]


def _cut(array: np.ndarray, sbp: Sbp, parts: int, random: np.random.Generator) -> list[np.ndarray]:
    if sbp.is_split:
        return [array[tuple(slice(*span) for span in box)].copy() for box in boxes(array.shape, (sbp,), (parts,))]
    return _summands(array, parts, random) if sbp.op == "sum" else _candidates(array, sbp.op, parts, random)


def _summands(array: np.ndarray, parts: int, random: np.random.Generator) -> list[np.ndarray]:
    """Random numbers that add up to the array: whole ones, or quarters where it has fractions (sums of both are exact)."""
    grain = 1 if array.dtype.name not in FLOATS or bool((array == np.floor(array)).all()) else 4
    made = [(random.integers(-3 * grain, 3 * grain + 1, array.shape) / grain).astype(array.dtype) for _ in range(parts - 1)]
    return [*made, np.asarray(array - sum(made), dtype=array.dtype)]


def _candidates(array: np.ndarray, op: str, parts: int, random: np.random.Generator) -> list[np.ndarray]:
    """Each element is right on one rank; the others hold a weaker value of the array, or what boxing fills with: the identity."""
    owner = random.integers(0, parts, array.shape)
    found = []
    for rank in range(parts):
        filled = np.where(random.random(array.shape) < 0.3, identity_of(op, array.dtype), _weaker(array, op, random))
        found.append(np.where(owner == rank, array, filled).astype(array.dtype))
    return found


def _weaker(array: np.ndarray, op: str, random: np.random.Generator) -> np.ndarray:
    """Values that lose, or draw, against the array: numbers up to 3 off."""
    if array.dtype.kind == "b":
        return np.asarray(JOIN["min" if op == "max" else "max"](array, random.random(array.shape) < 0.5))
    off = random.integers(0, 4, array.shape).astype(array.dtype)
    if array.dtype.name in FLOATS:
        return np.asarray(array - off if op == "max" else array + off)
    room = array - np.iinfo(array.dtype).min if op == "max" else np.iinfo(array.dtype).max - array
    off = np.minimum(off, np.where(room < 0, off, room).astype(array.dtype))
    return np.asarray(array - off if op == "max" else array + off)


# ------------------------------------------------------------ join


class Replicas(SbpError):
    """Ranks hold different copies of a tensor that should be the same everywhere: this rank and the first."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        super().__init__(f"rank {rank} holds another copy than the first rank of its group")


def join(shards: Arrays, way: Sequence[Sbp], mesh: Mesh) -> np.ndarray:
    """The logical array. Raises Replicas where ranks along a B axis hold different shards."""
    return _join(shards, way, mesh, 0)


def _join(shards: Arrays, way: Sequence[Sbp], mesh: Mesh, first: int) -> np.ndarray:
    """`first` is the rank of the first shard."""
    if not mesh:
        return shards[0]
    inner = len(shards) // mesh[0]
    groups = [shards[i : i + inner] for i in range(0, len(shards), inner)]
    if way[0].is_split or way[0].is_partial:
        parts = [_join(group, way[1:], mesh[1:], first + i * inner) for i, group in enumerate(groups)]
        return np.concatenate(parts, axis=way[0].axis) if way[0].is_split else np.asarray(reduce(JOIN[way[0].op], parts))
    for i, shard in enumerate(shards):
        if not same(shard, shards[i % inner]):
            raise Replicas(first + i)
    return _join(groups[0], way[1:], mesh[1:], first)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal element for element, NaN equal to NaN."""
    return bool(a.shape == b.shape and (np.array_equal(a, b) or (a.dtype.name in FLOATS and np.array_equal(a, b, equal_nan=True))))


def near(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> np.ndarray:
    """Where elements agree, within a tolerance relative to the element and to the largest of `wanted` (leaving out what stands for
    infinity); NaN agrees with NaN."""
    size = np.abs(wanted)
    scale = max(1.0, float(size[size < 1e30].max(initial=0)))
    return np.asarray(np.isclose(found, wanted, rtol=tolerance, atol=tolerance * scale, equal_nan=True))


# ------------------------------------------------------------ run


def run(op: Op, ins: Arrays, types: Iterable[TensorType], attrs: Attributes, nbytes: int) -> list[np.ndarray]:
    """The results of one kernel call into memory full of rubbish (rewritten operands: into copies of them)."""
    if op.run is None:
        raise SbpError(f"operator {op.name} has no kernel; declare it with @op.kernel")
    outs = [np.full(t.shape, True if t.dtype == "bool" else 77, t.dtype) for t in types]
    for result, operand in op.inplace.items():
        outs[result][...] = ins[operand]
    kept = set(op.inplace.values())
    scratch = {"workspace": np.full(nbytes, 0x5A, "uint8")} if nbytes else {}
    op.run(*outs, *(x for i, x in enumerate(ins) if i not in kept), **attrs, **scratch)
    return outs


@dataclass(frozen=True, slots=True)
class Call:
    """What one rank is asked to do: the types of its results, its attributes, the bytes of workspace."""

    outs: tuple[TensorType, ...]
    attrs: Attributes
    nbytes: int


def call_on(op: Op, ins: Arrays, outs: Sequence[TensorType], attrs: Attributes, region: Shards) -> Call:
    """The call of a rank that holds `ins`, the part `region` of a logical call with results `outs`."""
    local = dict(freeze(op.local_attrs(attrs, region)))
    types = tuple(TensorType(tuple(b - a for a, b in box), t.dtype) for box, t in zip(region.outs, outs, strict=True))
    return Call(types, local, op.workspace_nbytes(tuple(map(type_of, ins)), types, local))


def whole(op: Op, operands: Arrays, attrs: Attributes) -> list[np.ndarray]:
    """The results on whole operands."""
    ins = tuple(map(type_of, operands))
    outs = op.infer(ins, attrs)
    everything = Shards(*(tuple(_whole_box(t.shape) for t in side) for side in (ins, outs)))
    call = call_on(op, operands, outs, attrs, everything)
    return run(op, operands, call.outs, call.attrs, call.nbytes)


def ways_of(signatures: Sequence[Signature]) -> tuple[list[tuple[Sbp, ...]], list[tuple[Sbp, ...]]]:
    """Signatures, one a mesh axis, as the Sbp of each operand and of each result on all mesh axes."""
    ins = list(zip(*(s.ins for s in signatures), strict=True))
    outs = list(zip(*(s.outs for s in signatures), strict=True))
    return ins, outs


def regions(shapes: Iterable[tuple[int, ...]], ways: Sequence[Sequence[Sbp]], mesh: Mesh) -> list[tuple[Box, ...]]:
    """For each rank the regions of all tensors of these shapes."""
    found = [boxes(shape, tuple(way), mesh) for shape, way in zip(shapes, ways, strict=True)]
    return [tuple(of[rank] for of in found) for rank in range(math.prod(mesh))]


def on_ranks(
    op: Op, operands: Arrays, attrs: Attributes, way: Sequence[Signature], mesh: Mesh, random: np.random.Generator
) -> list[list[np.ndarray]]:
    """What each rank makes of its shards, by one signature a mesh axis. All have one workspace: the largest that any needs."""
    ins, outs = ways_of(way)
    types = op.infer(tuple(map(type_of, operands)), attrs)
    held = [cut(x, sbps, mesh, random) for x, sbps in zip(operands, ins, strict=True)]
    inner, outer = regions((x.shape for x in operands), ins, mesh), regions((t.shape for t in types), outs, mesh)
    calls = [
        call_on(op, [shards[rank] for shards in held], types, attrs, Shards(inner[rank], outer[rank])) for rank in range(len(inner))
    ]
    nbytes = max(call.nbytes for call in calls)
    return [run(op, [shards[rank] for shards in held], call.outs, call.attrs, nbytes) for rank, call in enumerate(calls)]


def sharded(
    op: Op, operands: Arrays, attrs: Attributes, way: Sequence[Signature], mesh: Mesh, random: np.random.Generator
) -> list[np.ndarray]:
    """The logical results, joined from what the ranks of the mesh make of their shards. Raises Replicas where copies differ."""
    made = on_ranks(op, operands, attrs, way, mesh, random)
    return [join([results[i] for results in made], sbps, mesh) for i, sbps in enumerate(ways_of(way)[1])]
