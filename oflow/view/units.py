"""Numbers as people read them: bytes, seconds and the ticks of an axis."""

from __future__ import annotations

import math

BYTE_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
SECOND_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def bytes_text(nbytes: float) -> str:
    """``1536`` -> ``1.5 KiB``."""
    for size, unit in BYTE_UNITS:
        if nbytes >= size:
            return f"{nbytes / size:.4g} {unit}"
    return f"{nbytes:.0f} B"


def second_unit(seconds: float) -> tuple[float, str]:
    """The unit that prints `seconds` with digits before the point: its size in seconds and its name."""
    for size, unit in SECOND_UNITS:
        if abs(seconds) >= size * (1 - 1e-9):
            return size, unit
    return SECOND_UNITS[0] if seconds == 0 else SECOND_UNITS[-1]


def seconds_text(seconds: float) -> str:
    """``0.0125`` -> ``12.5 ms``."""
    size, unit = second_unit(seconds)
    return f"{seconds / size:.4g} {unit}"


def ticks(length: float, count: int = 10) -> list[float]:
    """About `count` round marks (steps of 1, 2 or 5 times a power of ten) from 0 to `length`."""
    if length <= 0:
        return [0.0]
    rough = length / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    return [i * step for i in range(math.floor(length / step * (1 + 1e-9)) + 1)]


def byte_ticks(nbytes: int, count: int = 8) -> list[float]:
    """About `count` marks from 0 to `nbytes`, at multiples of a power of two."""
    step = 1
    while step * count < nbytes:
        step *= 2
    return [float(at) for at in range(0, nbytes + 1, step)]
