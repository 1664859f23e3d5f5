"""Factor rules: one line such as ``m k, k n -> m n`` gives an operator's result shape and all its SBP signatures.

Each word names a factor, the size of one tensor axis. A split of a factor is S wherever it appears and P where it is summed
away (the idea of Shardy's sharding rules). Marks: ``1`` an axis that no factor covers, ``k!`` a factor that must stay whole,
``(h d)`` an axis made of several factors, of which only the first (outermost) can be split, and then only into equal parts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from oflow.errors import ShapeError
from oflow.sbp.layout import B, P, S, Sbp, Signature

Axis = tuple[str, ...]
"""The factors of one tensor axis, outermost first; empty for an axis of size 1."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A parsed factor rule. `whole` are the factors that may not be split."""

    ins: tuple[tuple[Axis, ...], ...]
    outs: tuple[tuple[Axis, ...], ...]
    whole: frozenset[str]

    @property
    def factors(self) -> tuple[str, ...]:
        """Every factor once, in order of appearance."""
        seen = dict.fromkeys(f for operand in (*self.ins, *self.outs) for axis in operand for f in axis)
        return tuple(seen)

    def sizes(self, shapes: Iterable[tuple[int, ...]]) -> dict[str, int]:
        """The size of each factor that stands alone on an axis of an operand. Raises ShapeError where two axes disagree."""
        found: dict[str, int] = {}
        for position, (operand, shape) in enumerate(zip(self.ins, shapes, strict=True)):
            if len(operand) != len(shape):
                raise ShapeError(f"operand {position} has {len(shape)} axes, the rule wants {len(operand)}")
            for axis, n in zip(operand, shape, strict=True):
                if len(axis) == 1 and found.setdefault(axis[0], n) != n:
                    raise ShapeError(f"factor {axis[0]!r} is {found[axis[0]]} in one operand and {n} in operand {position}")
        return found

    def all_sizes(self, ins: Sequence[tuple[int, ...]], outs: Sequence[tuple[int, ...]]) -> dict[str, int]:
        """The size of each factor that the shapes tell: one alone on an axis, or the only unknown one of an axis of several."""
        pairs = list(zip((*self.ins, *self.outs), (*ins, *outs), strict=True))
        found = {axis[0]: n for operand, shape in pairs for axis, n in zip(operand, shape, strict=True) if len(axis) == 1}
        found |= self.sizes(ins)
        grouped = [(axis, n) for operand, shape in pairs for axis, n in zip(operand, shape, strict=True) if len(axis) > 1]
        for axis, n in grouped * len(grouped):  # each round may tell one more
            unknown = [f for f in axis if f not in found]
            known = math.prod(found[f] for f in axis if f in found)
            if len(unknown) == 1 and known and n % known == 0:
                found[unknown[0]] = n // known
        return found

    def result_shapes(self, shapes: Iterable[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        sizes = self.sizes(shapes)
        return tuple(tuple(math.prod(sizes[f] for f in axis) for axis in operand) for operand in self.outs)


def _parse_operand(text: str, whole: set[str]) -> tuple[Axis, ...]:
    axes: list[Axis] = []
    group: list[str] | None = None
    for word in text.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(":
            group = []
        elif word == ")":
            axes.append(tuple(group or ()))
            group = None
        else:
            name = word.rstrip("!")
            if word.endswith("!"):
                whole.add(name)
            if group is not None:
                group.append(name)
            else:
                axes.append(() if name == "1" else (name,))
    return tuple(axes)


@lru_cache(maxsize=4096)
def parse_rule(text: str, operands: int = -1) -> Rule:
    """Parse ``m k, k n -> m n``. A scalar operand is an empty field: ``, m -> m``; operands=0 says that there is none."""
    left, arrow, right = text.partition("->")
    if not arrow:
        raise ShapeError(f"{text!r} is not a factor rule; write it as 'm k, k n -> m n'")
    whole: set[str] = set()
    ins, outs = (tuple(_parse_operand(part, whole) for part in side.split(",")) for side in (left, right))
    return Rule(() if operands == 0 else ins, outs, frozenset(whole))


def _split_of(operand: tuple[Axis, ...], factor: str) -> tuple[Sbp | None, bool]:
    """Sbp of an operand when `factor` is split (None: impossible), and whether the parts must be equal."""
    at = [(i, axis) for i, axis in enumerate(operand) if factor in axis]
    if not at:
        return B, False
    position, axis = at[0]
    if len(at) > 1 or axis[0] != factor:
        return None, False
    return S(position), len(axis) > 1


def _split_signature(rule: Rule, factor: str, size: int | None, parts: int, reduce: str | None) -> Signature | None:
    ins = [_split_of(operand, factor) for operand in rule.ins]
    outs = [_split_of(operand, factor) for operand in rule.outs]
    if factor in rule.whole or any(sbp is None for sbp, _ in (*ins, *outs)):
        return None
    if any(equal for _, equal in (*ins, *outs)) and (size is None or size % parts):
        return None
    summed = any(sbp != B for sbp, _ in ins)
    results = []
    for sbp, _ in outs:
        if sbp == B and summed:
            if reduce is None:
                return None
            sbp = P(reduce)
        results.append(sbp)
    return Signature(tuple(s for s, _ in ins if s), tuple(s for s in results if s))


@dataclass(frozen=True, slots=True)
class Partials:
    """Which operands may arrive partial.

    linear: sets that may be P(sum) together, the rest B; results are P(sum). monotone: sets that may be P(max) or P(min), results
    are the same; antitone: results are the other one. also: further signatures, written out.
    """

    linear: tuple[frozenset[int], ...] = ()
    monotone: tuple[frozenset[int], ...] = ()
    antitone: tuple[frozenset[int], ...] = ()
    also: tuple[Signature, ...] = ()

    def signatures(self, operands: int, results: int) -> list[Signature]:
        most, least = P("max"), P("min")
        pairs = [(P, P, group) for group in self.linear]
        pairs += [(one, one, group) for group in self.monotone for one in (most, least)]
        pairs += [(one, other, group) for group in self.antitone for one, other in ((most, least), (least, most))]
        found = [
            Signature(tuple(one if i in group else B for i in range(operands)), (other,) * results) for one, other, group in pairs
        ]
        return [*found, *self.also]


NO_PARTIALS = Partials()


@lru_cache(maxsize=65536)
def signatures(
    rule: Rule, sizes: tuple[tuple[str, int], ...], parts: int, partials: Partials = NO_PARTIALS, reduce: str | None = "sum"
) -> tuple[Signature, ...]:
    """All signatures of a rule on a mesh axis of `parts` devices, without repeats; all-B comes first.

    reduce: the operation that combines a factor which is summed away (None: such a factor cannot be split).
    """
    return tuple(_with_factors(rule, sizes, parts, partials, reduce))


def _with_factors(
    rule: Rule, sizes: tuple[tuple[str, int], ...], parts: int, partials: Partials, reduce: str | None
) -> dict[Signature, str]:
    """Each signature with the factor that it splits ("" where it splits none)."""
    size_of = dict(sizes)
    found = {Signature((B,) * len(rule.ins), (B,) * len(rule.outs)): ""}
    for factor in rule.factors:
        signature = _split_signature(rule, factor, size_of.get(factor), parts, reduce)
        if signature:
            found.setdefault(signature, factor)
    for signature in partials.signatures(len(rule.ins), len(rule.outs)):
        found.setdefault(signature, "")
    return found


def _unmixed(axes: Sequence[Iterable[Signature]]) -> Iterable[tuple[Signature, ...]]:
    """The products of the signatures of mesh axes in which no tensor is P(max) on one axis and P(min) on another."""
    ways: list[tuple[tuple[Signature, ...], int, int]] = [((), 0, 0)]
    for axis in axes:
        found = [(s, *_extremes(s)) for s in axis]
        ways = [
            ((*way, s), most | highest, least | lowest)
            for way, most, least in ways
            for s, highest, lowest in found
            if not (most | highest) & (least | lowest)
        ]
    return (way for way, _, _ in ways)


def _extremes(signature: Signature) -> tuple[int, int]:
    """The tensors that are P(max), and those that are P(min), as bits."""
    most = least = 0
    for i, sbp in enumerate((*signature.ins, *signature.outs)):
        most |= (sbp.op == "max") << i
        least |= (sbp.op == "min") << i
    return most, least


@lru_cache(maxsize=65536)
def mesh_signatures(
    rule: Rule, sizes: tuple[tuple[str, int], ...], mesh: tuple[int, ...], partials: Partials = NO_PARTIALS, reduce: str | None = "sum"
) -> tuple[tuple[Signature, ...], ...]:
    """One signature for each mesh axis: the product, because each inner axis works on what the outer ones leave (nested joins).

    A factor that needs equal parts may be split by several axes where it divides by their product. No tensor holds candidates of a
    maximum on one axis and of a minimum on another: where they are identities, -inf and inf meet and make NaN.
    """
    axes = [_with_factors(rule, sizes, parts, partials, reduce) for parts in mesh]
    extreme = len(mesh) > 1 and (partials.monotone or partials.antitone or partials.also)
    ways = _unmixed(axes) if extreme else itertools.product(*axes)
    equal = {axis[0] for operand in (*rule.ins, *rule.outs) for axis in operand if len(axis) > 1}
    if not equal or len(mesh) == 1:
        return tuple(ways)
    size_of = dict(sizes)

    def even(way: tuple[Signature, ...]) -> bool:
        parts: dict[str, int] = {}
        for signature, found, n in zip(way, axes, mesh, strict=True):
            if (factor := found[signature]) in equal:
                parts[factor] = parts.get(factor, 1) * n
        return all(size_of[factor] % n == 0 for factor, n in parts.items())

    return tuple(way for way in ways if even(way))
