"""The kernels in PyTorch: its own fused ones called directly, and what torch.compile makes of the formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from kernel_cases import BETAS, EPS, KERNELS, LR, NORM_EPS, Arrays, operands
from torch import Tensor

VERSION = f"torch {torch.__version__}"
aten = torch.ops.aten


def gelu(x: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return (F.gelu(x + b, approximate="tanh"),)


def gelu_backward(x: Tensor, b: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    dx = aten.gelu_backward(g, x + b, approximate="tanh")
    return dx, dx.sum(0)


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, ...]:
    return (F.layer_norm(x, (x.shape[-1],), gamma, beta, NORM_EPS),)


def layer_norm_backward(g: Tensor, x: Tensor, gamma: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, ...]:
    found = aten.native_layer_norm_backward(g, x, (x.shape[-1],), mean, rstd, gamma, gamma, [True, True, True])
    return tuple(found)


def loss_of(x: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(x, labels)


def adam(p: Tensor, m: Tensor, v: Tensor, g: Tensor, step: Tensor) -> tuple[Tensor, ...]:
    """The formula, for torch.compile, which makes one loop of it."""
    step += 1
    m.lerp_(g, 1 - BETAS[0])
    v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
    root = (1 - BETAS[1] ** step).sqrt()
    p.sub_(LR / (1 - BETAS[0] ** step) * m / (v.sqrt() / root + EPS))
    return p, m, v


def fused_adam(p: Tensor, m: Tensor, v: Tensor, g: Tensor, step: Tensor) -> tuple[Tensor, ...]:
    step += 1
    torch._fused_adam_(
        [p], [g], [m], [v], [], [step], lr=LR, beta1=BETAS[0], beta2=BETAS[1], weight_decay=0.0, eps=EPS, amsgrad=False, maximize=False
    )
    return p, m, v


def _function(kernel: str, compiled: bool) -> Callable[..., tuple[Tensor, ...]]:
    made: dict[str, Callable[..., Any]] = {
        KERNELS[0]: gelu, KERNELS[1]: gelu_backward, KERNELS[2]: layer_norm, KERNELS[3]: layer_norm_backward, KERNELS[4]: loss_of,
        KERNELS[5]: adam if compiled else fused_adam,
    }  # fmt: skip
    one = torch.compile(made[kernel], fullgraph=True, dynamic=False) if compiled else made[kernel]
    if kernel != KERNELS[4]:
        return one

    def both_ways(x: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        loss = one(x, labels)
        return loss.detach(), *torch.autograd.grad(loss, x)

    return both_ways


def make(kernel: str, size: str, compiled: bool) -> tuple[Callable[[], Any], Callable[[], Arrays], str]:
    """One call of the kernel, its results, and a remark."""
    ins = [torch.from_numpy(a) for a in operands(kernel, size)]
    if kernel == KERNELS[3]:
        _, mean, rstd = torch.native_layer_norm(ins[1], (ins[1].shape[-1],), ins[2], None, NORM_EPS)
        ins += [mean, rstd]
    elif kernel == KERNELS[4]:
        ins[0].requires_grad_()
    elif kernel == KERNELS[5]:
        ins.append(torch.zeros(()))
    run = _function(kernel, compiled)
    last: list[tuple[Tensor, ...]] = []

    def call() -> None:
        last[:] = [run(*ins)]

    return call, lambda: tuple(t.numpy() for t in last[0]), ""
