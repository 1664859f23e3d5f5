"""The proof of an operator's signatures: on every mesh, what the ranks make of their shards joins to the whole result.

The operator's examples, and fresh data of the same domains and of other sizes, are cut by each signature that its rule gives; the
kernel runs on every rank with that rank's attributes; the joined results are compared with those of one kernel call on whole
operands: bit for bit where the operator is `exact`, else within the example's tolerance of a float64 call.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from oflow.errors import SbpError
from oflow.ops.meaning import Arrays, Mesh, Replicas, boxes, near, sharded, type_of, ways_of, whole
from oflow.ops.op import Op
from oflow.ops.redraw import Case, cases_of, variants
from oflow.sbp import Sbp, Signature
from oflow.types import FLOATS

Way = tuple[Signature, ...]
"""One signature for each mesh axis, outer first."""

MESHES: tuple[Mesh, ...] = ((2,), (3,), (4,), (2, 2), (2, 3))


@dataclass(frozen=True, slots=True)
class Proof:
    """What was checked: cases are examples, as they stand or changed; `signatures` counts the different ones on one mesh axis."""

    op: str
    cases: int
    signatures: int
    checks: int

    def __str__(self) -> str:
        return f"{self.op}: {self.signatures} signatures hold in {self.checks} checks on {self.cases} cases"


def prove_signatures(op: Op, meshes: Sequence[Mesh] = MESHES, *, sample: int | None = None, draws: int = 1, seed: int = 0) -> Proof:
    """Check every signature of an operator on these meshes (sizes of the axes, outer first) against the meaning of S, B and P.

    sample  how many choices of signatures to check for each case and mesh (drawn with the seed); None: all of them. The examples
            as they stand are always checked with all signatures of 1-D meshes
    draws   how often each example is drawn again with fresh data, beside its two variants of other sizes

    Raises SbpError that names example, signature, mesh, rank and first wrong element; its facts hold the same as `case`, `way`,
    `mesh`, `result`, `rank` and `element`. An operator without examples or without a kernel cannot be proven: SbpError.
    """
    examples = cases_of(op)
    if not examples:
        raise SbpError(f"operator {op.name} has no example; give it one with example=lambda: [Example((array, ...), attributes)]")
    random = np.random.default_rng([seed, zlib.crc32(op.name.encode())])
    seen: set[Signature] = set()
    cases = checks = 0
    for example in examples:
        for case in variants(op, example, draws, random):
            cases += 1
            wanted = reference(op, case)
            for mesh in meshes:
                few = sample if case.label or len(mesh) > 1 else None
                for way in ways(op, case, mesh, few, random):
                    check_way(op, case, wanted, way, mesh, random)
                    seen.update(way)
                    checks += 1
    return Proof(op.name, cases, len(seen), checks)


def ways(op: Op, case: Case, mesh: Mesh, sample: int | None, random: np.random.Generator) -> list[Way]:
    """All choices of one signature a mesh axis, or a random sample of them."""
    types = tuple(map(type_of, case.operands))
    if len(mesh) == 1:
        found: Sequence[Way] = [(s,) for s in op.signatures(types, case.attrs, *mesh)]
    else:
        found = op.mesh_signatures(types, case.attrs, mesh)
    if sample is None or len(found) <= sample:
        return list(found)
    return [found[i] for i in sorted(random.choice(len(found), sample, replace=False))]


def reference(op: Op, case: Case) -> list[np.ndarray]:
    """The results on whole operands; of an operator that rounds, in float64. Raises SbpError where the kernel fails."""
    operands = case.operands if op.exact else tuple(x.astype("float64") if x.dtype.name in FLOATS else x for x in case.operands)
    with _blamed(f"{op.name}, {case}, on whole operands"):
        return whole(op, operands, case.attrs)


class _blamed(contextlib.AbstractContextManager[None]):
    """Turns what a kernel raises into an SbpError that says where."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, SbpError):
            raise SbpError(f"{self.where}: the kernel raises {type(error).__name__}: {error}") from error


def check_way(op: Op, case: Case, wanted: Arrays, way: Way, mesh: Mesh, random: np.random.Generator) -> None:
    """Raises SbpError where the joined results are not `wanted`."""
    where = f"{op.name}, {case}, signature {named(way)} on a mesh {mesh}"
    try:
        with _blamed(where):
            found = sharded(op, case.operands, case.attrs, way, mesh, random)
    except Replicas as e:
        raise SbpError(f"{where}: {e}", case=case, way=way, mesh=mesh, rank=e.rank) from None
    for i, (result, expected, sbps) in enumerate(zip(found, wanted, ways_of(way)[1], strict=True)):
        at = first_wrong(result, expected, None if op.exact else case.tolerance)
        if at is not None:
            rank = rank_of(at, expected.shape, tuple(sbps), mesh) if result.shape == expected.shape else None
            _refuse(where, i, result, expected, at, rank, case=case, way=way, mesh=mesh)


def named(way: Way) -> str:
    return str(way[0]) if len(way) == 1 else f"({' | '.join(map(str, way))})"


def first_wrong(found: np.ndarray, wanted: np.ndarray, tolerance: float | None) -> tuple[int, ...] | None:
    """Where the first element lies that differs, and () where shape or dtype do; tolerance None: bit for bit.

    A tolerance is relative: see `near`.
    """
    if found.shape != wanted.shape or (tolerance is None and found.dtype != wanted.dtype):
        return ()
    if tolerance is None:
        if np.array_equal(found, wanted):
            return None
        equal = (found == wanted) | ((found != found) & (wanted != wanted))
    else:
        equal = near(found, wanted, tolerance)
    return None if equal.all() else tuple(map(int, np.argwhere(~equal)[0]))


def rank_of(at: tuple[int, ...], shape: tuple[int, ...], way: tuple[Sbp, ...], mesh: Mesh) -> int | None:
    """The first rank that holds this element; None where several ranks' parts make it up."""
    if any(s.is_partial for s in way):
        return None
    held = boxes(shape, way, mesh)
    return next((r for r, box in enumerate(held) if all(a <= i < b for i, (a, b) in zip(at, box, strict=True))), None)


def _refuse(
    where: str, result: int, found: np.ndarray, wanted: np.ndarray, at: tuple[int, ...], rank: int | None, *, case: Case, way: Way,
    mesh: Mesh,
) -> NoReturn:  # fmt: skip
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        told = f"result {result} is {type_of(found)} and should be {type_of(wanted)}"
    else:
        who = f"rank {rank} makes" if rank is not None else "the ranks' parts join to"
        told = f"element {list(at)} of result {result}: {who} {found[at]}, the whole has {wanted[at]}"
    raise SbpError(f"{where}: {told}", case=case, way=way, mesh=mesh, result=result, rank=rank, element=at)
