"""What ZeRO is told, and where a tensor that every device has whole is cut: arithmetic of layouts, no graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from oflow.errors import PlanError, user_line
from oflow.plan import ALIGNMENT
from oflow.sbp import Layout, S
from oflow.types import TensorType

STAGES = (0, 1, 2, 3)
GATHERS = ("micro_batch", "step")


@dataclass(frozen=True, slots=True)
class Zero:
    """stage: 0 nothing; 1 optimizer state is split, 2 accumulated gradients too, 3 parameters too (Rajbhandari et al. 2020).

    axis: the mesh axis (name or number) along which; None: every one along which a parameter is whole and its gradient is P.
    gather: how often stage 3 makes whole parameters, once a "micro_batch" in each direction or once a "step".
    """

    stage: int = 0
    axis: str | int | None = None
    gather: str = "micro_batch"


NONE = Zero()


def zero_options(given: Any) -> Zero:
    """A stage, or a dict of the fields of `Zero`, or one. Raises PlanError at the user's line for anything else."""
    if isinstance(given, Zero):
        found = given
    elif isinstance(given, Mapping):
        unknown = sorted(map(str, set(given) - {"stage", "axis", "gather"}))
        if unknown:
            raise PlanError(f"zero has no {', '.join(unknown)}; it takes stage, axis and gather", line=user_line())
        found = Zero(**given)
    else:
        found = Zero(given)
    if isinstance(found.stage, bool) or found.stage not in STAGES:
        raise PlanError(
            f"zero={given!r} is not known; write zero=1 (optimizer state), 2 (gradients too), 3 (parameters too), 0 for none, or "
            "zero={'stage': 2, 'axis': 'data'}",
            line=user_line(),
        )
    if found.gather not in GATHERS:
        raise PlanError(f"zero gathers once a 'micro_batch' or once a 'step', not {found.gather!r}", line=user_line())
    return found


@lru_cache(maxsize=4096)
def shard(home: Layout, kind: TensorType, axes: tuple[int, ...]) -> Layout:
    """`home`, split along these mesh axes where it is B: along the largest tensor axis that falls into equal parts, else the largest.

    Every device keeps a part of what it had, so cutting moves nothing. It stays B where no axis allows that, or where a shard would
    be smaller than ALIGNMENT bytes: slots begin at multiples of that, so nothing would be saved.
    """
    for axis in axes:
        if not home.sbp[axis].is_split and home.placement.mesh[axis] > 1:
            home = min(_cuts(home, kind, axis), key=lambda cut: cut[0], default=((), home))[1]
    return home


def _cuts(home: Layout, kind: TensorType, axis: int) -> Iterator[tuple[tuple[int, ...], Layout]]:
    """The ways to split along a mesh axis, and how good each is (less is better)."""
    for i, size in enumerate(home.shard_shape(kind.shape, 0)):
        made = Layout(home.placement, (*home.sbp[:axis], S(i), *home.sbp[axis + 1 :]))
        shapes = [made.shard_shape(kind.shape, rank) for rank in range(home.placement.size)]
        smallest = min(TensorType(shape, kind.dtype).nbytes for shape in shapes)
        if smallest >= ALIGNMENT and _is_part(made, home, kind.shape):
            yield (int(len(set(shapes)) > 1), -size, i), made


def _is_part(made: Layout, home: Layout, shape: tuple[int, ...]) -> bool:
    """Whether every device has all of its part of `made` in `home` already."""
    return all(
        a >= c and b <= d
        for rank in range(home.placement.size)
        for (a, b), (c, d) in zip(made.box(shape, rank), home.box(shape, rank), strict=True)
    )


def named_axes(zero: Zero, home: Layout) -> tuple[int, ...]:
    """The mesh axis that the user named, where the placement has it."""
    names = home.placement.names
    if isinstance(zero.axis, str):
        return (names.index(zero.axis),) if zero.axis in names else ()
    return (zero.axis,) if zero.axis is not None and 0 <= zero.axis < len(home.sbp) else ()


