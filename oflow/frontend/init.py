"""Initial values of kept state: a function of (seed, parameter name) alone, so every layout starts from the same logical tensor.

Element i is made from words 2i and 2i+1 of a Philox4x64-10 stream (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011) whose key is a hash of the seed and the name. No generator is shared, so the order in which parameters are filled does
not matter, and adding a parameter changes no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.types import TensorType

Uniforms = tuple[np.ndarray, np.ndarray]
"""Two independent float64 arrays of one length: the first in (0, 1], the second in [0, 1)."""

_CHUNK = 1 << 18
"""Elements made at a time; bounds the memory of temporaries and does not change the values."""


def _key(seed: int, name: str) -> np.ndarray:
    """The Philox key, two 64-bit words."""
    return np.frombuffer(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:16], dtype="<u8").astype(np.uint64)


def _constant(_: Uniforms, *, value: float) -> float:
    return value


def _normal(u: Uniforms, *, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    """Box and Muller, "A note on the generation of random normal deviates" (1958)."""
    made: np.ndarray = mean + std * np.sqrt(-2.0 * np.log(u[0])) * np.cos(2.0 * np.pi * u[1])
    return made


def _uniform(u: Uniforms, *, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    made: np.ndarray = low + (high - low) * u[1]
    return made


def _integers(u: Uniforms, *, low: int, high: int) -> np.ndarray:
    """Whole numbers low <= n < high, exact in every dtype: for tests that compare bit for bit."""
    made: np.ndarray = np.floor(_uniform(u, low=low, high=high))
    return made


RULES: Mapping[str, Callable[..., np.ndarray | float]] = {
    "zeros": lambda _: 0.0,
    "ones": lambda _: 1.0,
    "constant": _constant,
    "normal": _normal,
    "uniform": _uniform,
    "integers": _integers,
    "seed": lambda _, seed=0: seed % 2**63,
}
"""What a rule needs: its uniforms and its named arguments. "seed" is the program's seed, for random operators."""

_RANDOM = frozenset({"normal", "uniform", "integers"})
_FRACTIONS = frozenset({"normal", "uniform"})


def check_rule(rule: str, args: Mapping[str, Any], type: TensorType, line: str = "") -> None:
    """Raises ShapeError where no such rule exists, its arguments do not fit, or the dtype cannot hold its values."""
    if rule not in RULES:
        raise ShapeError(f"no init rule {rule!r}; there are {', '.join(RULES)}", line=line)
    if rule in _FRACTIONS and not type.is_float:
        raise ShapeError(f"init rule {rule!r} makes fractions, which {type.dtype} cannot hold", line=line)
    one = np.full(1, 0.5)
    try:
        RULES[rule]((one, one), **args)
    except TypeError as e:
        raise ShapeError(f"init rule {rule!r} does not take the arguments {dict(args)}: {e}", line=line) from None


def initial_value(seed: int, name: str, rule: str, args: Mapping[str, Any], type: TensorType) -> np.ndarray:
    """The logical tensor that parameter `name` starts with: an array of `type`, made in float64 and rounded once."""
    check_rule(rule, args, type)
    out = np.empty(type.size, type.dtype)
    if rule not in _RANDOM:
        out[:] = RULES[rule]((out, out), **({"seed": seed} if rule == "seed" else args))
        return out.reshape(type.shape)
    source = np.random.Philox(key=_key(seed, name))
    for start in range(0, type.size, _CHUNK):
        part = out[start : start + _CHUNK]
        words = source.random_raw(2 * part.size).reshape(-1, 2) >> np.uint64(11)
        part[:] = RULES[rule](((words[:, 0] + 1) * 2.0**-53, words[:, 1] * 2.0**-53), **args)
    return out.reshape(type.shape)
