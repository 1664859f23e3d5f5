"""What `kernels.py` measures: six kernels at two sizes, and the operands that every framework gets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Arrays = tuple[np.ndarray, ...]
LR, BETAS, EPS, NORM_EPS = 1e-3, (0.9, 0.999), 1e-8, 1e-5
KERNELS = ("bias+GELU", "bias+GELU backward", "layer norm", "layer norm backward", "cross-entropy both ways", "Adam")
SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    "large": dict.fromkeys(KERNELS[:4], (1024, 3072)) | {KERNELS[4]: (512, 8192), KERNELS[5]: (8_000_000,)},
    "cached": dict.fromkeys(KERNELS[:5], (256, 1024)) | {KERNELS[5]: (250_000,)},
}


def operands(kernel: str, size: str) -> Arrays:
    """(x, bias) · (x, bias, g) · (x, gamma, beta) · (g, x, gamma) · (logits, labels) · (param, m, v, grad), float32."""
    shape = SIZES[size][kernel]
    draw = np.random.default_rng(5)

    def normal(*axes: int) -> np.ndarray:
        return draw.standard_normal(axes, "float32")

    made: dict[str, Callable[[], Arrays]] = {
        KERNELS[0]: lambda: (normal(*shape), normal(shape[-1])),
        KERNELS[1]: lambda: (normal(*shape), normal(shape[-1]), normal(*shape)),
        KERNELS[2]: lambda: (normal(*shape), normal(shape[-1]), normal(shape[-1])),
        KERNELS[3]: lambda: (normal(*shape), normal(*shape), normal(shape[-1])),
        KERNELS[4]: lambda: (normal(*shape), draw.integers(0, shape[-1], shape[0])),
        KERNELS[5]: lambda: (normal(*shape), normal(*shape) * 0.1, normal(*shape) ** 2 * 0.1, normal(*shape)),
    }
    return made[kernel]()


def summary(results: Arrays) -> list[float]:
    """One number a result, to compare frameworks by: its norm, in double precision."""
    return [float(np.linalg.norm(np.asarray(a, "float64"))) for a in results]
