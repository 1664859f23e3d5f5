"""Placement: a mesh of devices, with numbered or named axes.

Names of mesh axes are labels for what people write and read: a layout may be given as ``{"data": S(0)}``, and is printed with them.
Where things are does not depend on them: placements are equal where kind, devices and mesh are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from oflow.errors import PlacementError, SbpError, user_line

MOST_AXES = 4
"""Mesh axes of a placement that users make."""


@lru_cache(maxsize=4096)
def _device_names(kind: str, ranks: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"{kind}:{rank}" for rank in ranks)


@dataclass(frozen=True, slots=True)
class Placement:
    """A mesh of devices of one kind: `ranks` in row-major order of `mesh`. Prints as ``cpu:0-3 (2,2)`` (1-D: ``cpu:0-3``).

    names: labels of the mesh axes, or none; they print as ``cpu:0-3 (data=2,tensor=2)`` and take no part in equality.
    """

    kind: str
    ranks: tuple[int, ...]
    mesh: tuple[int, ...]
    names: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.names:
            _check_names(self.names, self.mesh)
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

    def axis(self, name: str | int) -> int:
        """The mesh axis of this name, or number. Raises SbpError, with the axes there are, where there is none."""
        if name in self.names:
            return self.names.index(str(name))
        if isinstance(name, int) and 0 <= name < len(self.mesh):
            return name
        sizes = zip(self.names or range(len(self.mesh)), self.mesh, strict=True)
        has = ", ".join(f"{axis!r} of {size}" for axis, size in sizes)
        remedy = "" if self.names else "; names are given by of.placement(kind, ranks, names=(...))"
        raise SbpError(f"placement {self} has no mesh axis {name!r}; it has {has}{remedy}")

    @property
    def code(self) -> str:
        """What a user writes: ``of.placement("cpu", [[0, 1], [2, 3]])``."""
        ranks: Sequence[object] = self.ranks
        for size in reversed(self.mesh):
            ranks = [list(ranks[i : i + size]) for i in range(0, len(ranks), size)]
        names = f", names={self.names}" if self.names else ""
        return f'of.placement("{self.kind}", {ranks[0]}{names})'.replace("'", '"')

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
        sizes = [f"{name}={n}" for name, n in zip(self.names, self.mesh, strict=True)] if self.names else map(str, self.mesh)
        shape = f" ({','.join(sizes)})" if self.names or len(self.mesh) > 1 else ""
        return f"{self.kind}:{names}{shape}"

    __repr__ = __str__

    @staticmethod
    def parse(text: str) -> Placement:
        match = re.fullmatch(r"\s*([a-z]+):(?:(\d+)-(\d+)|([\d,]+))\s*(?:\(([\w=,\s]+)\))?\s*", text)
        axes = [re.fullmatch(r"\s*(?:([^\W\d]\w*)=)?(\d+)\s*", part) for part in match[5].split(",")] if match and match[5] else []
        if not match or not all(axes) or len({axis[1] is None for axis in axes if axis}) > 1:
            raise PlacementError(f"{text!r} is not a placement; write cpu:0-3, cpu:0,2, cpu:0-3 (2,2) or cpu:0-3 (data=2,tensor=2)")
        ranks = tuple(range(int(match[2]), int(match[3]) + 1)) if match[2] else tuple(map(int, match[4].split(",")))
        mesh = tuple(int(axis[2]) for axis in axes if axis) or (len(ranks),)
        return Placement(match[1], ranks, mesh, tuple(axis[1] for axis in axes if axis and axis[1]))


def _check_names(names: tuple[str, ...], mesh: tuple[int, ...]) -> None:
    """Raises PlacementError unless every mesh axis has a name of its own."""
    wrong = [name for name in names if not isinstance(name, str) or not re.fullmatch(r"[^\W\d]\w*", name)]
    if wrong:
        raise PlacementError(f"a mesh axis is named by a word such as 'data', got {wrong[0]!r}")
    if len(names) != len(mesh):
        raise PlacementError(f"a mesh of {len(mesh)} axes {mesh} needs {len(mesh)} names, got {len(names)}: {', '.join(names)}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PlacementError(f"mesh axes need different names, got {twice!r} twice")


def placement(
    kind: str, ranks: Sequence[int] | Sequence[Sequence[int]] | object, names: Sequence[str] | str | None = None
) -> Placement:
    """A mesh of devices: ``placement("cpu", [0, 1])`` is 1-D, nested lists make up to 4 axes. kind: "cpu" or "cuda".

    names: one for each mesh axis, outer first: ``placement("cpu", [[0, 1], [2, 3]], names=("data", "tensor"))``. A layout may then
    be given as ``{"data": of.S(0)}``; axes that are not named there are B. Names are labels: placements of the same devices and
    mesh are equal, whatever their axes are called.

    Raises PlacementError at the user's line for an unknown kind, ragged lists, repeated or negative devices, more than 4 axes, and
    names that are too many, too few, repeated or no words.
    """
    try:
        found = _placement(kind, ranks)
        if len(found.mesh) > MOST_AXES:
            raise PlacementError(f"a mesh has 1 to {MOST_AXES} axes, got {len(found.mesh)}: {found.mesh}")
        if names is None:
            return found
        return Placement(found.kind, found.ranks, found.mesh, (names,) if isinstance(names, str) else tuple(names))
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
