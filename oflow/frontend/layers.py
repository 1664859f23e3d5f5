"""The layers of `of.nn`, with PyTorch's names, shapes and initial distributions.

Parameters are typed Any: a declaration outside a trace, its tensor inside one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from oflow import ops
from oflow.frontend.module import Module, Parameter
from oflow.ops.tensor import Tensor


def _weight(shape: tuple[int, ...], fan_in: int, dtype: object, std: float | None) -> Parameter:
    """normal(0, std) if `std` is given, else uniform within 1 / sqrt(fan_in) (He et al. 2015 with PyTorch's a = sqrt(5))."""
    if std is not None:
        return Parameter(shape, dtype, "normal", std=std)
    bound = 1.0 / math.sqrt(fan_in)
    return Parameter(shape, dtype, "uniform", low=-bound, high=bound)


def _bias(size: int, fan_in: int, dtype: object, std: float | None) -> Parameter:
    """Zero where the weight is normal(0, std), else drawn like the weight, as PyTorch does."""
    return Parameter((size,), dtype, "zeros") if std is not None else _weight((size,), fan_in, dtype, None)


class ModuleList(Module):
    """Modules by number: index, iterate, take the length. Names are ``0``, ``1``, ..."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        for module in modules:
            self.append(module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __getitem__(self, i: int) -> Any:
        return list(self._modules.values())[i]

    def append(self, module: Module) -> None:
        setattr(self, str(len(self)), module)


class Sequential(ModuleList):
    """One module after the other."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return x


class Linear(Module):
    """x (..., in_features) -> x weight^T + bias (..., out_features); weight (out_features, in_features), bias (out_features,)."""

    weight: Any
    bias: Any

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: object = "float32", std: float | None = None
    ) -> None:
        super().__init__()
        self.weight = _weight((out_features, in_features), in_features, dtype, std)
        self.has_bias = bias
        if bias:
            self.bias = _bias(out_features, in_features, dtype, std)

    def forward(self, x: Tensor) -> Tensor:
        y = ops.linear(x, self.weight)
        if self.has_bias:
            y = ops.add(y, self.bias)
        return y


class Embedding(Module):
    """Whole numbers (...,) below `count` -> rows of weight (count, d): (..., d)."""

    weight: Any

    def __init__(self, count: int, d: int, dtype: object = "float32", std: float = 1.0) -> None:
        super().__init__()
        self.weight = Parameter((count, d), dtype, "normal", std=std)

    def forward(self, i: Tensor) -> Tensor:
        return ops.embedding(i, self.weight)


class LayerNorm(Module):
    """x (..., d) -> (x - mean) / sqrt(variance + eps) * weight + bias over the last axis (Ba, Kiros, Hinton 2016)."""

    weight: Any
    bias: Any

    def __init__(self, d: int, eps: float = 1e-5, dtype: object = "float32") -> None:
        super().__init__()
        self.eps = eps
        self.weight = Parameter((d,), dtype, "ones")
        self.bias = Parameter((d,), dtype, "zeros")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.layer_norm(x, self.weight, self.bias, eps=self.eps)
        return y


class RMSNorm(Module):
    """x (..., d) -> x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang, Sennrich 2019)."""

    weight: Any

    def __init__(self, d: int, eps: float = 1e-6, dtype: object = "float32") -> None:
        super().__init__()
        self.eps = eps
        self.weight = Parameter((d,), dtype, "ones")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.rms_norm(x, self.weight, eps=self.eps)
        return y


class Conv2d(Module):
    """Images (n, in, h, w) -> (n, out, h', w'): cross-correlation with weight (out, in, kh, kw), plus a bias (out,).

    kernel_size, stride, padding: one number for both image axes, or (rows, columns).
    """

    weight: Any
    bias: Any

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *, stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0, bias: bool = True, dtype: object = "float32", std: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        fan_in = in_channels * math.prod(kernel)
        self.stride, self.padding, self.has_bias = stride, padding, bias
        self.weight = _weight((out_channels, in_channels, *kernel), fan_in, dtype, std)
        if bias:
            self.bias = _bias(out_channels, fan_in, dtype, std)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.conv2d(x, self.weight, stride=self.stride, padding=self.padding)
        if self.has_bias:
            y = ops.add(y, ops.reshape(self.bias, (-1, 1, 1)))
        return y


class GELU(Module):
    """x -> x * Phi(x), elementwise (Hendrycks and Gimpel 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.gelu(x)
        return y


class ReLU(Module):
    """x -> max(x, 0), elementwise."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.relu(x)
        return y
