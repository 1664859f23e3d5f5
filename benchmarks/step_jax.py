"""The cases in JAX: the whole step, AdamW included, is one jitted function whose state is donated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from cases import BETAS, EPS, LR, WEIGHT_DECAY, Batch, Gpt, Mlp
from jax import Array

VERSION = f"jax {jax.__version__}"
Weights = dict[str, Array]


def linear(w: Weights, x: Array, name: str) -> Array:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def perceptron(case: Mlp, w: Weights, x: Array) -> Array:
    return linear(w, jax.nn.relu(linear(w, x, "up")), "down")


def norm(w: Weights, x: Array, name: str) -> Array:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def attention(case: Gpt, w: Weights, x: Array, name: str) -> Array:
    batch, seq, d = x.shape
    q, k, v = (linear(w, x, f"{name}.{part}").reshape(batch, seq, case.heads, -1) for part in ("query", "key", "value"))
    scores = jnp.einsum("bthd,bshd->bhts", q, k) * (d // case.heads) ** -0.5
    weights = jax.nn.softmax(jnp.where(jnp.tri(seq, dtype=bool), scores, -jnp.inf))
    return linear(w, jnp.einsum("bhts,bshd->bthd", weights, v).reshape(x.shape), f"{name}.out")


def transformer(case: Gpt, w: Weights, ids: Array) -> Array:
    x = w["tokens"][ids] + w["places"]
    for i in range(case.layers):
        block = f"blocks.{i}"
        x = x + attention(case, w, norm(w, x, f"{block}.norm1"), block)
        x = x + linear(w, jax.nn.gelu(linear(w, norm(w, x, f"{block}.norm2"), f"{block}.up")), f"{block}.down")
    return norm(w, x, "norm") @ w["tokens"].T


def loss_of(case: Mlp | Gpt, w: Weights, x: Array, y: Array) -> Array:
    scores = perceptron(case, w, x) if isinstance(case, Mlp) else transformer(case, w, x)
    chosen = jnp.take_along_axis(scores, y[..., None], -1)[..., 0]
    return (jax.nn.logsumexp(scores, -1) - chosen).mean()


def adamw(w: Array, m: Array, v: Array, g: Array, count: Array) -> tuple[Array, Array, Array]:
    m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g
    rate = (m / (1 - BETAS[0] ** count)) / (jnp.sqrt(v / (1 - BETAS[1] ** count)) + EPS)
    return w * (1 - LR * (WEIGHT_DECAY if w.ndim >= 2 else 0.0)) - LR * rate, m, v


def make(case: Mlp | Gpt, threads: int) -> Callable[[Sequence[Batch]], list[float]]:
    """A function that trains on batches, in order, and returns their losses."""

    @partial(jax.jit, donate_argnums=0)
    def step(state: tuple[Weights, Weights, Weights, Array], x: Array, y: Array) -> tuple[tuple[Weights, ...], Array]:
        w, m, v, count = state
        loss, grads = jax.value_and_grad(partial(loss_of, case))(w, x, y)
        made = {name: adamw(w[name], m[name], v[name], grads[name], count + 1.0) for name in w}
        return (*({name: three[i] for name, three in made.items()} for i in range(3)), count + 1.0), loss

    zeros = {name: jnp.zeros_like(a) for name, a in case.weights.items()}
    state = ({name: jnp.array(a) for name, a in case.weights.items()}, zeros, jax.tree.map(jnp.copy, zeros), jnp.float32(0))

    def train(batches: Sequence[Batch]) -> list[float]:
        nonlocal state
        found = []
        for x, y in batches:
            state, loss = step(state, x, y)
            found.append(loss)
        return [float(loss) for loss in found]

    return train
