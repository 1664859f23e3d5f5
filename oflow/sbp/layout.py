"""Sbp, Placement, Layout and Signature: where a logical tensor's elements live.

An `Sbp` says what one mesh axis does to a tensor: S(i) splits its axis i, B repeats it, P holds summands (or candidates of a
maximum or minimum). A `Layout` gives one Sbp for each axis of a `Placement`'s mesh, applied axis by axis, outer first
(nested balanced splits: FACTS of OneFlow's nd-SBP; not the same as one flat split).

A mean is no partial of its own: it is the sum P of values that hold their factor 1/n already, which is what `of.mean` makes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from oflow.errors import SbpError, user_line
from oflow.sbp.placement import HOST as HOST
from oflow.sbp.placement import Placement as Placement

_NO_MEAN = "a mean is P, the sum of values that hold their factor 1/n already: of.mean(t, axis) makes one"
Box = tuple[tuple[int, int], ...]
"""A rectangular region: one (start, stop) for each tensor axis."""


@dataclass(frozen=True, slots=True)
class Sbp:
    """One mesh axis: ``S(axis)``, ``B`` or ``P(op)`` with op sum, max or min."""

    kind: str
    axis: int = -1
    op: str = ""

    @property
    def code(self) -> str:
        """What a user writes: ``of.S(0)``."""
        return f'of.P("{self.op}")' if self.op in ("max", "min") else f"of.{self}"

    def __call__(self, op: str) -> Sbp:
        """``of.P("max")``: the partial of another operation."""
        if self.kind != "P" or op not in ("sum", "max", "min"):
            mean = f"; {_NO_MEAN}" if self.kind == "P" and op == "mean" else ""
            raise SbpError(f"{self}({op!r}) is not an Sbp; partials are P, P('max') and P('min'){mean}", line=user_line())
        return Sbp("P", op=op)

    @property
    def is_split(self) -> bool:
        return self.kind == "S"

    @property
    def is_partial(self) -> bool:
        return self.kind == "P"

    def __str__(self) -> str:
        if self.kind == "S":
            return f"S({self.axis})"
        return self.kind if self.op in ("", "sum") else f"P({self.op})"

    __repr__ = __str__

    @staticmethod
    def parse(text: str) -> Sbp:
        match = re.fullmatch(r"\s*(?:S\((\d+)\)|(B)|P(?:\((sum|max|min)\))?)\s*", text)
        if not match:
            mean = f"; {_NO_MEAN}" if re.fullmatch(r"\s*P\(mean\)\s*", text) else ""
            raise SbpError(f"{text!r} is not an Sbp; write S(0), B, P, P(max) or P(min){mean}")
        if match[1]:
            return S(int(match[1]))
        return B if match[2] else P(match[3] or "sum")


def S(axis: int) -> Sbp:
    """Split tensor axis `axis` (>= 0) in balanced parts."""
    if not isinstance(axis, int) or axis < 0:
        raise SbpError(f"S({axis!r}): count axes from 0; negative axes depend on the rank and are not allowed", line=user_line())
    return Sbp("S", axis)


B = Sbp("B")
P = Sbp("P", op="sum")


def split_range(n: int, parts: int, index: int) -> tuple[int, int]:
    """Start and stop of part `index` of a balanced split of n: the first n mod parts parts have one element more."""
    small, extra = divmod(n, parts)
    start = index * small + min(index, extra)
    return start, start + small + (index < extra)


@dataclass(frozen=True, slots=True)
class Layout:
    """A placement and one Sbp for each of its mesh axes; prints as ``S(0)@cpu:0-3`` or ``(S(0), B)@cpu:0-3 (2,2)``."""

    placement: Placement
    sbp: tuple[Sbp, ...]

    def __post_init__(self) -> None:
        wrong = [s for s in self.sbp if not isinstance(s, Sbp)]
        if wrong:
            raise SbpError(f"{wrong[0]!r} is not an Sbp; write of.S(0), of.B, of.P, of.P('max') or of.P('min')")
        if len(self.sbp) != len(self.placement.mesh):
            raise SbpError(
                f"placement {self.placement} has {len(self.placement.mesh)} mesh axes but {len(self.sbp)} Sbp were given; "
                "give one for each axis"
            )

    @property
    def is_broadcast(self) -> bool:
        return all(s.kind == "B" for s in self.sbp)

    @property
    def is_partial(self) -> bool:
        return any(s.is_partial for s in self.sbp)

    def box(self, shape: tuple[int, ...], index: int) -> Box:
        """The region of the logical tensor that the device at position `index` holds (all of it along B and P axes)."""
        region = [(0, n) for n in shape]
        for sbp, parts, at in zip(self.sbp, self.placement.mesh, self.placement.coordinates(index), strict=True):
            if sbp.is_split and parts > 1:  # all elements may be seen as one axis, where a split of one part is none
                start, stop = region[sbp.axis]
                low, high = split_range(stop - start, parts, at)
                region[sbp.axis] = (start + low, start + high)
        return tuple(region)

    def shard_shape(self, shape: tuple[int, ...], index: int) -> tuple[int, ...]:
        return tuple(stop - start for start, stop in self.box(shape, index))

    def check_shape(self, shape: tuple[int, ...], line: str = "") -> None:
        """Raises SbpError where a split names an axis the tensor does not have."""
        for sbp in self.sbp:
            if sbp.is_split and sbp.axis >= len(shape):
                axes = "".join(f", S({axis}) (of {n})" for axis, n in enumerate(shape))
                remedy = f"on each mesh axis it may be B{axes} or P"
                raise SbpError(f"{sbp} splits an axis that a tensor of shape {shape} does not have; {remedy}", line=line)

    @property
    def code(self) -> str:
        """The arguments that a user gives `to_global`: ``of.placement("cpu", [0, 1]), of.S(0)``."""
        return f"{self.placement.code}, {self.sbp_code}"

    @property
    def sbp_code(self) -> str:
        """The sbp that a user gives `to_global`: ``of.S(0)``, ``(of.S(0), of.B)`` or ``{"data": of.S(0)}``."""
        names = self.placement.names
        if names and not self.is_broadcast:
            return "{" + ", ".join(f'"{name}": {s.code}' for name, s in zip(names, self.sbp, strict=True) if s != B) + "}"
        each = ", ".join(s.code for s in self.sbp)
        return each if len(self.sbp) == 1 else f"({each})"

    @property
    def sbp_text(self) -> str:
        """``S(0), B``, with the names of the mesh axes where they have some: ``data=S(0), tensor=B``."""
        names = self.placement.names
        return ", ".join([f"{name}={s}" for name, s in zip(names, self.sbp, strict=True)] if names else map(str, self.sbp))

    def labelled(self, like: Iterable[Layout]) -> Layout:
        """The same layout, its mesh axes named as on the first equal placement of `like`, or not at all."""
        named = next((one.placement for one in like if one.placement == self.placement), None)
        where = self.placement
        return Layout(named or Placement(where.kind, where.ranks, where.mesh), self.sbp)

    def __str__(self) -> str:
        names = ", ".join(map(str, self.sbp))
        return f"{names if len(self.sbp) == 1 else f'({names})'}@{self.placement}"

    __repr__ = __str__

    @staticmethod
    def parse(text: str) -> Layout:
        names, _, where = text.partition("@")
        names = names.strip()
        if names.startswith("(") and names.endswith(")"):
            names = names[1:-1]
        return Layout(Placement.parse(where), tuple(Sbp.parse(part) for part in names.split(",")))


WHOLE = Layout(HOST, (B,))
"""All of a tensor in the caller's memory."""


Sbps = Sbp | Sequence[Sbp] | Mapping[str, Sbp]
"""The sbp of a layout as users write it; see `layout`."""


def layout(where: Placement, sbp: Sbps) -> Layout:
    """A Layout from the forms users write: one Sbp for a 1-D placement, a sequence with one for each mesh axis, or a dict from names
    (or numbers) of mesh axes to their Sbp, where axes that are left out are B.

    Raises SbpError for an axis that the placement does not have, and a number of Sbp that is not that of its axes.
    """
    if not isinstance(where, Placement):
        raise SbpError(f"{where!r} is not a placement; make one with of.placement(kind, ranks)")
    if isinstance(sbp, Mapping):
        given = {where.axis(name): one for name, one in sbp.items()}
        if len(given) < len(sbp):
            raise SbpError(f"{dict(sbp)} names a mesh axis of {where} twice")
        return Layout(where, tuple(given.get(axis, B) for axis in range(len(where.mesh))))
    return Layout(where, tuple(sbp) if isinstance(sbp, Sequence) and not isinstance(sbp, str) else (sbp,))


def all_sbp(rank: int, *, partial: bool = True) -> tuple[Sbp, ...]:
    """Every Sbp a tensor with `rank` axes can have on one mesh axis (partial sums only)."""
    return (B, *(S(axis) for axis in range(rank)), *((P,) if partial else ()))


def all_layouts(where: Placement, rank: int) -> list[Layout]:
    return [Layout(where, combo) for combo in itertools.product(all_sbp(rank), repeat=len(where.mesh))]


@dataclass(frozen=True, slots=True)
class Signature:
    """What one mesh axis may do to an operator: the Sbp of each operand and of each result. Prints ``S(0),B -> S(0)``."""

    ins: tuple[Sbp, ...]
    outs: tuple[Sbp, ...]

    def __str__(self) -> str:
        return f"{','.join(map(str, self.ins))} -> {','.join(map(str, self.outs))}"

    __repr__ = __str__

    @staticmethod
    def parse(text: str) -> Signature:
        left, _, right = text.partition("->")
        ins, outs = (tuple(Sbp.parse(part) for part in side.split(",") if part.strip()) for side in (left, right))
        return Signature(ins, outs)
