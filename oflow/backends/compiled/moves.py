"""Forms of the operators that move elements: every one is copies or joins between strided regions.

A region is a sequence of axes (size, step in the target, step in the source), steps in elements, outermost first; `move` makes
it as few axes as it can be and one step of it. Joining in place of copying is what `accumulate` asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from oflow.backends.compiled.form import Address, OpCall, Step, Steps, Word, form, kernel
from oflow.ops.boxing import identity_of
from oflow.sbp import Box

Shape = Sequence[int]
RAW = {1: "uint8", 4: "int32", 8: "int64"}
"""A copy needs the size of an element only."""


class Axis(NamedTuple):
    """One loop of a move; steps in elements, 0 in the source where its element is repeated."""

    size: int
    target: int
    source: int


NO_AXIS = Axis(1, 0, 0)


def strides(shape: Shape) -> list[int]:
    """Steps of a contiguous array, in elements."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def axes_of(shape: Shape, target: Shape, source: Shape) -> list[Axis]:
    """A region of this shape from the steps of both sides."""
    return [Axis(*axis) for axis in zip(shape, target, source, strict=True)]


def joined(axes: Iterable[Axis]) -> list[Axis]:
    """The same loops with axes of size 1 left out, and neighbours that one step can walk as one axis."""
    found: list[Axis] = []
    for axis in axes:
        if axis.size == 1:
            continue
        if found and found[-1][1:] == (axis.size * axis.target, axis.size * axis.source):
            found[-1] = Axis(found[-1].size * axis.size, axis.target, axis.source)
        else:
            found.append(axis)
    return found


def _ordered(axes: list[Axis]) -> list[Axis]:
    """Rows and columns last: columns are the axis along which the target is contiguous, rows that of the source (tiles of a
    transposition), or else the axis before."""
    if len(axes) < 3 or axes[-1].source in (0, 1):
        return axes
    rows = next((i for i, axis in enumerate(axes[:-1]) if axis.source == 1), len(axes) - 2)
    return [*axes[:rows], *axes[rows + 1 : -1], axes[rows], axes[-1]]


def move(dtype: str, how: str, target: Address, source: Address | None, axes: Iterable[Axis], value: int = 0) -> Steps:
    """target[i...] = source[i...], or the join of both; `source` None: the bits of `value`. Nothing for an empty region."""
    axes = list(axes)
    if any(axis.size == 0 for axis in axes):
        return ()
    item = np.dtype(dtype).itemsize
    *outer, rows, columns = (NO_AXIS, NO_AXIS, *_ordered(joined(axes)))
    outer = [axis for axis in outer if axis is not NO_AXIS]
    if columns is NO_AXIS:
        columns = Axis(1, 1, 1)
    words: list[Word] = [target, source or 0, value, math.prod(axis.size for axis in outer)]
    for number, axis in enumerate((rows, columns, *outer)):
        if number == 2:
            words.append(len(outer))
        words += [axis.size, axis.target * item, axis.source * item]
    if not outer:
        words.append(0)
    return (Step(kernel("moves", "move", RAW[item] if how == "copy" else dtype, how), tuple(words)),)


def bits(value: object, dtype: str) -> int:
    """A number, converted as NumPy converts in an assignment, in the low bytes of a word."""
    cell = np.zeros(8 // np.dtype(dtype).itemsize, dtype)
    cell[0] = value
    return int(cell.view(np.int64)[0])


def fill(call: OpCall, value: object, how: str = "copy") -> Steps:
    """The whole first result = value, or the join of both."""
    out = call.outs[0]
    return move(out.dtype, how, call.out(0), None, [Axis(out.size, 1, 0)], bits(value, out.dtype))


def _how(call: OpCall) -> str:
    return "sum" if call.accumulate else "copy"


# ---------------------------------------------------------------- operators on one operand


@form("reshape", "accumulate")
def same(call: OpCall) -> Steps:
    """The same elements in the same order."""
    return move(call.outs[0].dtype, _how(call), call.out(0), call.operand(0), [Axis(call.outs[0].size, 1, 1)])


@form("transpose")
def transpose(call: OpCall) -> Steps:
    out, steps = call.outs[0], strides(call.ins[0].shape)
    axes = axes_of(out.shape, strides(out.shape), [steps[a] for a in call.attrs["axes"]])
    return move(out.dtype, _how(call), call.out(0), call.operand(0), axes)


@form("broadcast_to")
def broadcast(call: OpCall) -> Steps:
    out, small = call.outs[0], call.ins[0].shape
    steps = [0 if n == 1 else step for n, step in zip(small, strides(small), strict=True)]
    axes = axes_of(out.shape, strides(out.shape), [0] * (len(out.shape) - len(small)) + steps)
    return move(out.dtype, _how(call), call.out(0), call.operand(0), axes)


@form("slice")
def take(call: OpCall) -> Steps:
    out, steps = call.outs[0], strides(call.ins[0].shape)
    first = call.operand(0, _offset(call.attrs["starts"], steps) * out.itemsize)
    return move(out.dtype, _how(call), call.out(0), first, axes_of(out.shape, strides(out.shape), _longer(steps, call)))


@form("pad")
def pad(call: OpCall) -> Steps | None:
    out, small, value = call.outs[0], call.ins[0], call.attrs.get("value", 0)
    if call.accumulate and value:
        return None
    steps = strides(out.shape)
    first = call.out(0, _offset(call.attrs["starts"], steps) * out.itemsize)
    put = move(out.dtype, _how(call), first, call.operand(0), axes_of(small.shape, _longer(steps, call), strides(small.shape)))
    return put if call.accumulate or small.size == out.size else fill(call, value) + put


def _longer(steps: Sequence[int], call: OpCall) -> list[int]:
    """Steps in elements of an array of which every so-many-th position along an axis is meant, or in reverse order."""
    return [step * every for step, every in zip(steps, call.attrs.get("steps") or [1] * len(steps), strict=True)]


def _offset(starts: Shape, steps: Shape) -> int:
    return sum(start * step for start, step in zip(starts, steps, strict=True))


@form("cast")
def cast(call: OpCall) -> Steps | None:
    """Contiguous elements; the same dtype is a copy."""
    source, target = call.ins[0], call.outs[0]
    if source.dtype == target.dtype:
        return same(call)
    if call.accumulate:
        return None
    words = (call.out(0), call.operand(0), target.size)
    return (Step(kernel("moves", "cast", source.dtype, target.dtype), words),) if target.size else ()


@form("full")
def full(call: OpCall) -> Steps:
    return fill(call, call.attrs["value"], _how(call))


# ---------------------------------------------------------------- several operands


@form("concat")
def concat(call: OpCall) -> Steps:
    out, axis = call.outs[0], call.attrs["axis"]
    steps = strides(out.shape)
    found: Steps = ()
    at = 0
    for i, part in enumerate(call.ins):
        put = call.out(0, at * steps[axis] * out.itemsize)
        found += move(out.dtype, _how(call), put, call.operand(i), axes_of(part.shape, steps, strides(part.shape)))
        at += part.shape[axis]
    return found


@form("boxing")
def boxing(call: OpCall) -> Steps | None:
    """Each region of each source: a copy where it is the first of its place, else a join; the rest is the identity.

    None for a boxing whose pulls are not known yet, and for adding what is not a sum.
    """
    if "pulls" not in call.attrs or (call.accumulate and call.attrs["op"] != "sum"):
        return None
    out, how = call.outs[0], call.attrs["op"]
    pulls: Sequence[tuple[int, Box, Box]] = call.attrs["pulls"]
    places = list(dict.fromkeys(put for _, _, put in pulls))
    covered = sum(math.prod(stop - start for start, stop in put) for put in places)
    found: Steps = fill(call, identity_of(how, np.dtype(out.dtype))) if covered < out.size and not call.accumulate else ()
    written = set(places if call.accumulate else ())
    for source, took, put in pulls:
        found += _pull(call, source, took, put, how if put in written else "copy")
        written.add(put)
    return found


def _pull(call: OpCall, source: int, took: Box, put: Box, how: str) -> Steps:
    out, part = call.outs[0], call.ins[source]
    flat = call.attrs["flat"]
    to, of = strides((out.size,) if flat else out.shape), strides((part.size,) if flat else part.shape)
    sizes = [stop - start for start, stop in put]
    target = call.out(0, _offset([start for start, _ in put], to[: len(put)]) * out.itemsize)
    first = call.operand(source, _offset([start for start, _ in took], of[: len(took)]) * out.itemsize)
    return move(out.dtype, how, target, first, axes_of(sizes, to, of))
