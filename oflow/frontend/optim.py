"""`of.optim`: optimizers as data, with the rule that turns one weight and its gradient into new state.

The compiler's optimizer pass owns the rest: the step counter, tracing the learning rate, the global norm of all gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from oflow import ops
from oflow.errors import TraceError
from oflow.ops.tensor import Tensor, user_line

LearningRate = float | Callable[[Tensor], Tensor]
"""A number, or a function of the step counter (a 0-d float tensor, 0 in the first step) that is traced into the graph."""

Decayed = Callable[[str, tuple[int, ...]], bool]
"""(name, shape) of a weight -> whether weight decay acts on it."""


def matrices(name: str, shape: tuple[int, ...]) -> bool:
    """The usual choice: decay matrices and tables, not biases and the weights of norms."""
    return len(shape) >= 2


class Optimizer(Protocol):
    """What the optimizer pass asks of an optimizer."""

    @property
    def lr(self) -> LearningRate: ...

    @property
    def clip_norm(self) -> float | None: ...

    def update(
        self, weight: Tensor, grad: Tensor, *, name: str, lr: Tensor, step: Tensor, scale: Tensor | None,
        state: Callable[[str], Tensor],
    ) -> dict[str, Tensor]:  # fmt: skip
        """New values of a weight (key "") and of its kept state by suffix.

        lr, step and scale (what clipping multiplies gradients with; None: nothing) are 0-d; `state(suffix)` is the kept tensor
        ``<name>.<suffix>`` of the weight's type, zero in the first step.
        """


class RowOptimizer(Optimizer, Protocol):
    """An optimizer that also takes row-sparse gradients (of lookups with sparse=True)."""

    def update_rows(
        self, weight: Tensor, ids: Tensor, rows: Tensor, *, name: str, lr: Tensor, step: Tensor, scale: Tensor | None,
        state: Callable[[str], Tensor],
    ) -> dict[str, Tensor]:  # fmt: skip
        """As `update`; the gradient is the sum of rows (n, d), added where ids (n,) say."""


def _check(**settings: object) -> None:
    """Raises TraceError, at the user's line, for a setting that is a number but not a finite one >= 0."""
    for name, value in settings.items():
        if isinstance(value, int | float) and not 0.0 <= value < math.inf:
            raise TraceError(f"{name} must be a finite number >= 0, got {value}", line=user_line())


def _check_below_one(**settings: float) -> None:
    for name, value in settings.items():
        if not 0.0 <= value < 1.0:
            raise TraceError(f"{name} must be at least 0 and below 1, got {value}", line=user_line())


def _given(*scalars: Tensor | None) -> list[Tensor]:
    return [scalar for scalar in scalars if scalar is not None]


@dataclass(frozen=True, slots=True)
class SGD:
    """Gradient descent in PyTorch's form: g += weight_decay w; m = momentum m + g; w -= lr m.

    With `nesterov` the last step is w -= lr (g + momentum m).
    """

    lr: LearningRate
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    nesterov: bool = False
    decay: Decayed = matrices

    def __post_init__(self) -> None:
        _check(lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, clip_norm=self.clip_norm)
        _check_below_one(momentum=self.momentum)

    def update(
        self, weight: Tensor, grad: Tensor, *, name: str, lr: Tensor, step: Tensor, scale: Tensor | None,
        state: Callable[[str], Tensor],
    ) -> dict[str, Tensor]:  # fmt: skip
        decay = self.weight_decay if self.decay(name, weight.shape) else 0.0
        scalars = _given(lr, scale)
        if not self.momentum:
            return {"": ops.sgd_update(weight, grad, *scalars, weight_decay=decay)}
        made = ops.momentum_update(
            weight, state("momentum"), grad, *scalars, momentum=self.momentum, nesterov=self.nesterov, weight_decay=decay
        )
        return dict(zip(("", "momentum"), made, strict=True))

    def update_rows(
        self, weight: Tensor, ids: Tensor, rows: Tensor, *, name: str, lr: Tensor, step: Tensor, scale: Tensor | None,
        state: Callable[[str], Tensor],
    ) -> dict[str, Tensor]:  # fmt: skip
        """Equal to `update` of the dense gradient, but weight decay acts only on rows that were looked up. Not with momentum."""
        if self.momentum:
            raise TraceError(
                f"the gradient of {name} is row-sparse, and momentum moves every row: use momentum=0, of.optim.Adagrad or "
                "of.optim.AdamW, or look up without sparse=True",
                line=user_line(),
            )
        decay = self.weight_decay if self.decay(name, weight.shape) else 0.0
        return {"": ops.sgd_rows_update(weight, ids, rows, *_given(lr, scale), rows=weight.shape[0], weight_decay=decay)}


@dataclass(frozen=True, slots=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), in PyTorch's form."""

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip_norm: float | None = None
    decay: Decayed = matrices

    def __post_init__(self) -> None:
        _check(lr=self.lr, eps=self.eps, weight_decay=self.weight_decay, clip_norm=self.clip_norm)
        _check_below_one(beta1=self.betas[0], beta2=self.betas[1])

    def update(
        self, weight: Tensor, grad: Tensor, *, name: str, lr: Tensor, step: Tensor, scale: Tensor | None,
        state: Callable[[str], Tensor],
    ) -> dict[str, Tensor]:  # fmt: skip
        made = ops.adamw_update(
            weight, state("m"), state("v"), grad, lr, *_given(step, scale), **self._settings(name, weight)
        )  # fmt: skip
        return dict(zip(("", "m", "v"), made, strict=True))

    def _settings(self, name: str, weight: Tensor) -> dict[str, float]:
        decay = self.weight_decay if self.decay(name, weight.shape) else 0.0
        return {"beta1": self.betas[0], "beta2": self.betas[1], "eps": self.eps, "weight_decay": decay}

    def update_rows(
        self, weight: Tensor, ids: Tensor, rows: Tensor, *, name: str, lr: Tensor, step: Tensor, scale: Tensor | None,
        state: Callable[[str], Tensor],
    ) -> dict[str, Tensor]:  # fmt: skip
        """Lazy: rows that were not looked up keep their moments and are not moved, as in PyTorch's SparseAdam."""
        made = ops.adamw_rows_update(
            weight, state("m"), state("v"), ids, rows, lr, *_given(step, scale), rows=weight.shape[0], **self._settings(name, weight)
        )
        return dict(zip(("", "m", "v"), made, strict=True))


@dataclass(frozen=True, slots=True)
class Adagrad:
    """Adagrad (Duchi, Hazan, Singer 2011): g += weight_decay w; s += g^2; w -= lr g / (sqrt(s) + eps)."""

    lr: LearningRate = 1e-2
    eps: float = 1e-10
    weight_decay: float = 0.0
    clip_norm: float | None = None
    decay: Decayed = matrices

    def __post_init__(self) -> None:
        _check(lr=self.lr, eps=self.eps, weight_decay=self.weight_decay, clip_norm=self.clip_norm)

    def _settings(self, name: str, weight: Tensor) -> dict[str, float]:
        return {"eps": self.eps, "weight_decay": self.weight_decay if self.decay(name, weight.shape) else 0.0}

    def update(
        self, weight: Tensor, grad: Tensor, *, name: str, lr: Tensor, step: Tensor, scale: Tensor | None,
        state: Callable[[str], Tensor],
    ) -> dict[str, Tensor]:  # fmt: skip
        made = ops.adagrad_update(weight, state("squares"), grad, *_given(lr, scale), **self._settings(name, weight))
        return dict(zip(("", "squares"), made, strict=True))

    def update_rows(
        self, weight: Tensor, ids: Tensor, rows: Tensor, *, name: str, lr: Tensor, step: Tensor, scale: Tensor | None,
        state: Callable[[str], Tensor],
    ) -> dict[str, Tensor]:  # fmt: skip
        """Equal to `update` of the dense gradient, but weight decay acts only on rows that were looked up."""
        made = ops.adagrad_rows_update(
            weight, state("squares"), ids, rows, *_given(lr, scale), rows=weight.shape[0], **self._settings(name, weight)
        )
        return dict(zip(("", "squares"), made, strict=True))


def warmup_cosine(peak: float, warmup: int, total: int, floor: float = 0.0) -> Callable[[Tensor], Tensor]:
    """A schedule: linear up to `peak` over `warmup` steps, then half a cosine (Loshchilov and Hutter 2017) down to `floor` at
    step `total`, then `floor`. The first step has rate peak / warmup. Raises TraceError unless 0 <= warmup < total.
    """
    if not 0 <= warmup < total:
        raise TraceError(f"a warm-up of {warmup} steps must be shorter than the {total} steps in all", line=user_line())

    def lr(step: Tensor) -> Tensor:
        passed = ops.minimum(ops.maximum(ops.div(ops.sub(step, warmup), total - warmup), 0.0), 1.0)
        half = 0.5 * (peak - floor)
        rate: Tensor = ops.add(ops.mul(ops.cos(ops.mul(passed, math.pi)), half), half + floor)
        if warmup:
            rate = ops.where(ops.less(step, warmup), ops.mul(ops.add(step, 1.0), peak / warmup), rate)
        return rate

    return lr
