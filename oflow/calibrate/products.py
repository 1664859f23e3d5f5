"""Matrix products: flops per second over a grid of shapes, and how much of bringing operands from far they hide."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from oflow.calibrate.cases import Bound, bound, numbers, rounds_of
from oflow.calibrate.clock import Clock
from oflow.calibrate.kernels import LAST, workers_curve
from oflow.machine import PRODUCTS, Curve, Products

Axis = tuple[float, ...]
M: Axis = (1, 4, 16, 64, 256)
N: Axis = (4, 16, 64, 256, 1024)
K: Axis = (4, 16, 64, 256, 1024)
LARGE = 256
SPECS = dict(zip(PRODUCTS, ("m k, k n -> m n", "m k, n k -> m n", "k m, k n -> m n"), strict=True))


def parts() -> int:
    """How many products are measured."""
    return len(SPECS) * len(M)


def product(m: int, n: int, k: int, kernel: str = PRODUCTS[0]) -> Bound:
    sizes = {"m": m, "n": n, "k": k}
    left, right = SPECS[kernel].partition("->")[0].split(",")
    operands = tuple(numbers(*(sizes[f] for f in part.split())) for part in (left, right))
    return bound("matmul", operands, {"spec": SPECS[kernel]})


def product_rates(clock: Clock, cold: float) -> Iterator[tuple[str, Products | None]]:
    """Each kernel's grid, after a sign of life for each m; operands are near by."""
    for kernel in SPECS:
        rates: list[float] = []
        for m in M:
            yield kernel, None
            for n, k in itertools.product(N, K):
                seconds = clock.seconds(rounds_of([product(int(m), int(n), int(k), kernel)]))
                rates.append(2.0 * m * n * k / seconds)
        yield kernel, Products(M, N, K, tuple(rates), cold)


def cold_share(clock: Clock, byte: Curve) -> float:
    """Seconds that a product of operands from far takes longer than one of near operands, as a share of moving their bytes."""
    one = product(LARGE, LARGE, LARGE)
    nbytes = one.cost.nbytes
    copies = [one, *(product(LARGE, LARGE, LARGE) for _ in range(int(LAST / nbytes)))]
    near, far = clock.seconds(rounds_of([one])), clock.seconds(rounds_of(copies)) / len(copies)
    moving = nbytes * (byte.at(nbytes * len(copies)) - byte.at(nbytes))
    return min(1.0, max(0.0, (far - near) / moving)) if moving > 0 else 0.0


def crowded_products(clock: Clock) -> float:
    """By how much products take longer when all workers multiply."""
    return workers_curve(clock, lambda: [product(LARGE, LARGE, LARGE)])
