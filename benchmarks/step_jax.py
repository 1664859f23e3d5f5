"""The cases in JAX: the whole step, Adam included, is one jitted function whose state is donated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from cases import BETAS, EPS, LR, Batch, Gpt, Mlp
from jax import Array

VERSION = f"jax {jax.__version__}"
Weights = dict[str, Array]
State = tuple[Weights, Weights, Weights, Array]


def linear(w: Weights, x: Array, name: str) -> Array:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def perceptron(case: Mlp, w: Weights, x: Array, y: Array) -> Array:
    for i in range(case.layers):
        x = linear(w, x, f"layers.{i}")
        x = jax.nn.gelu(x) if i < case.layers - 1 else x
    return ((x - y) ** 2).mean()


def norm(w: Weights, x: Array, name: str) -> Array:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def attention(case: Gpt, w: Weights, x: Array, name: str) -> Array:
    batch, seq, d = x.shape
    three = linear(w, x, f"{name}.qkv").reshape(batch, seq, case.heads, 3, -1)
    q, k, v = (three[:, :, :, i] for i in range(3))
    scores = jnp.einsum("bthd,bshd->bhts", q, k) * (d // case.heads) ** -0.5
    weights = jax.nn.softmax(jnp.where(jnp.tri(seq, dtype=bool), scores, -jnp.inf))
    return linear(w, jnp.einsum("bhts,bshd->bthd", weights, v).reshape(x.shape), f"{name}.out")


def transformer(case: Gpt, w: Weights, ids: Array, labels: Array) -> Array:
    x = w["tokens"][ids] + w["places"]
    for i in range(case.layers):
        block = f"blocks.{i}"
        x = x + attention(case, w, norm(w, x, f"{block}.norm1"), block)
        x = x + linear(w, jax.nn.gelu(linear(w, norm(w, x, f"{block}.norm2"), f"{block}.up")), f"{block}.down")
    scores = norm(w, x, "norm") @ w["head"].T
    chosen = jnp.take_along_axis(scores, labels[..., None], -1)[..., 0]
    return (jax.nn.logsumexp(scores, -1) - chosen).mean()


def loss_of(case: Mlp | Gpt, w: Weights, x: Array, y: Array) -> Array:
    return perceptron(case, w, x, y) if isinstance(case, Mlp) else transformer(case, w, x, y)


def adam(w: Array, m: Array, v: Array, g: Array, count: Array) -> tuple[Array, Array, Array]:
    m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g
    rate = (m / (1 - BETAS[0] ** count)) / (jnp.sqrt(v / (1 - BETAS[1] ** count)) + EPS)
    return w - LR * rate, m, v


def stepper(case: Mlp | Gpt) -> Callable[[State, Array, Array], tuple[State, Array]]:
    """The jitted step: (weights, first moments, second moments, steps done), inputs -> the next, loss."""

    @partial(jax.jit, donate_argnums=0)
    def step(state: State, x: Array, y: Array) -> tuple[State, Array]:
        w, m, v, count = state
        loss, grads = jax.value_and_grad(partial(loss_of, case))(w, x, y)
        made = {name: adam(w[name], m[name], v[name], grads[name], count + 1.0) for name in w}
        first, second, third = ({name: three[i] for name, three in made.items()} for i in range(3))
        return (first, second, third, count + 1.0), loss

    return step


def initial(case: Mlp | Gpt) -> State:
    zeros = [{name: jnp.zeros_like(a) for name, a in case.weights.items()} for _ in range(2)]
    return {name: jnp.array(a) for name, a in case.weights.items()}, *zeros, jnp.float32(0)


def make(case: Mlp | Gpt, threads: int) -> tuple[Callable[[Sequence[Batch]], list[float]], str]:
    """A function that trains on batches, in order, and returns their losses; and a remark."""
    step, state = stepper(case), initial(case)

    def train(batches: Sequence[Batch]) -> list[float]:
        nonlocal state
        found = []
        for x, y in batches:
            state, loss = step(state, x, y)
            found.append(loss)
        return [float(loss) for loss in found]

    return train, ""
