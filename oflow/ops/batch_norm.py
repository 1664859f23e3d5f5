"""Batch, group and instance norm, made of means and elementwise operators.

So inference finds their layouts: where the batch is split, a batch statistic is P(sum) and one boxing of (channels,) numbers makes
it the statistic of the whole, global batch (synchronised batch norm). The variance is the mean of squared differences from the
mean, in a second pass over x: E[x^2] - E[x]^2 would cancel. On the micro-batch axis batch statistics are a barrier.
"""

from __future__ import annotations

import math

from oflow.errors import ShapeError
from oflow.ops.arithmetic import add, div, mul, square, sub
from oflow.ops.reduce import mean
from oflow.ops.shape import reshape
from oflow.ops.tensor import Tensor, user_line
from oflow.ops.transcendental import sqrt


def _standardised(x: Tensor, axes: tuple[int, ...], eps: float, scale: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """((x - mean) scale / sqrt(variance + eps), mean, variance) over `axes`, which stay, with size 1, in the statistics."""
    average = mean(x, axes, keepdims=True)
    centred = sub(x, average)
    variance = mean(square(centred), axes, keepdims=True)
    return _scaled(centred, variance, eps, scale), average, variance


def _scaled(centred: Tensor, variance: Tensor, eps: float, scale: Tensor | None) -> Tensor:
    root = sqrt(add(variance, eps))
    made: Tensor = mul(centred, div(1.0 if scale is None else scale, root))
    return made


def _channels(x: Tensor, axis: int, *each: Tensor | None) -> tuple[Tensor | None, ...]:
    """Tensors (c,) as (c, 1, ...), to meet the channels of x. Raises ShapeError where one is not of that size."""
    rank = x.ndim - axis % x.ndim - 1
    for t in each:
        if t is not None and t.shape != (x.shape[axis],):
            raise ShapeError(f"{x.type} has {x.shape[axis]} channels on axis {axis}, and {t.type} does not", line=user_line())
    return tuple(t if t is None else reshape(t, (*t.shape, *[1] * rank)) for t in each)


def _checked_axis(x: Tensor, axis: int) -> int:
    if not -x.ndim <= axis < x.ndim or x.ndim < 2:
        raise ShapeError(f"{x.type} has no batch and channel axis {axis}", line=user_line())
    return axis % x.ndim


def batch_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float = 1e-5, axis: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """x (n, c, ...) -> (x - mean) / sqrt(variance + eps) weight + bias, mean (c,), variance (c,) (Ioffe and Szegedy 2015).

    The statistics are over all axes but `axis`, over the whole (global) batch whatever its layout; the variance is divided by the
    count. weight, bias (c,): 1 and 0 where not given. With micro-batches the result waits for all of them: schedule="gpipe" only.
    """
    axis = _checked_axis(x, axis)
    scale, shift = _channels(x, axis, weight, bias)
    y, average, variance = _standardised(x, tuple(i for i in range(x.ndim) if i != axis), eps, scale)
    y = y if shift is None else add(y, shift)
    return y, reshape(average, (-1,)), reshape(variance, (-1,))


def batch_norm_with(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float = 1e-5,
    axis: int = 1,
) -> Tensor:  # fmt: skip
    """x (n, c, ...) -> (x - mean) / sqrt(variance + eps) weight + bias with given statistics (c,): batch norm at evaluation."""
    axis = _checked_axis(x, axis)
    middle, spread, scale, shift = _channels(x, axis, mean, variance, weight, bias)
    assert middle is not None and spread is not None
    y = _scaled(sub(x, middle), spread, eps, scale)
    return y if shift is None else add(y, shift)


def group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float = 1e-5
) -> Tensor:
    """x (n, c, ...) -> normalised over each of `groups` equal runs of channels of each sample (Wu and He 2018).

    weight, bias (c,): 1 and 0 where not given. The batch may be split, and the channels by whole groups. Raises ShapeError where c
    does not divide.
    """
    _checked_axis(x, 1)
    n, c = x.shape[:2]
    if groups < 1 or c % groups:
        raise ShapeError(f"{c} channels cannot be cut into {groups} equal groups", line=user_line())
    scale, shift = _channels(x, 1, weight, bias)
    apart = reshape(x, (n, groups, c // groups * math.prod(x.shape[2:])))
    y = reshape(_standardised(apart, (2,), eps, None)[0], x.shape)
    y = y if scale is None else mul(y, scale)
    return y if shift is None else add(y, shift)


def instance_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float = 1e-5) -> Tensor:
    """x (n, c, ...) -> normalised over each channel of each sample (Ulyanov et al. 2016), then weight and bias (c,) where given."""
    _checked_axis(x, 1)
    scale, shift = _channels(x, 1, weight, bias)
    y = _standardised(x, tuple(range(2, x.ndim)), eps, scale)[0]
    return y if shift is None else add(y, shift)
