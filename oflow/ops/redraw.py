"""Fresh operands for an operator's examples: other values from the same domain, and other sizes of the factors.

Float operands are drawn again from the range that an operand has over all examples (whole numbers where the examples have only
those); infinities stay where they are. Truth values, labels and indices are permuted, and kept where they are sorted (offsets).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from oflow.errors import OflowError
from oflow.ops.meaning import Arrays, type_of, whole
from oflow.ops.op import Attributes, Op
from oflow.types import freeze


@dataclass(frozen=True, slots=True)
class Case:
    """Operands and attributes to check: example number `example` of an operator, as it stands or changed as `label` says."""

    example: int
    label: str
    operands: tuple[np.ndarray, ...]
    attrs: Attributes
    tolerance: float

    def __str__(self) -> str:
        return f"example {self.example}" + (f" ({self.label})" if self.label else "")


@dataclass(frozen=True, slots=True)
class Domain:
    """The values that an operand may have: between low and high, whole numbers (or their parts, `grain` of them) or not.

    given: only the values that it has (labels, indices). ordered: never falling along the last axis (boundaries, offsets).
    """

    low: float = 0.0
    high: float = 2.0
    integral: bool = True
    given: bool = False
    ordered: bool = False
    grain: int = 1

    @staticmethod
    def of(arrays: Sequence[np.ndarray]) -> Domain:
        kind = arrays[0].dtype.kind
        seen = np.concatenate([a[np.isfinite(a)].reshape(-1) for a in arrays]).astype("float64")
        if kind == "b" or not seen.size:
            return Domain(high=1.0 if kind == "b" else 2.0)
        ordered = all(bool((a[..., 1:] >= a[..., :-1]).all()) for a in arrays if a.ndim) and max(a.size for a in arrays) > 2
        low, high = float(seen.min()), float(seen.max())
        integral = bool((seen == np.floor(seen)).all())
        if low == high:  # one value says nothing but its sign
            ordered = False
            low, high = (min(low, 2 * low), max(low, 2 * low)) if low else (0.0, 2.0)
        return Domain(low, high, integral, kind != "f", ordered)

    def draw(self, like: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """An array of the shape and dtype of `like`; its infinities, and ordered whole numbers, stay."""
        if self.given:
            return like if self.ordered else random.permutation(like.reshape(-1)).reshape(like.shape)
        if like.dtype.kind == "b":
            rare = 0.7 / max(2, like.size)
            return np.asarray(random.random(like.shape) < random.choice([rare, 0.5, 1 - rare]))
        if self.integral:
            low, high = (int(end * self.grain) for end in (self.low, self.high))
            drawn: np.ndarray = random.integers(low, high + 1, like.shape) / self.grain
        else:
            drawn = np.asarray(random.uniform(self.low, self.high, like.shape))
        if self.ordered and like.ndim:
            drawn = np.sort(drawn, axis=-1)
        return np.where(np.isfinite(like), drawn, like).astype(like.dtype)

    def wider(self) -> Domain:
        """Both signs and twice as far, in quarters; labels and indices drawn freely."""
        most = 2 * max(abs(self.low), abs(self.high), 1.0)
        if self.given:
            return self if self.ordered else replace(self, given=False, low=min(self.low, 0.0), integral=True)
        return replace(self, low=-most, high=most, grain=4, integral=True)


def cases_of(op: Op) -> list[Case]:
    """The operator's examples as they stand."""
    return [
        Case(i, "", tuple(map(np.asarray, e.operands)), dict(freeze(e.attrs)), e.tolerance) for i, e in enumerate(op.example())
    ]


def _kind(case: Case) -> tuple[Any, ...]:
    return (*(x.dtype.kind for x in case.operands), frozenset(case.attrs))


def domains(op: Op, case: Case) -> tuple[Domain, ...]:
    """The domain of each operand, over all examples with as many operands of the same dtypes and the same attributes."""
    like = [other for other in cases_of(op) if _kind(other) == _kind(case)] or [case]
    return tuple(Domain.of([other.operands[i] for other in like]) for i in range(len(case.operands)))


def redrawn(case: Case, domains: Sequence[Domain], random: np.random.Generator, label: str = "redrawn") -> Case:
    """The case with other values of the same domains."""
    operands = tuple(domain.draw(x, random) for x, domain in zip(case.operands, domains, strict=True))
    return replace(case, label=f"{case.label}, {label}" if case.label else label, operands=operands)


# ------------------------------------------------------------ other sizes


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for part in value:
            yield from _numbers(part)
    else:
        yield value


def free_factors(op: Op, case: Case) -> dict[str, int]:
    """Factors of the operands whose size may be another: not whole, alone on their axes, and named by no attribute."""
    types = tuple(map(type_of, case.operands))
    rule = op.rule(types, case.attrs)
    fixed = set(rule.whole) | {f for operand in (*rule.ins, *rule.outs) for axis in operand if len(axis) > 1 for f in axis}
    named = set(map(str, _numbers(tuple(case.attrs.values()))))
    return {f: n for f, n in rule.sizes(t.shape for t in types).items() if f not in fixed and str(n) not in named}


def resized(op: Op, case: Case, sizes: dict[str, int]) -> Case | None:
    """The case with other sizes of some factors, its values repeated or cut; None where the operator does not take it."""
    rule = op.rule(tuple(map(type_of, case.operands)), case.attrs)
    operands = []
    for x, axes in zip(case.operands, rule.ins, strict=True):
        shape = tuple(sizes.get(axis[0], n) if len(axis) == 1 else n for axis, n in zip(axes, x.shape, strict=True))
        operands.append(x if shape == x.shape else np.resize(x, shape))
    label = ", ".join(f"{name}={n}" for name, n in sizes.items())
    found = replace(case, label=label, operands=tuple(operands))
    return found if _takes(op, found.operands, case.attrs) else None


def _takes(op: Op, operands: Arrays, attrs: Attributes) -> bool:
    """Whether the operator accepts these operands: its types are inferred and its kernel runs."""
    try:
        whole(op, operands, attrs)
    except (OflowError, ValueError, IndexError):
        return False
    return True


def variants(op: Op, case: Case, draws: int, random: np.random.Generator) -> list[Case]:
    """The case itself, redrawn so often, with every free factor one larger, and with all of them 2 (so that some ranks have none)."""
    ranges = domains(op, case)
    found = [case, *(redrawn(case, ranges, random) for _ in range(draws))]
    free = free_factors(op, case)
    larger = {f: n + 1 for f, n in free.items() if n > 1}
    small = {f: 2 for f, n in free.items() if n > 2}
    for sizes in (larger, small):
        made = resized(op, case, sizes) if sizes else None
        if made is not None:
            found.append(redrawn(made, ranges, random))
    return found

