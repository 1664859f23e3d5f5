"""What operators that only move elements share: what may be partial, rules with whole axes, local shapes, examples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.op import Attributes, Op, Shards, Types
from oflow.ops.tensor import Tensor, user_line
from oflow.sbp import Partials

Shape = tuple[int, ...]
FEW = 4
"""Operands up to which every set of them is listed as one that may be P(max) together."""


class Move(Op):
    """Every element of the result is an element of an operand, or a number that is the same on all ranks.

    So sums of all operands pass, and maxima and minima of any of them. Where numbers are put in, the sum passes only if they are 0.
    """

    def __init__(self, name: str, **parts: Any) -> None:
        super().__init__(name, moves=True, **parts)

    def fills(self, attrs: Attributes) -> float:
        """The number that is put in."""
        return float(attrs.get("value", 0))

    def partials_on(self, ins: Types, attrs: Attributes) -> Partials:
        everything = range(len(ins))
        sizes = range(1, len(ins) + 1) if len(ins) <= FEW else (1, len(ins))
        sets = (frozenset(group) for n in sizes for group in itertools.combinations(everything, n))
        return Partials(() if self.fills(attrs) else (frozenset(everything),), tuple(sets))


def axes_rule(count: int, whole: Collection[int], operands: int = 1) -> str:
    """Operands and a result of `count` axes, of which those in `whole` may not be split."""
    text = " ".join("1" if i in whole else f"a{i}" for i in range(count))
    return f"{', '.join([text] * operands)} -> {text}"


def local_shape(attrs: Attributes, shards: Shards) -> Attributes:
    """A rank's result shape is the size of its region."""
    return {**attrs, "shape": tuple(stop - start for start, stop in shards.outs[0])}


def cost_of_moves(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    """Every element of the results is read and written once."""
    return Cost(nbytes=2.0 * sum(t.nbytes for t in outs), calls=1)


def axis_of(t: Tensor, axis: int, more: int = 0) -> int:
    """The axis counted from 0, of a tensor with `more` axes than `t`. Raises ShapeError at the user's line."""
    count = t.ndim + more
    if not isinstance(axis, int | np.integer) or not -count <= axis < count:
        raise ShapeError(f"axis {axis} is not one of the {count} axes" + ("" if more else f" of {t.type}"), line=user_line())
    return int(axis) % count


def axes_list(t: Tensor, axes: int | Sequence[int], more: int = 0) -> Shape:
    """Distinct axes counted from 0, in the order given. Raises ShapeError at the user's line."""
    found = tuple(axis_of(t, a, more) for a in ((axes,) if isinstance(axes, int | np.integer) else axes))
    if len(set(found)) < len(found):
        raise ShapeError(f"axis repeated in {axes}", line=user_line())
    return found


def examples_of(*shape: int) -> np.ndarray:
    """Whole numbers as float64, negative ones too."""
    return (np.arange(math.prod(shape)) % 13 - 6).reshape(shape).astype("float64")
