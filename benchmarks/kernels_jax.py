"""The kernels in JAX: each a jitted function; Adam donates what it rewrites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from kernel_cases import BETAS, EPS, KERNELS, LR, NORM_EPS, Arrays, operands

VERSION = f"jax {jax.__version__}"


def gelu(x: Array, b: Array) -> Array:
    return jax.nn.gelu(x + b)


def layer_norm(x: Array, gamma: Array, beta: Array) -> Array:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + NORM_EPS) * gamma + beta


def loss_of(x: Array, labels: Array) -> Array:
    chosen = jnp.take_along_axis(x, labels[..., None], -1)[..., 0]
    return (jax.nn.logsumexp(x, -1) - chosen).mean()


def adam(p: Array, m: Array, v: Array, g: Array, step: Array) -> tuple[Array, ...]:
    step = step + 1
    m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g
    rate = (m / (1 - BETAS[0] ** step)) / (jnp.sqrt(v / (1 - BETAS[1] ** step)) + EPS)
    return p - LR * rate, m, v, step


FUNCTIONS: dict[str, Callable[..., Any]] = {
    KERNELS[0]: lambda x, b: (gelu(x, b),),
    KERNELS[1]: lambda x, b, g: jax.vjp(gelu, x, b)[1](g),
    KERNELS[2]: lambda x, gamma, beta: (layer_norm(x, gamma, beta),),
    KERNELS[3]: lambda g, x, gamma: jax.vjp(layer_norm, x, gamma, jnp.zeros_like(gamma))[1](g),
    KERNELS[4]: jax.value_and_grad(loss_of),
    KERNELS[5]: adam,
}


def make(kernel: str, size: str) -> tuple[Callable[[], Any], Callable[[], Arrays], str]:
    """One call of the kernel, its results, and a remark."""
    ins = [jnp.array(a) for a in operands(kernel, size)]
    last: list[Any] = []
    if kernel == KERNELS[5]:
        run, state, gradient = jax.jit(FUNCTIONS[kernel], donate_argnums=(0, 1, 2)), [*ins[:3], jnp.float32(0)], ins[3]

        def call() -> None:
            state[:] = run(*state[:3], gradient, state[3])
            jax.block_until_ready(state)
            last[:] = state[:3]
    else:
        plain = jax.jit(FUNCTIONS[kernel])

        def call() -> None:
            last[:] = plain(*ins)
            jax.block_until_ready(last)

    return call, lambda: tuple(np.asarray(a) for a in last), ""
