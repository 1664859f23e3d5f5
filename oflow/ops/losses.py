"""Losses, made of operators that split: their means are over the whole (global) batch, whatever its layout.

A mean over samples that count (ignore_index, weight) divides by a sum over the batch, which is a barrier on the micro-batch axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oflow.errors import ShapeError, TraceError
from oflow.ops.along import take_along_axis
from oflow.ops.arithmetic import absolute, add, div, maximum, minimum, mul, neg, square, sub
from oflow.ops.cast import cast
from oflow.ops.comparison import equal, greater, not_equal, where
from oflow.ops.cross_entropy import log_sums, softmax_cross_entropy
from oflow.ops.elementwise import elementwise
from oflow.ops.gather import take
from oflow.ops.reduce import mean
from oflow.ops.reduce import sum as reduce_sum
from oflow.ops.shape import reshape
from oflow.ops.statistics import logsumexp
from oflow.ops.tensor import Tensor, user_line
from oflow.ops.transcendental import exp, log, sqrt


def _reduced(each: Tensor, reduction: str, weight: Tensor | None = None) -> Tensor:
    """The losses of all samples as one number; with weights the mean is divided by their sum (where it is 0, by 1)."""
    if reduction not in ("mean", "sum", "none"):
        raise TraceError(f'reduction is "mean", "sum" or "none", not {reduction!r}', line=user_line())
    if reduction == "none":
        return each
    if reduction == "sum":
        return reduce_sum(each)
    if weight is None:
        return mean(each)
    total = reduce_sum(weight)
    return div(reduce_sum(each), where(equal(total, 0.0), 1.0, total))  # type: ignore[no-any-return]


# ------------------------------------------------------------ classes


def cross_entropy(
    logits: Tensor, labels: Tensor, *, weight: Tensor | None = None, ignore_index: int | None = None, label_smoothing: float = 0.0,
    reduction: str = "mean", split_classes: bool = False,
) -> Tensor:  # fmt: skip
    """logits (..., c), labels (...) int64 class numbers, or (..., c) probabilities -> the mean of -sum p log softmax(logits).

    weight (c,) of each class: the mean is divided by the weights of the labels (with probabilities: by the number of samples).
    ignore_index: samples with this label count nothing. label_smoothing: the share of each label given to all classes alike
    (Szegedy et al. 2016). reduction: "mean", "sum" or "none" (...). split_classes: for logits whose classes are split over devices,
    exchange three numbers a sample instead of making the rows whole (see `of.softmax_cross_entropy`).
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise TraceError(f"label_smoothing is a share from 0 to 1, got {label_smoothing}", line=user_line())
    if labels.type.is_float:
        if ignore_index is not None:
            raise TraceError("probabilities have no label to ignore; leave out ignore_index", line=user_line())
        return _reduced(_of_probabilities(logits, labels, weight, label_smoothing), reduction)
    return _labelled(
        labels, weight, ignore_index, reduction, logits.dtype,
        lambda labels, share, counted: _of_labels(logits, labels, share, counted, weight, label_smoothing, split_classes),
    )  # fmt: skip


def _labelled(
    labels: Tensor, weight: Tensor | None, ignore_index: int | None, reduction: str, dtype: str,
    loss: Callable[[Tensor, Tensor | None, Tensor | None], Tensor],
) -> Tensor:  # fmt: skip
    """The reduced loss(labels, share, counted): counted is 0 for a label that is ignored, share is that times its class's weight.

    None stands for 1 for all labels.
    """
    share: Any = None
    counted: Any = None
    if ignore_index is not None:
        there = not_equal(labels, ignore_index)
        labels, counted = where(there, labels, 0), cast(there, dtype)
        share = counted
    if weight is not None:
        each = take(weight, labels)
        share = each if share is None else mul(share, each)
    return _reduced(loss(labels, share, counted), reduction, share)


def _times(t: Tensor, share: Tensor | None) -> Tensor:
    return t if share is None else mul(t, share)


def _of_labels(
    logits: Tensor, labels: Tensor, share: Tensor | None, counted: Tensor | None, weight: Tensor | None, smoothing: float,
    split_classes: bool,
) -> Tensor:  # fmt: skip
    if not smoothing:
        return _times(softmax_cross_entropy(logits, labels, split_classes=split_classes), share)
    sums, chosen = log_sums(logits, labels)
    kept, spread = _times(sub(sums, chosen), share), _times(_to_all_classes(logits, sums, weight), counted)
    return add(mul(kept, 1.0 - smoothing), mul(spread, smoothing))  # type: ignore[no-any-return]


def _to_all_classes(logits: Tensor, sums: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over classes of weight (log sum exp - logit), for each sample."""
    if weight is None:
        return sub(sums, mean(logits, -1))  # type: ignore[no-any-return]
    return sub(mul(sums, mean(weight)), mean(mul(logits, weight), -1))  # type: ignore[no-any-return]


def _of_probabilities(logits: Tensor, labels: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    if labels.type != logits.type:
        raise ShapeError(f"probabilities must be {logits.type} as the logits, got {labels.type}", line=user_line())
    shares: Any = labels if not smoothing else add(mul(labels, 1.0 - smoothing), smoothing / logits.shape[-1])
    shares = shares if weight is None else mul(shares, weight)
    made: Tensor = sub(mul(logsumexp(logits, -1), reduce_sum(shares, -1)), reduce_sum(mul(shares, logits), -1))
    return made


def nll_loss(
    log_probabilities: Tensor, labels: Tensor, *, weight: Tensor | None = None, ignore_index: int | None = None, reduction: str = "mean"
) -> Tensor:
    """log_probabilities (..., c), labels (...) int64 -> the mean of -log_probabilities[label]; the classes may be split.

    weight (c,), ignore_index, reduction: as in `cross_entropy`.
    """

    def loss(labels: Tensor, share: Tensor | None, counted: Tensor | None) -> Tensor:
        chosen = take_along_axis(log_probabilities, reshape(labels, (*labels.shape, 1)), -1)
        return _times(neg(reshape(chosen, labels.shape)), share)

    return _labelled(labels, weight, ignore_index, reduction, log_probabilities.dtype, loss)


def kl_div(
    log_probabilities: Tensor, target: Tensor, *, log_target: bool = False, reduction: str = "mean"
) -> Tensor:
    """The Kullback-Leibler divergence, element by element: target (log target - log_probabilities), of two tensors of one shape.

    log_target: whether the target is given as logarithms. Where it is 0, so is the result. reduction: "mean" (over all elements),
    "sum", "none", or "batchmean", the sum over the size of axis 0, which is the divergence a sample.
    """
    if log_target:
        each = mul(exp(target), sub(target, log_probabilities))
    else:
        there = greater(target, 0.0)
        logs = log(where(there, target, 1.0))
        each = mul(target, sub(logs, log_probabilities))
    if reduction == "batchmean":
        return mul(reduce_sum(each), 1.0 / each.shape[0])  # type: ignore[no-any-return]
    return _reduced(each, reduction)


# ------------------------------------------------------------ yes or no

bce_logits = elementwise(
    "bce_logits", "max(a, 0) - a * b + log1p(exp(-abs(a)))", operands="a b", floats=True,
    grad={"a": "g * (0.5 * tanh(0.5 * a) + 0.5 - b)", "b": "-g * a"},
)  # fmt: skip
"""-(b log s + (1 - b) log(1 - s)) with s = sigmoid(a), without overflow."""

bce = elementwise(
    "bce", "-(b * max(log(a), -100) + (1 - b) * max(log(1 - a), -100))", operands="a b", floats=True, domain=(0.05, 0.6),
    grad={"a": "g * (a - b) / max(a * (1 - a), 1e-12)", "b": "g * (max(log(1 - a), -100) - max(log(a), -100))"},
)  # fmt: skip
"""-(b log a + (1 - b) log(1 - a)), logarithms not below -100, as in PyTorch."""


def binary_cross_entropy(p: Tensor, target: Tensor, *, weight: Tensor | None = None, reduction: str = "mean") -> Tensor:
    """The mean of -weight (target log p + (1 - target) log(1 - p)); p in [0, 1], logarithms not below -100."""
    each = bce(p, target)
    return _reduced(each if weight is None else mul(each, weight), reduction)


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Tensor, *, weight: Tensor | None = None, pos_weight: Tensor | float | None = None, reduction: str = "mean"
) -> Tensor:
    """As `binary_cross_entropy` of p = sigmoid(logits), without overflow. pos_weight multiplies the loss of target 1 (broadcasts)."""
    if pos_weight is None:
        each = bce_logits(logits, target)
    else:  # (1 - t) x + (1 + (w - 1) t) log(1 + exp(-x))
        more = sub(pos_weight, 1.0) if isinstance(pos_weight, Tensor) else pos_weight - 1.0
        each = add(mul(sub(1.0, target), logits), mul(add(1.0, mul(more, target)), bce_logits(logits, 1.0)))
    return _reduced(each if weight is None else mul(each, weight), reduction)


def hinge_loss(scores: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """The mean of max(0, 1 - target score); target is 1 or -1 (Cortes and Vapnik 1995)."""
    return _reduced(maximum(sub(1.0, mul(target, scores)), 0.0), reduction)


# ------------------------------------------------------------ distances


def sum_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """The sum of (a - b)^2 over all elements."""
    return mse(a, b, reduction="sum")


def mse(a: Tensor, b: Tensor, *, reduction: str = "mean") -> Tensor:
    """The mean of (a - b)^2 over all elements of the global tensors."""
    return _reduced(square(sub(a, b)), reduction)


def l1_loss(a: Tensor, b: Tensor, *, reduction: str = "mean") -> Tensor:
    """The mean of |a - b|."""
    return _reduced(absolute(sub(a, b)), reduction)


def huber_loss(a: Tensor, b: Tensor, *, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """The mean of (a - b)^2 / 2 where |a - b| <= delta, delta (|a - b| - delta / 2) elsewhere (Huber 1964)."""
    if not delta > 0:
        raise TraceError(f"delta must be positive, got {delta}", line=user_line())
    distance = absolute(sub(a, b))
    near = minimum(distance, delta)
    return _reduced(mul(near, sub(distance, mul(near, 0.5))), reduction)


def smooth_l1_loss(a: Tensor, b: Tensor, *, beta: float = 1.0, reduction: str = "mean") -> Tensor:
    """`huber_loss` over delta = beta: its slope far away is 1 (Girshick 2015). beta=0 is `l1_loss`."""
    if beta == 0:
        return l1_loss(a, b, reduction=reduction)
    return mul(huber_loss(a, b, delta=beta, reduction=reduction), 1.0 / beta)  # type: ignore[no-any-return]


def cosine_similarity(a: Tensor, b: Tensor, axis: int = -1, eps: float = 1e-8) -> Tensor:
    """a . b / (max(|a|, eps) max(|b|, eps)) along `axis`, which may be split; the other axes broadcast."""

    def length(t: Tensor) -> Any:
        return sqrt(maximum(reduce_sum(square(t), axis), eps * eps))

    return div(reduce_sum(mul(a, b), axis), mul(length(a), length(b)))  # type: ignore[no-any-return]
