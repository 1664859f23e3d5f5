"""Layers of convolutional networks: convolutions, pooling, and norms over channels, with PyTorch's names and initial values."""

from __future__ import annotations

import math
from typing import Any

from oflow import ops
from oflow.errors import ShapeError
from oflow.frontend.layers import _bias, _weight
from oflow.frontend.module import Buffer, Module, Parameter
from oflow.ops.columns import Pair, pair
from oflow.ops.convolve import Padding
from oflow.ops.tensor import Tensor, user_line


def _check_groups(groups: int, *channels: int) -> None:
    """Raises ShapeError, at the user's line, unless the groups divide both numbers of channels."""
    if groups < 1 or any(n % groups for n in channels):
        raise ShapeError(f"{groups} groups do not divide {' and '.join(map(str, channels))} channels", line=user_line())


class Conv2d(Module):
    """Images (n, in, h, w) -> (n, out, h', w'): cross-correlation with weight (out, in / groups, kh, kw), plus a bias (out,).

    kernel_size, stride, dilation: one number for both image axes, or (rows, columns); padding: see `of.conv2d`.
    """

    weight: Any
    bias: Any

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | Pair, *, stride: int | Pair = 1, padding: Padding = 0,
        dilation: int | Pair = 1, groups: int = 1, bias: bool = True, dtype: object = "float32", std: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_groups(groups, in_channels, out_channels)
        shape = (out_channels, in_channels // groups, *pair(kernel_size))
        self.settings: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.has_bias = bias
        self.weight = _weight(shape, math.prod(shape[1:]), dtype, std)
        if bias:
            self.bias = _bias(out_channels, math.prod(shape[1:]), dtype, std)

    def forward(self, x: Tensor) -> Tensor:
        return ops.conv2d(x, self.weight, self.bias if self.has_bias else None, **self.settings)


class ConvTranspose2d(Module):
    """Images (n, in, h, w) -> (n, out, h', w'): the transpose of a convolution, weight (in, out / groups, kh, kw), bias (out,).

    See `of.conv_transpose2d`.
    """

    weight: Any
    bias: Any

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | Pair, *, stride: int | Pair = 1, padding: int | Pair = 0,
        output_padding: int | Pair = 0, dilation: int | Pair = 1, groups: int = 1, bias: bool = True, dtype: object = "float32",
        std: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_groups(groups, in_channels, out_channels)
        shape = (in_channels, out_channels // groups, *pair(kernel_size))
        self.settings: dict[str, Any] = {
            "stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation, "groups": groups,
        }  # fmt: skip
        self.has_bias = bias
        self.weight = _weight(shape, math.prod(shape[1:]), dtype, std)
        if bias:
            self.bias = _bias(out_channels, math.prod(shape[1:]), dtype, std)

    def forward(self, x: Tensor) -> Tensor:
        return ops.conv_transpose2d(x, self.weight, self.bias if self.has_bias else None, **self.settings)


class MaxPool2d(Module):
    """Images (n, c, h, w) -> the maximum of each window (n, c, h', w'); see `of.max_pool2d`."""

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return ops.max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(Module):
    """Images (n, c, h, w) -> the mean of each window (n, c, h', w'); see `of.avg_pool2d`."""

    def __init__(
        self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0, count_include_pad: bool = True
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return ops.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.count_include_pad)


class AdaptiveAvgPool2d(Module):
    """Images (n, c, h, w) -> means (n, c, *output_size); see `of.adaptive_avg_pool2d`."""

    def __init__(self, output_size: int | Pair) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return ops.adaptive_avg_pool2d(x, self.output_size)


class _Affine(Module):
    """A norm's weight (ones) and bias (zeros), one number a channel each; neither where `affine` is False."""

    weight: Any
    bias: Any

    def __init__(self, channels: int, eps: float, affine: bool, dtype: object) -> None:
        super().__init__()
        self.eps, self.affine = eps, affine
        if affine:
            self.weight = Parameter((channels,), dtype, "ones")
            self.bias = Parameter((channels,), dtype, "zeros")

    def _parts(self) -> tuple[Any, Any]:
        return (self.weight, self.bias) if self.affine else (None, None)


class _BatchNorm(_Affine):
    running_mean: Any
    running_var: Any
    batches: Any
    ranks: tuple[int, ...]

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track_running_stats: bool = True,
        dtype: object = "float32",
    ) -> None:  # fmt: skip
        super().__init__(channels, eps, affine, dtype)
        self.momentum, self.track = momentum, track_running_stats
        if track_running_stats:
            self.running_mean = Buffer((channels,), dtype, "zeros")
            self.running_var = Buffer((channels,), dtype, "ones")
            if momentum is None:
                self.batches = Buffer((), dtype, "zeros")

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in self.ranks:
            axes = " or ".join(map(str, self.ranks))
            raise ShapeError(f"{type(self).__name__} takes tensors of {axes} axes, got {x.type}", line=user_line())
        if self.track and not self.training:
            return ops.batch_norm_with(x, self.running_mean, self.running_var, *self._parts(), eps=self.eps)
        y, mean, variance = ops.batch_norm(x, *self._parts(), eps=self.eps)
        if self.track:
            count = x.type.size // x.shape[1]
            if count < 2:
                raise ShapeError(f"the variance of one number a channel, in {x.type}, tells nothing", line=user_line())
            self._keep(mean, ops.mul(variance, count / (count - 1)))
        return y

    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """New running statistics: moving averages of the batches', or with momentum=None the average of all of them."""
        share: Any = self.momentum
        if share is None:
            self.batches = ops.add(self.batches, 1.0)
            share = ops.div(1.0, self.batches)
        self.running_mean = ops.add(self.running_mean, ops.mul(ops.sub(mean, self.running_mean), share))
        self.running_var = ops.add(self.running_var, ops.mul(ops.sub(variance, self.running_var), share))


class BatchNorm2d(_BatchNorm):
    """Images (n, c, h, w) -> (x - mean) / sqrt(variance + eps) weight + bias, a channel at a time (Ioffe and Szegedy 2015).

    While `training` the statistics are those of the whole (global) batch on any layout, and the buffers running_mean, running_var
    (c,) (with the unbiased variance) move by `momentum` of the difference once a step; momentum=None averages all steps. After `eval`
    the buffers are used. With micro-batches the statistics wait for all of them, so training needs schedule="gpipe".
    """

    ranks = (4,)


class BatchNorm1d(_BatchNorm):
    """As `BatchNorm2d`, for (n, c) or (n, c, l)."""

    ranks = (2, 3)


class GroupNorm(_Affine):
    """x (n, c, ...) -> normalised over each of `groups` runs of channels of each sample (Wu and He 2018); weight, bias (c,)."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5, affine: bool = True, dtype: object = "float32") -> None:
        super().__init__(channels, eps, affine, dtype)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return ops.group_norm(x, self.groups, *self._parts(), eps=self.eps)


class InstanceNorm2d(_Affine):
    """Images (n, c, h, w) -> normalised over each channel of each image (Ulyanov et al. 2016); weight, bias (c,) if `affine`."""

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = False, dtype: object = "float32") -> None:
        super().__init__(channels, eps, affine, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return ops.instance_norm(x, *self._parts(), eps=self.eps)
