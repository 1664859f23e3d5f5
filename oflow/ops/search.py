"""The converse of the proof: which signatures hold that an operator's rule does not give.

Every layout of every operand (B, S of each axis, P of sum, max and min) is tried on one mesh axis, and every layout of every
result. What is tried has to be a legal call: the shards' sizes fit the rule's factors, and the kernel does not raise. A signature
holds if it does for several draws of data, outside the examples' ranges too, on each number of ranks.
"""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from oflow.errors import OflowError, SbpError, ShapeError
from oflow.ops.meaning import Arrays, Replicas, join, near, on_ranks, type_of, whole
from oflow.ops.op import Op
from oflow.ops.redraw import Case, cases_of, domains, free_factors, redrawn, resized
from oflow.sbp import B, P, S, Sbp, Signature
from oflow.types import FLOATS, TensorType

PARTIALS = (P, P("max"), P("min"))
REFUSALS = (OflowError, ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError)
Axes = tuple[int | None, ...]
"""For each tensor the axis that is split, or None."""


@dataclass(frozen=True, slots=True)
class Missed:
    """A signature that holds for an example of an operator, on every number of ranks tried, and that its rule does not give."""

    op: str
    case: Case
    signature: Signature

    def __str__(self) -> str:
        return f"{self.op}, {self.case}: {self.signature}"


def missed_signatures(
    op: Op, parts: Sequence[int] = (2, 3), *, draws: int = 10, limit: int | None = None, examples: int | None = None, seed: int = 0
) -> tuple[Missed, ...]:
    """All signatures that hold for an example of `op` on meshes of `parts` ranks and are not among its own.

    draws     with how much different data each has to hold, on each number of ranks
    limit     try at most so many ways to split, and for each so many choices of partial operands: those with few partial operands
              first, then a random sample drawn with the seed; None: all
    examples  try at most so many of the operator's examples, drawn with the seed; None: all

    Left out, because they say nothing new: P(max) and P(min) of a result whose copies are equal; a partial operand whose values do
    not matter, beside other layouts; splits of axes without a rank that has two elements; layouts of a rewritten operand that are
    not its result's.
    """
    random = np.random.default_rng([seed, zlib.crc32(op.name.encode())])
    cases = cases_of(op)
    if examples is not None and len(cases) > examples:
        cases = [cases[i] for i in sorted(random.choice(len(cases), examples, replace=False))]
    found: list[Missed] = []
    for case in (_enlarged(op, case, random) for case in cases):
        trial = _Trial(op, case, random)
        for signature in trial.candidates(parts[0], limit):
            if all(trial.holds(signature, n, draws) for n in parts if trial.divides(signature, n)):
                found.append(Missed(op.name, case, signature))
                trial.note(signature)
    return tuple(found)


def _enlarged(op: Op, case: Case, random: np.random.Generator) -> Case:
    """The case with every free factor of at least 2 grown by 3, where the operator takes that."""
    sizes = {f: n + 3 for f, n in free_factors(op, case).items() if n > 1}
    return (resized(op, case, sizes) if sizes else None) or case


class _Trial:
    """One case of an operator, its data in float64, drawn again and again."""

    def __init__(self, op: Op, case: Case, random: np.random.Generator) -> None:
        self.op, self.random = op, random
        operands = tuple(x.astype("float64") if x.dtype.name in FLOATS else x for x in case.operands)
        self.case = replace(case, operands=operands)
        self.ins = tuple(map(type_of, operands))
        self.outs = op.infer(self.ins, case.attrs)
        self.ranges = domains(op, case)
        self.data = [self._draw(wide) for wide in (True, False)]
        self.idle: set[tuple[int, Sbp]] = set()

    def _draw(self, wide: bool) -> tuple[Case, list[np.ndarray]]:
        """Fresh operands, with fractions, and the whole results; from wider ranges where the kernel takes them."""
        tries = [redrawn(self.case, self.ranges, self.random), self.case]
        if wide:
            tries.insert(0, redrawn(self.case, [d.wider() for d in self.ranges], self.random))
        for case in tries:
            with np.errstate(all="ignore"), contextlib.suppress(*REFUSALS):
                made = whole(self.op, case.operands, case.attrs)
                if case is self.case or all(_mostly_finite(result) for result in made):
                    return case, made
        raise SbpError(f"{self.op.name}, {self.case}: the kernel does not take its own example in float64")

    # -------------------------------------------------------- candidates

    def candidates(self, parts: int, limit: int | None) -> Iterator[Signature]:
        """Signatures that hold for the first draws of data and are not the operator's own."""
        own = set(self.op.signatures(self.ins, self.case.attrs, parts))
        for ins, outs in self._some(list(self.splits(parts)), limit):
            for sbps in self._with_partials(ins, limit):
                if self._adds_idle(sbps):
                    continue
                for signature in self._results(sbps, outs, parts):
                    if signature not in own and self._in_place(signature):
                        yield signature

    def note(self, signature: Signature) -> None:
        """Remember, of a signature that holds, the one partial operand whose values do not matter."""
        busy = [(i, s) for i, s in enumerate(signature.ins) if s != B]
        if len(busy) == 1 and busy[0][1].is_partial and all(s == B for s in signature.outs):
            self.idle.add(busy[0])

    def _adds_idle(self, ins: tuple[Sbp, ...]) -> bool:
        return sum(s != B for s in ins) > 1 and any(pair in self.idle for pair in enumerate(ins))

    def _some(self, ways: list[tuple[Axes, Axes]], limit: int | None) -> list[tuple[Axes, Axes]]:
        if limit is None or len(ways) <= limit:
            return ways
        return [ways[0], *(ways[i] for i in sorted(1 + self.random.choice(len(ways) - 1, limit - 1, replace=False)))]

    def splits(self, parts: int) -> Iterator[tuple[Axes, Axes]]:
        """Ways to split operands and results for which the first rank's call is legal."""
        if any(t.size == 0 for t in (*self.ins, *self.outs)):
            return
        rule = self.op.rule(self.ins, self.case.attrs)
        for ins in itertools.product(*(_axes(t, parts) for t in self.ins)):
            try:
                sizes = rule.sizes(_first_part(t.shape, axis, parts) for t, axis in zip(self.ins, ins, strict=True))
            except ShapeError:
                continue
            fitting = [
                [axis for axis in _axes(t, parts) if _fits(axes, _first_part(t.shape, axis, parts), sizes)]
                for t, axes in zip(self.outs, rule.outs, strict=True)
            ]
            for outs in itertools.product(*fitting):
                way = Signature(_sbps(ins), _sbps(outs))
                if self._in_place(way) and self._made(way, parts, self.data[1][0]) is not None:
                    yield ins, outs

    def _in_place(self, way: Signature) -> bool:
        """Whether results that are the memory of an operand have its layout."""
        return all(way.outs[result] == way.ins[operand] for result, operand in self.op.inplace.items())

    def _with_partials(self, axes: Axes, limit: int | None) -> Iterator[tuple[Sbp, ...]]:
        choices = [
            (S(axis),) if axis is not None else (B, *(p for p in PARTIALS if p != P or t.dtype != "bool"))
            for t, axis in zip(self.ins, axes, strict=True)
        ]
        ways = list(itertools.product(*choices))
        order = self.random.permutation(len(ways)) if limit is not None and len(ways) > limit else range(len(ways))
        few = sorted(order, key=lambda i: min(2, sum(s.is_partial for s in ways[i])))
        yield from (ways[i] for i in few[:limit])

    def _results(self, ins: tuple[Sbp, ...], outs: Axes, parts: int) -> list[Signature]:
        """The signatures with these operands that hold for the first draws."""
        shape = Signature(ins, _sbps(outs))
        kept: list[set[Sbp]] | None = None
        for case, wanted in self.data:
            made = self._made(shape, parts, case)
            if made is None:
                return []
            held = [
                {s for s in self._possible(t, axis) if _joins([r[i] for r in made], s, parts, wanted[i])}
                for i, (t, axis) in enumerate(zip(self.outs, outs, strict=True))
            ]
            kept = held if kept is None else [a & b for a, b in zip(kept, held, strict=True)]
            if not all(kept):
                return []
        return [Signature(ins, way) for way in itertools.product(*({B} if B in some else some for some in kept or ()))]

    def _possible(self, t: TensorType, axis: int | None) -> tuple[Sbp, ...]:
        if axis is not None:
            return (S(axis),)
        return (B, *(p for p in PARTIALS if p != P or t.dtype != "bool"))

    # -------------------------------------------------------- trying one

    def _made(self, way: Signature, parts: int, case: Case) -> list[list[np.ndarray]] | None:
        try:
            with np.errstate(all="ignore"):
                return on_ranks(self.op, case.operands, case.attrs, (way,), (parts,), self.random)
        except REFUSALS:
            return None

    def divides(self, signature: Signature, parts: int) -> bool:
        """Whether every axis it splits has more elements than ranks."""
        pairs = zip((*self.ins, *self.outs), (*signature.ins, *signature.outs), strict=True)
        return all(t.shape[s.axis] > parts for t, s in pairs if s.is_split)

    def holds(self, signature: Signature, parts: int, draws: int) -> bool:
        for i in range(draws):
            case, wanted = self._draw(wide=i % 2 == 0)
            made = self._made(signature, parts, case)
            if made is None:
                return False
            if not all(_joins([r[i] for r in made], s, parts, wanted[i]) for i, s in enumerate(signature.outs)):
                return False
        return True


def _axes(t: TensorType, parts: int) -> list[int | None]:
    return [None, *(i for i, n in enumerate(t.shape) if n > parts)]


def _sbps(axes: Axes) -> tuple[Sbp, ...]:
    return tuple(B if axis is None else S(axis) for axis in axes)


def _first_part(shape: tuple[int, ...], axis: int | None, parts: int) -> tuple[int, ...]:
    return tuple(-(-n // parts) if i == axis else n for i, n in enumerate(shape))


def _mostly_finite(x: np.ndarray) -> bool:
    return x.dtype.name not in FLOATS or 2 * int(np.isfinite(x).sum()) >= x.size


def _fits(axes: Sequence[tuple[str, ...]], shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
    """Whether a result's shard has the sizes of the factors that the operands' shards tell."""
    return all(len(axis) != 1 or sizes.get(axis[0], n) == n for axis, n in zip(axes, shape, strict=True))


def _joins(shards: Arrays, sbp: Sbp, parts: int, wanted: np.ndarray) -> bool:
    """Whether shards join to what is wanted, where that is finite."""
    try:
        with np.errstate(all="ignore"):
            found = join(shards, (sbp,), (parts,))
    except Replicas:
        return False
    if found.shape != wanted.shape:
        return False
    if wanted.dtype.name not in FLOATS:
        return bool(np.array_equal(found, wanted))
    seen = np.isfinite(wanted)
    return bool(near(found[seen], wanted[seen], 1e-9 if wanted.dtype == np.float64 else 1e-5).all())
