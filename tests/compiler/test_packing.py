"""pack: buffers that live at the same time never overlap, and the arena is close to the bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oflow as of
from oflow.compiler import packing
from oflow.compiler.packing import peak, successions

BUFFERS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 12), st.integers(0, 500)).map(lambda t: (t[0], t[0] + t[1], t[2])), max_size=40
)


def bound(buffers: list[tuple[int, int, int]]) -> int:
    """The largest sum of live bytes."""
    times = range(max((stop for _, stop, _ in buffers), default=0) + 1)
    return max((sum(n for start, stop, n in buffers if start <= t < stop) for t in times), default=0)


@given(BUFFERS)
def test_live_buffers_never_overlap(buffers: list[tuple[int, int, int]]) -> None:
    offsets = of.pack(buffers)
    assert len(offsets) == len(buffers) and all(o >= 0 for o in offsets)
    placed = list(zip(buffers, offsets, strict=True))
    for i, ((start, stop, n), at) in enumerate(placed):
        for (start2, stop2, n2), at2 in placed[:i]:
            if max(start, start2) < min(stop, stop2) and n and n2:
                assert at + n <= at2 or at2 + n2 <= at
    live = [(b, o) for b, o in placed if b[0] < b[1]]
    size = peak([b for b, _ in live], [o for _, o in live])
    assert bound(buffers) <= size <= sum(n for start, stop, n in buffers if start < stop)
    assert of.pack(buffers) == offsets


def test_small_cases() -> None:
    assert of.pack([]) == []
    assert of.pack([(0, 2, 10), (2, 4, 10)]) == [0, 0]  # stop is exclusive
    assert sorted(of.pack([(0, 3, 10), (2, 4, 10)])) == [0, 10]
    chain = [(i, i + 2, 64) for i in range(20)]
    assert peak(chain, of.pack(chain)) == 128


def test_training_like_lifetimes_come_close_to_the_bound() -> None:
    """Forward activations live until their backward; temporaries in between (a stack-like pattern)."""
    layers = 24
    buffers = [(i, 2 * layers - i, 1000 + 64 * (i % 5)) for i in range(layers)]
    buffers += [(t, t + 2, 700 + 10 * (t % 7)) for t in range(2 * layers)]
    assert peak(buffers, of.pack(buffers)) <= 1.1 * bound(buffers)


@pytest.mark.parametrize("wrong", [(3, 2, 10), (0, 1, -1)])
def test_impossible_buffers_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(of.PlanError, match="start <= stop and nbytes >= 0"):
        of.pack([wrong])


@given(BUFFERS)
def test_the_loop_and_the_arrays_give_the_same_offsets(buffers: list[tuple[int, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "MANY", 0)
        by_arrays = packing.pack(buffers)
    assert packing.pack(buffers) == by_arrays


@given(BUFFERS)
def test_successions_join_all_that_share_bytes(buffers: list[tuple[int, int, int]]) -> None:
    """Who shares a byte is joined by a path in order of time, and the last to the first by one that wraps."""
    offsets = packing.pack(buffers)
    ends = [(at, at + n) for at, (_, _, n) in zip(offsets, buffers, strict=True)]
    alive = [i for i, (start, stop, n) in enumerate(buffers) if n and start != stop]
    found = successions(buffers, offsets)
    after: dict[int, set[int]] = {i: {j for a, j, wraps in found if a == i and not wraps} for i in alive}
    for i in sorted(alive, key=lambda i: -buffers[i][0]):
        after[i] |= {k for j in after[i] for k in after[j]}
    for i in alive:
        for j in alive:
            shared = i != j and max(ends[i][0], ends[j][0]) < min(ends[i][1], ends[j][1])
            if shared and buffers[i][0] < buffers[j][0]:
                assert buffers[i][1] <= buffers[j][0] and j in after[i]
                assert any(first == i or i in after[first] for last, first, wraps in found if wraps and (last == j or last in after[j]))
    for i, j, wraps in found:
        assert max(ends[i][0], ends[j][0]) < min(ends[i][1], ends[j][1])
        assert wraps == (buffers[j][0] < buffers[i][0])
