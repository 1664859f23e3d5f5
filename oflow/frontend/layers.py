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
    """Whole numbers (...,) below `count` -> rows of weight (count, d): (..., d).

    padding_idx: a row that gets no gradient. sparse: only the rows that were looked up are updated, and the gradient (count, d) is
    never made. SGD without momentum and Adagrad come to the same as with it, AdamW is lazy (see `of.optim`); weight decay acts
    on the rows that were looked up.
    """

    weight: Any

    def __init__(
        self, count: int, d: int, dtype: object = "float32", std: float = 1.0, *, padding_idx: int | None = None, sparse: bool = False
    ) -> None:
        super().__init__()
        self.padding_idx, self.sparse = padding_idx, sparse
        self.weight = Parameter((count, d), dtype, "normal", std=std)

    def forward(self, i: Tensor) -> Tensor:
        return ops.embedding(i, self.weight, padding_idx=self.padding_idx, sparse=self.sparse)


class LayerNorm(Module):
    """x (..., d) -> (x - mean) / sqrt(variance + eps) * weight + bias over the last axis (Ba, Kiros, Hinton 2016).

    bias=False leaves out the bias, elementwise_affine=False both: they are 0 and 1 then.
    """

    weight: Any
    bias: Any

    def __init__(
        self, d: int, eps: float = 1e-5, dtype: object = "float32", *, elementwise_affine: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        self.eps, self.has_weight, self.has_bias = eps, elementwise_affine, elementwise_affine and bias
        if self.has_weight:
            self.weight = Parameter((d,), dtype, "ones")
        if self.has_bias:
            self.bias = Parameter((d,), dtype, "zeros")

    def forward(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.weight if self.has_weight else None, self.bias if self.has_bias else None, eps=self.eps)


class RMSNorm(Module):
    """x (..., d) -> x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang, Sennrich 2019).

    elementwise_affine=False leaves out the weight: it is 1 then.
    """

    weight: Any

    def __init__(self, d: int, eps: float = 1e-6, dtype: object = "float32", *, elementwise_affine: bool = True) -> None:
        super().__init__()
        self.eps, self.has_weight = eps, elementwise_affine
        if elementwise_affine:
            self.weight = Parameter((d,), dtype, "ones")

    def forward(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, self.weight if self.has_weight else None, eps=self.eps)


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
