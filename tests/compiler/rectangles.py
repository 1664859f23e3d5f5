"""Packing questions with a known answer: a full rectangle, time by bytes, cut into buffers."""

from __future__ import annotations

import random

Piece = tuple[int, int, int, int]
"""First and last time, first and last byte."""


def cut_rectangle(seed: int, count: int, span: int = 0) -> list[tuple[int, int, int]]:
    """`count` buffers (start, stop, nbytes) that fit in exactly 2^20 bytes, their load at every time.

    The seed chooses how long the rectangle is (if `span` is 0), how bytes are rounded, how many cuts are pinwheels (five pieces, no
    cut through all), and whether long thin buffers or short fat ones prevail.
    """
    rng = random.Random(seed)
    drawn = rng.choice((300, 1000, 4000))
    grain = rng.choice((1, 64, 1024))
    pinwheels, thin = rng.choice((0.0, 0.15, 0.4)), rng.choice((0.3, 0.5, 0.7))
    pieces: list[Piece] = [(0, span or drawn, 0, (1 << 20) // grain)]
    while len(pieces) < count:
        pieces.sort(key=lambda p: (p[1] - p[0]) * (p[3] - p[2]))
        large = len(pieces) - 1 - int(len(pieces) * rng.random() ** 3)
        at = large if rng.random() < 0.8 else rng.randrange(len(pieces))
        if rng.random() < pinwheels and len(pieces) + 4 <= count:
            pieces[at : at + 1] = _pinwheel(rng, pieces[at])
        else:
            pieces[at : at + 1] = _halves(rng, pieces[at], across_time=rng.random() >= thin)
    rng.shuffle(pieces)
    return [(start, stop, (high - low) * grain) for start, stop, low, high in pieces]


def _halves(rng: random.Random, piece: Piece, across_time: bool) -> list[Piece]:
    start, stop, low, high = piece
    share = rng.betavariate(2, 2)
    if across_time and stop - start >= 2:
        cut = start + max(1, int((stop - start) * share))
        return [(start, cut, low, high), (cut, stop, low, high)]
    if not across_time and high - low >= 2:
        cut = low + max(1, int((high - low) * share))
        return [(start, stop, low, cut), (start, stop, cut, high)]
    return [piece]


def _pinwheel(rng: random.Random, piece: Piece) -> list[Piece]:
    start, stop, low, high = piece
    if stop - start < 3 or high - low < 3:
        return [piece]
    (a, b), (c, d) = sorted(rng.sample(range(start + 1, stop), 2)), sorted(rng.sample(range(low + 1, high), 2))
    return [(start, b, low, c), (b, stop, low, d), (a, stop, d, high), (start, a, c, high), (a, b, c, d)]
