"""What S, B and P mean, written out: cut an array into the parts that ranks hold, run a kernel on them, join the results."""

from __future__ import annotations

from functools import reduce

import numpy as np

from oflow.ops import REGISTRY
from oflow.ops.op import Op, Shards
from oflow.sbp import Box, Sbp, Signature, split_range
from oflow.types import TensorType, freeze

JOIN = {"sum": np.add, "max": np.maximum, "min": np.minimum}
LOCAL = sorted(name for name, op in REGISTRY.items() if op.lowering == "local")


def type_of(array: np.ndarray) -> TensorType:
    return TensorType(array.shape, array.dtype.name)


def box_of(shape: tuple[int, ...], sbp: Sbp, parts: int, rank: int) -> Box:
    """The region that a rank holds: a balanced range of the split axis, all of the others."""
    ranges = [(0, n) for n in shape]
    if sbp.is_split:
        ranges[sbp.axis] = split_range(shape[sbp.axis], parts, rank)
    return tuple(ranges)


def cut(array: np.ndarray, sbp: Sbp, parts: int, random: np.random.Generator) -> list[np.ndarray]:
    """One part a rank: slices, copies, random whole-number summands, or candidates of a maximum or minimum."""
    if not sbp.is_partial:
        boxes = [box_of(array.shape, sbp, parts, rank) for rank in range(parts)]
        return [array[tuple(slice(*span) for span in box)].copy() for box in boxes]
    if sbp.op == "sum":
        summands = [random.integers(-3, 4, array.shape).astype(array.dtype) for _ in range(parts - 1)]
        return [*summands, np.asarray(array - sum(summands), dtype=array.dtype)]
    owner = random.integers(0, parts, array.shape)
    shuffled = random.permutation(array.reshape(-1)).reshape(array.shape)
    lesser = (np.minimum if sbp.op == "max" else np.maximum)(array, shuffled)
    return [np.where(owner == rank, array, lesser) for rank in range(parts)]


def join(parts: list[np.ndarray], sbp: Sbp) -> np.ndarray:
    """The logical array; raises AssertionError where copies differ."""
    if sbp.is_split:
        return np.concatenate(parts, axis=sbp.axis)
    if sbp.is_partial:
        return np.asarray(reduce(JOIN[sbp.op], parts))
    for other in parts[1:]:
        np.testing.assert_array_equal(other, parts[0], err_msg="ranks differ in a B result")
    return parts[0]


def run(op: Op, ins: list[np.ndarray], types: list[TensorType], attrs: dict, nbytes: int) -> list[np.ndarray]:
    """The results of one kernel call into slots full of rubbish (rewritten operands: into copies of them)."""
    outs = [np.full(t.shape, True if t.dtype == "bool" else 77, t.dtype) for t in types]
    for result, operand in op.inplace.items():
        outs[result][...] = ins[operand]
    passed = [x for i, x in enumerate(ins) if i not in op.inplace.values()]
    if nbytes:
        attrs = {**attrs, "workspace": np.full(nbytes, 0x5A, "uint8")}
    assert op.run is not None, f"{op.name} has no kernel"
    op.run(*outs, *passed, **attrs)
    return outs


def whole(op: Op, operands: list[np.ndarray], attrs: dict) -> list[np.ndarray]:
    """The results on whole operands."""
    ins = tuple(map(type_of, operands))
    outs = op.infer(ins, attrs)
    boxes = [tuple(tuple((0, n) for n in t.shape) for t in side) for side in (ins, outs)]
    local = dict(freeze(op.local_attrs(attrs, Shards(*boxes))))
    return run(op, operands, list(outs), local, op.workspace_nbytes(ins, outs, local))


def sharded(
    op: Op, operands: list[np.ndarray], attrs: dict, signature: Signature, parts: int, random: np.random.Generator
) -> list[np.ndarray]:
    """The results joined from `parts` ranks that work on shards by this signature. Ranks share one workspace size."""
    outs = op.infer(tuple(map(type_of, operands)), attrs)
    held = [cut(x, sbp, parts, random) for x, sbp in zip(operands, signature.ins, strict=True)]
    calls = []
    for rank in range(parts):
        ins = [shards[rank] for shards in held]
        inner = tuple(box_of(x.shape, sbp, parts, rank) for x, sbp in zip(operands, signature.ins, strict=True))
        outer = tuple(box_of(t.shape, sbp, parts, rank) for t, sbp in zip(outs, signature.outs, strict=True))
        types = [TensorType(tuple(b - a for a, b in box), t.dtype) for box, t in zip(outer, outs, strict=True)]
        local = dict(freeze(op.local_attrs(attrs, Shards(inner, outer))))
        calls.append((ins, types, local, op.workspace_nbytes(tuple(map(type_of, ins)), tuple(types), local)))
    nbytes = max(call[3] for call in calls)
    made = [run(op, ins, types, local, nbytes) for ins, types, local, _ in calls]
    return [join([results[i] for results in made], sbp) for i, sbp in enumerate(signature.outs)]
