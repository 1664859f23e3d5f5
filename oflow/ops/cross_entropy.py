"""Cross-entropy with whole-number labels: one fused operator for whole classes, and the parts it is made of for split ones.

The fused operator reads a row once, while it is in cache; it needs all classes of a row on one device. Split classes take three
steps, each with honest partial results: the largest logit of a row is P(max), the sum of exp(logit - largest) and the label's logit
are P(sum) (`class_sums`: the device that holds the label adds it, the others add 0), and -log softmax is made of the three. So
only numbers of the size of the labels are moved, never logits (Shoeybi et al. 2019, section 3). The gradient is one operator for both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.errors import ShapeError, TraceError
from oflow.ops.arithmetic import add, mul, neg, sub
from oflow.ops.blocks import as_rows, axis_names, block_nbytes, carve, cost_of_passes, row_blocks, row_sums
from oflow.ops.constant import zeros_like
from oflow.ops.op import Attributes, Example, RuleMaker, Shards, Types, op
from oflow.ops.reduce import max as largest_of
from oflow.ops.statistics import finite_or_zero
from oflow.ops.tensor import Tensor, user_line
from oflow.ops.transcendental import log
from oflow.types import TensorType


def _names(ins: Types) -> str:
    return axis_names(len(ins[0].shape) - 1)


def _checked(ins: Types) -> TensorType:
    """The logits' type. Raises ShapeError where labels are not int64, one for each row of float logits."""
    logits, labels = ins[0], ins[1]
    if not logits.is_float or labels.dtype != "int64":
        raise ShapeError(f"logits must be floats and labels int64 class numbers, got {logits.dtype} and {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise ShapeError(f"labels must have the logits' shape without its last axis, got {logits} and {labels}")
    return logits


def _one_per_row(ins: Types, attrs: Attributes) -> tuple[TensorType, TensorType]:
    logits = _checked(ins)
    return TensorType(logits.shape[:-1], logits.dtype), TensorType((*logits.shape[:-1], 2), logits.dtype)


def _examples() -> list[Example]:
    random = np.random.default_rng(17)
    made = []
    for shape in [(7, 5), (3, 2, 4), (1, 1), (6,)]:
        logits = random.standard_normal(shape).astype("float32")
        labels = random.integers(0, shape[-1], shape[:-1], dtype="int64")
        made.append(Example((logits, np.asarray(labels))))
    return made


def _grad_examples() -> list[Example]:
    random = np.random.default_rng(18)
    made = []
    for example in _examples():
        logits, labels = example.operands
        largest = logits.max(-1)
        statistics = np.stack([largest, np.exp(logits - largest[..., None]).sum(-1)], -1)
        g = np.asarray(random.standard_normal(labels.shape), dtype="float32")
        made.append(Example((logits, labels, statistics, g), {"classes": logits.shape[-1]}))
    return made


def _rule(text: str) -> RuleMaker:
    """Rule maker: the rows' factors, and the classes, which can be split where the attribute `classes` tells how many there are."""
    return lambda ins, attrs: text.format(_names(ins), "c" if "classes" in attrs else "c!")


def _local_classes(attrs: Attributes, shards: Shards) -> Attributes:
    """Where the classes are split, the number of the rank's first."""
    start, stop = shards.ins[0][-1]
    return attrs if stop - start == attrs.get("classes", stop - start) else {**attrs, "offset": start}


def _labelled(labels: np.ndarray, offset: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows whose label is one of the classes offset .. offset + width, the label's place among them)."""
    places = labels - offset
    rows = np.flatnonzero((places >= 0) & (places < width))
    return rows, places[rows]


cross_entropy_op = op(
    "softmax_cross_entropy",
    rule=lambda ins, attrs: f"{_names(ins)} c!, {_names(ins)} -> {_names(ins)}, {_names(ins)} two!",
    infer=_one_per_row,
    example=_examples,
)
"""logits (..., c), labels (...) int64 below c -> -log softmax(logits)[label] of each sample (...), and what the gradient needs of
each row (..., 2): the largest logit, and the sum of exp(logits - largest). The classes stay whole: see `class_sums` for split ones.

Raises IndexError in the kernel where a label is not in range(c).
"""


cross_entropy_op.cost(cost_of_passes(8.0))


@cross_entropy_op.workspace
def _workspace(ins: Types, outs: Types, attrs: Attributes) -> int:
    return block_nbytes(ins[0].shape, ins[0].itemsize)


def _check_labels(labels: np.ndarray, classes: int) -> None:
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise IndexError(f"labels must be class numbers in range({classes}), got {labels.min()} to {labels.max()}")


@cross_entropy_op.kernel
def _cross_entropy(
    out: np.ndarray, statistics: np.ndarray, logits: np.ndarray, labels: np.ndarray, *, workspace: np.ndarray
) -> None:
    rows, flat, result, of_row = as_rows(logits), labels.reshape(-1), out.reshape(-1), as_rows(statistics)
    _check_labels(flat, rows.shape[1])
    for at in row_blocks(rows):
        x = rows[at]
        block = carve(workspace, 0, x.shape, x.dtype)
        x.max(axis=1, out=of_row[at, 0])
        np.subtract(x, of_row[at, :1], out=block)
        chosen = block[np.arange(len(x)), flat[at]]
        np.exp(block, out=block)
        of_row[at, 1:] = row_sums(block)
        np.log(of_row[at, 1], out=result[at])
        result[at] -= chosen


softmax_cross_entropy_grad = op(
    "softmax_cross_entropy_grad",
    rule=_rule("{0} {1}, {0}, {0} two!, {0} -> {0} {1}"),
    infer=lambda ins, attrs: (_checked(ins),),
    linear=[{3}],
    example=_grad_examples,
)
"""(logits (..., c), labels (...), statistics (..., 2), g (...); classes = c of the whole, offset = number of the first class)
-> the cotangent of the logits: g (softmax(logits) - one_hot(label)).

The statistics are the forward's second result, so that exp(logits - largest) is all that is computed of a row.
"""

softmax_cross_entropy_grad.cost(cost_of_passes(6.0))
softmax_cross_entropy_grad.local(_local_classes)


@cross_entropy_op.grad
def _(g: tuple[Tensor, Tensor | None], y: tuple[Tensor, Tensor], logits: Tensor, labels: Tensor) -> tuple[Tensor, None]:
    if g[1] is not None:
        raise TraceError("the row statistics of softmax_cross_entropy have no gradient", line=user_line())
    if g[0] is None:
        return zeros_like(logits), None
    return softmax_cross_entropy_grad(logits, labels, y[1], g[0], classes=logits.shape[-1]), None


@softmax_cross_entropy_grad.kernel
def _cross_entropy_grad(
    out: np.ndarray, logits: np.ndarray, labels: np.ndarray, statistics: np.ndarray, g: np.ndarray, classes: int | None = None,
    offset: int = 0,
) -> None:  # fmt: skip
    rows, flat, result, of_row, cotangents = as_rows(logits), labels.reshape(-1), as_rows(out), as_rows(statistics), g.reshape(-1)
    _check_labels(flat, rows.shape[1] if classes is None else classes)
    for at in row_blocks(rows):
        block = result[at]
        np.subtract(rows[at], of_row[at, :1], out=block)
        np.exp(block, out=block)
        block *= cotangents[at, None] / of_row[at, 1:]
        here, places = _labelled(flat[at], offset, block.shape[1])
        block[here, places] -= cotangents[at][here]


# ------------------------------------------------------------ split classes


def _sums_examples() -> list[Example]:
    made = []
    for example in _examples():
        logits, labels = example.operands
        made.append(Example((logits, labels, np.asarray(logits.max(-1))), {"classes": logits.shape[-1]}))
    return made


def _sums_of(ins: Types, attrs: Attributes) -> tuple[TensorType, TensorType]:
    logits = _checked(ins)
    each = TensorType(logits.shape[:-1], logits.dtype)
    if ins[2] != each:
        raise ShapeError(f"the largest logits must be {each}, got {ins[2]}")
    return each, each


class_sums = op(
    "class_sums",
    rule=_rule("{0} {1}, {0}, {0} -> {0}, {0}"),
    infer=_sums_of,
    also=["B,B,P(min) -> P(max),B", "B,B,P(max) -> P(min),B"],
    example=_sums_examples,
)
"""(logits (..., c), labels (...), largest (...); classes = c of the whole, offset = number of the first class)
-> the sum of exp(logits - largest) of each row (...), and the logit of its label (...), 0 where another device holds it.

Raises IndexError in the kernel where a label is not in range(classes).
"""

class_sums.cost(cost_of_passes(8.0))
class_sums.local(_local_classes)


@class_sums.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    return block_nbytes(ins[0].shape, ins[0].itemsize)


@class_sums.kernel
def _class_sums(
    sums: np.ndarray, chosen: np.ndarray, logits: np.ndarray, labels: np.ndarray, largest: np.ndarray, classes: int | None = None,
    offset: int = 0, *, workspace: np.ndarray,
) -> None:  # fmt: skip
    rows, flat, peaks = as_rows(logits), labels.reshape(-1), largest.reshape(-1)
    to_sums, to_chosen = sums.reshape(-1), chosen.reshape(-1)
    _check_labels(flat, rows.shape[1] if classes is None else classes)
    to_chosen[...] = 0
    for at in row_blocks(rows):
        block = carve(workspace, 0, rows[at].shape, rows.dtype)
        np.subtract(rows[at], peaks[at, None], out=block)
        np.exp(block, out=block)
        to_sums[at] = row_sums(block)[:, 0]
        here, places = _labelled(flat[at], offset, block.shape[1])
        to_chosen[at][here] = rows[at][here, places]


@class_sums.grad
def _(
    g: tuple[Tensor | None, Tensor | None], y: tuple[Tensor, Tensor], logits: Tensor, labels: Tensor, largest: Tensor, **attrs: Any
) -> tuple[Tensor, None, Tensor]:
    of_sums, of_chosen = (zeros_like(largest) if each is None else each for each in g)
    return class_sums_grad(logits, labels, largest, of_sums, of_chosen, **attrs), None, neg(mul(of_sums, y[0]))


def _sums_grad_examples() -> list[Example]:
    random, made = np.random.default_rng(20), []
    for example in _sums_examples():
        cotangents = (np.asarray(random.standard_normal(example.operands[2].shape), dtype="float32") for _ in range(2))
        made.append(Example((*example.operands, *cotangents), example.attrs))
    return made


class_sums_grad = op(
    "class_sums_grad",
    rule=_rule("{0} {1}, {0}, {0}, {0}, {0} -> {0} {1}"),
    infer=lambda ins, attrs: (_checked(ins),),
    linear=[{3, 4}],
    monotone=[{3}, {4}],
    example=_sums_grad_examples,
)
"""(logits (..., c), labels, largest, g, h (...); classes, offset) -> g exp(logits - largest) + h one_hot(label) (..., c)."""

class_sums_grad.cost(cost_of_passes(6.0))
class_sums_grad.local(_local_classes)


@class_sums_grad.kernel
def _class_sums_grad(
    out: np.ndarray, logits: np.ndarray, labels: np.ndarray, largest: np.ndarray, g: np.ndarray, h: np.ndarray,
    classes: int | None = None, offset: int = 0,
) -> None:  # fmt: skip
    rows, result, flat = as_rows(logits), as_rows(out), labels.reshape(-1)
    peaks, of_sums, of_chosen = (t.reshape(-1) for t in (largest, g, h))
    for at in row_blocks(rows):
        block = result[at]
        np.subtract(rows[at], peaks[at, None], out=block)
        np.exp(block, out=block)
        block *= of_sums[at, None]
        here, places = _labelled(flat[at], offset, block.shape[1])
        block[here, places] += of_chosen[at][here]


# ------------------------------------------------------------ -log softmax


def log_sums(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(log of the sum of exp(logits) of each row, the logit of its label), on any layout of the classes."""
    peaks = finite_or_zero(largest_of(logits, -1))
    sums, chosen = class_sums(logits, labels, peaks, classes=logits.shape[-1])
    return add(log(sums), peaks), chosen


def softmax_cross_entropy(logits: Tensor, labels: Tensor, *, split_classes: bool = False) -> Tensor:
    """logits (..., c), labels (...) int64 below c -> -log softmax(logits)[label] of each sample (...).

    Without split_classes a device needs all classes of a row, and reads each row once. With it the classes may be split, as
    the logits of a weight that is S(0) are: the devices exchange three numbers a sample instead of the logits.
    """
    if split_classes:
        return sub(*log_sums(logits, labels))  # type: ignore[no-any-return]
    loss: Tensor = cross_entropy_op(logits, labels)[0]
    return loss
