"""Sbp, Placement, Layout and Signature: where a logical tensor's elements live.

An `Sbp` says what one mesh axis does to a tensor: S(i) splits its axis i, B repeats it, P holds summands (or candidates of a
maximum or minimum). A `Layout` gives one Sbp for each axis of a `Placement`'s mesh, applied axis by axis, outer first
(nested balanced splits: FACTS of OneFlow's nd-SBP; not the same as one flat split).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from oflow.errors import PlacementError, SbpError, user_line

Box = tuple[tuple[int, int], ...]
"""A rectangular region: one (start, stop) for each tensor axis."""


@dataclass(frozen=True, slots=True)
class Sbp:
    """One mesh axis: ``S(axis)``, ``B`` or ``P(op)`` with op sum, max or min."""

    kind: str
    axis: int = -1
    op: str = ""

    def __call__(self, op: str) -> Sbp:
        """``of.P("max")``: the partial of another operation."""
        if self.kind != "P" or op not in ("sum", "max", "min"):
            raise SbpError(f"{self}({op!r}) is not an Sbp; partials are P, P('max') and P('min')")
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
            raise SbpError(f"{text!r} is not an Sbp; write S(0), B, P, P(max) or P(min)")
        if match[1]:
            return S(int(match[1]))
        return B if match[2] else P(match[3] or "sum")


def S(axis: int) -> Sbp:
    """Split tensor axis `axis` (>= 0) in balanced parts."""
    if axis < 0:
        raise SbpError(f"S({axis}): count axes from 0; negative axes depend on the rank and are not allowed")
    return Sbp("S", axis)


B = Sbp("B")
P = Sbp("P", op="sum")


def split_range(n: int, parts: int, index: int) -> tuple[int, int]:
    """Start and stop of part `index` of a balanced split of n: the first n mod parts parts have one element more."""
    small, extra = divmod(n, parts)
    start = index * small + min(index, extra)
    return start, start + small + (index < extra)


@lru_cache(maxsize=4096)
def _device_names(kind: str, ranks: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"{kind}:{rank}" for rank in ranks)


@dataclass(frozen=True, slots=True)
class Placement:
    """A mesh of devices of one kind: `ranks` in row-major order of `mesh`. Prints as ``cpu:0-3 (2,2)`` (1-D: ``cpu:0-3``)."""

    kind: str
    ranks: tuple[int, ...]
    mesh: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.ranks or math.prod(self.mesh) != len(self.ranks):
            raise PlacementError(f"a mesh {self.mesh} needs {math.prod(self.mesh)} devices, got {len(self.ranks)}")
        if len(set(self.ranks)) != len(self.ranks) or min(self.ranks) < 0:
            raise PlacementError(f"devices must be distinct numbers >= 0, got {list(self.ranks)}")

    @property
    def size(self) -> int:
        return len(self.ranks)

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices, ``cpu:0`` and so on, in rank order."""
        return _device_names(self.kind, self.ranks)

    def coordinates(self, index: int) -> tuple[int, ...]:
        """Mesh coordinates of the device at position `index` of `ranks`."""
        found = []
        for size in reversed(self.mesh):
            index, at = divmod(index, size)
            found.append(at)
        return tuple(reversed(found))

    def index(self, coordinates: Sequence[int]) -> int:
        """Position in `ranks` of the device at these mesh coordinates."""
        position = 0
        for size, at in zip(self.mesh, coordinates, strict=True):
            position = position * size + at
        return position

    def __str__(self) -> str:
        first, last = self.ranks[0], self.ranks[-1]
        run = len(self.ranks) > 1 and self.ranks == tuple(range(first, last + 1))
        names = f"{first}-{last}" if run else ",".join(map(str, self.ranks))
        shape = f" ({','.join(map(str, self.mesh))})" if len(self.mesh) > 1 else ""
        return f"{self.kind}:{names}{shape}"

    __repr__ = __str__

    @staticmethod
    def parse(text: str) -> Placement:
        match = re.fullmatch(r"\s*([a-z]+):(?:(\d+)-(\d+)|([\d,]+))\s*(?:\(([\d,\s]+)\))?\s*", text)
        if not match:
            raise PlacementError(f"{text!r} is not a placement; write cpu:0-3, cpu:0,2 or cpu:0-3 (2,2)")
        ranks = tuple(range(int(match[2]), int(match[3]) + 1)) if match[2] else tuple(map(int, match[4].split(",")))
        mesh = tuple(map(int, match[5].split(","))) if match[5] else (len(ranks),)
        return Placement(match[1], ranks, mesh)


def placement(kind: str, ranks: Sequence[int] | Sequence[Sequence[int]] | object) -> Placement:
    """A mesh of devices: ``placement("cpu", [0, 1])`` is 1-D, nested lists make more axes. kind: "cpu" or "cuda".

    Raises PlacementError at the user's line for an unknown kind, ragged lists, or repeated or negative devices.
    """
    try:
        return _placement(kind, ranks)
    except PlacementError as e:
        raise PlacementError(str(e), line=user_line()) from None


def _placement(kind: str, ranks: object) -> Placement:
    if kind not in ("cpu", "cuda", "host"):
        raise PlacementError(f"unknown device kind {kind!r}; oflow has 'cpu' and 'cuda'")
    flat: list[object] = [ranks]
    mesh: list[int] = []
    while flat and isinstance(flat[0], list | tuple | range):
        lengths = {len(part) if isinstance(part, list | tuple | range) else -1 for part in flat}
        if len(lengths) != 1:
            raise PlacementError(f"the lists of a mesh must have equal lengths, got {ranks!r}")
        mesh.append(lengths.pop())
        flat = [item for part in flat for item in part]  # type: ignore[attr-defined]
    if not all(isinstance(rank, int) for rank in flat):
        raise PlacementError(f"devices are numbers, got {ranks!r}")
    return Placement(kind, tuple(flat), tuple(mesh) or (1,))  # type: ignore[arg-type]


HOST = Placement("host", (0,), (1,))
"""The caller's memory: where inputs come from and outputs go."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A placement and one Sbp for each of its mesh axes; prints as ``S(0)@cpu:0-3`` or ``(S(0), B)@cpu:0-3 (2,2)``."""

    placement: Placement
    sbp: tuple[Sbp, ...]

    def __post_init__(self) -> None:
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
            if sbp.is_split:
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
                raise SbpError(f"{sbp} splits an axis that a tensor of shape {shape} does not have", line=line)

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


def layout(where: Placement, sbp: Sbp | Sequence[Sbp]) -> Layout:
    """A Layout from the forms users write: one Sbp for a 1-D placement, a sequence for a mesh."""
    return Layout(where, (sbp,) if isinstance(sbp, Sbp) else tuple(sbp))


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
