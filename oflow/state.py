"""State: the kept values (weights, buffers, optimizer state) that programs share, as shards on their devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from oflow.errors import ShapeError
from oflow.sbp import Layout
from oflow.types import TensorType


class Quiet(Protocol):
    """A program that may have steps in flight."""

    def quiesce(self) -> None: ...


@dataclass(slots=True)
class Kept:
    """One kept value: its logical type, its home layout and one shard for each rank."""

    type: TensorType
    layout: Layout
    shards: list[np.ndarray]

    def join(self) -> np.ndarray:
        """The logical tensor, a copy."""
        whole = np.empty(self.type.shape, self.type.dtype)
        for rank, shard in enumerate(self.shards):
            whole[self._region(rank)] = shard
        return whole

    def write(self, whole: np.ndarray) -> None:
        for rank, shard in enumerate(self.shards):
            shard[...] = whole[self._region(rank)]

    def _region(self, rank: int) -> tuple[slice, ...]:
        return tuple(slice(start, stop) for start, stop in self.layout.box(self.type.shape, rank))


@dataclass(slots=True)
class State:
    """Everything kept under its name. `version` counts the steps and loads that changed it; `seed` filled it at the start."""

    seed: int
    values: dict[str, Kept] = field(default_factory=dict)
    programs: list[Quiet] = field(default_factory=list)
    version: int = 0
    failed: str = ""
    """Why the state is not to be used (an error during an update); empty when all is well."""

    def quiesce(self) -> None:
        """Wait until no program has a step in flight."""
        for program in self.programs:
            program.quiesce()

    def join(self) -> dict[str, np.ndarray]:
        return {name: kept.join() for name, kept in sorted(self.values.items())}

    def load(self, values: Mapping[str, np.ndarray]) -> None:
        """Replace everything. Raises ShapeError, and changes nothing, unless names, shapes and dtypes fit."""
        missing, unknown = sorted(set(self.values) - set(values)), sorted(set(values) - set(self.values))
        if missing or unknown:
            raise ShapeError(f"the state does not fit: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
        for name, kept in self.values.items():
            got = np.asarray(values[name])
            if got.shape != kept.type.shape or got.dtype.name != kept.type.dtype:
                raise ShapeError(f"{name} is {kept.type}, the loaded value has shape {got.shape} and dtype {got.dtype.name}")
        for name, kept in self.values.items():
            kept.write(np.asarray(values[name]))
        self.version += 1
        self.failed = ""
