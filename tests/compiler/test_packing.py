"""pack: buffers that live at the same time never overlap, and the arena is close to the bound."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oflow as of
from oflow.check.overlap import check_overlap
from oflow.compiler import packing
from oflow.compiler.packing import MODEST, greedy, load, peak, question, successions
from oflow.native import available
from tests.compiler.rectangles import cut_rectangle

BUFFERS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 12), st.integers(0, 500)).map(lambda t: (t[0], t[0] + t[1], t[2])), max_size=40
)


@given(BUFFERS)
def test_live_buffers_never_overlap(buffers: list[tuple[int, int, int]]) -> None:
    offsets = of.pack(buffers, MODEST)
    size = check_overlap(buffers, offsets)
    assert load(buffers) <= size == peak(buffers, offsets) <= peak(buffers, of.pack(buffers, 0))
    assert of.pack(buffers, MODEST) == offsets


@given(BUFFERS, st.lists(st.integers(0, 400), min_size=40, max_size=40))
def test_the_sweep_finds_every_overlap(buffers: list[tuple[int, int, int]], drawn: list[int]) -> None:
    offsets = drawn[: len(buffers)]
    placed = [(*b, o) for b, o in zip(buffers, offsets, strict=True) if b[2] and b[0] < b[1]]
    clash = any(
        max(b[0], c[0]) < min(b[1], c[1]) and max(b[3], c[3]) < min(b[3] + b[2], c[3] + c[2])
        for i, b in enumerate(placed)
        for c in placed[:i]
    )
    if clash:
        with pytest.raises(of.PlanError, match="share bytes"):
            check_overlap(buffers, offsets)
    else:
        assert check_overlap(buffers, offsets) == peak(buffers, offsets)


def least_peak(buffers: list[tuple[int, int, int]]) -> int:
    """Brute force: each buffer in every order at the lowest place, which is an optimum for one of them."""
    best = sum(b[2] for b in buffers)
    for order in permutations(range(len(buffers))):
        tops: list[tuple[int, int, int, int]] = []
        for i in order:
            start, stop, nbytes = buffers[i]
            at = 0
            for low, high, begins, ends in sorted(tops):
                if begins < stop and start < ends and at + nbytes > low:
                    at = max(at, high)
            tops.append((at, at + nbytes, start, stop))
        best = min(best, max(high for _, high, _, _ in tops))
    return best


def test_small_questions_are_solved_to_the_optimum() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        starts = [rng.randrange(5) for _ in range(rng.randint(1, 6))]
        buffers = [(s, s + rng.randint(1, 4), rng.randint(1, 5)) for s in starts]
        assert check_overlap(buffers, of.pack(buffers, MODEST)) == least_peak(buffers), f"seed {seed}: {buffers}"


@pytest.mark.parametrize("seed", range(8))
def test_a_cut_rectangle_is_put_together_again(seed: int) -> None:
    buffers = cut_rectangle(seed, 60)
    assert load(buffers) == check_overlap(buffers, of.pack(buffers, 20 * MODEST)), f"seed {seed}"


def test_machine_code_and_python_take_the_same_steps() -> None:
    if not available():
        pytest.skip("numba is not installed")
    buffers = cut_rectangle(5, 40)
    found = []
    for compiled in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(question, "available", lambda compiled=compiled: compiled)
            found.append(of.pack(buffers, 3 * MODEST))
    assert found[0] == found[1]


@pytest.mark.parametrize(("seed", "count"), [(102, 200), (2001, 450)])
def test_without_machine_code_a_full_arena_is_put_together_again(monkeypatch: pytest.MonkeyPatch, seed: int, count: int) -> None:
    buffers = cut_rectangle(seed, count)
    modest = of.pack(buffers, MODEST)
    monkeypatch.setattr(packing, "available", lambda: False)
    assert check_overlap(buffers, modest) > load(buffers) == check_overlap(buffers, of.pack(buffers)), f"seed {seed}"


def test_small_cases() -> None:
    assert of.pack([]) == []
    assert of.pack([(0, 2, 10), (2, 4, 10)]) == [0, 0]  # stop is exclusive
    assert sorted(of.pack([(0, 3, 10), (2, 4, 10)])) == [0, 10]
    chain = [(i, i + 2, 64) for i in range(20)]
    assert peak(chain, of.pack(chain)) == 128


def test_training_like_lifetimes_meet_the_bound() -> None:
    """Forward activations live until their backward; temporaries in between (a stack-like pattern)."""
    layers = 24
    buffers = [(i, 2 * layers - i, 1000 + 64 * (i % 5)) for i in range(layers)]
    buffers += [(t, t + 2, 700 + 10 * (t % 7)) for t in range(2 * layers)]
    assert peak(buffers, of.pack(buffers, MODEST)) == load(buffers)


@pytest.mark.parametrize("wrong", [(3, 2, 10), (0, 1, -1)])
def test_impossible_buffers_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(of.PlanError, match="start <= stop and nbytes >= 0"):
        of.pack([wrong])


@pytest.mark.parametrize("wrong", [(0, 1), (0, 1, 1.5), ("0", 1, 2)])
def test_what_is_no_buffer_is_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(of.PlanError, match="whole numbers, got"):
        of.pack([wrong])


def by_neighbours(buffers: list[tuple[int, int, int]], crowd: int, late: int, settled: int) -> list[int]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("MANY", 0), ("CROWD", crowd), ("LATE", late), ("SETTLED", settled)):
            patch.setattr(greedy, name, value)
        return packing.pack(buffers, 0)


@given(BUFFERS, st.sampled_from((0, 4, 64)), st.sampled_from((0, 3, 30)), st.sampled_from((1, 5, 200)))
def test_a_look_at_all_and_one_at_neighbours_give_the_same_offsets(
    buffers: list[tuple[int, int, int]], crowd: int, late: int, settled: int
) -> None:
    assert packing.pack(buffers, 0) == by_neighbours(buffers, crowd, late, settled)


@pytest.mark.parametrize("times", [4, 30, 3000])
def test_neighbours_of_many_buffers_give_the_same_offsets(times: int) -> None:
    """Stacks of few lifetimes, what lives across a crowd, and a long chain."""
    rng = random.Random(times)
    starts = [rng.randrange(times) for _ in range(900)]
    buffers = [(s, s + rng.randint(1, 3 if rng.random() < 0.9 else times), rng.choice((64, 100, rng.randint(1, 999)))) for s in starts]
    found = by_neighbours(buffers, greedy.CROWD, greedy.LATE, greedy.SETTLED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greedy, "MANY", len(buffers) + 1)
        assert packing.pack(buffers, 0) == found, f"seed {times}"


@given(BUFFERS)
def test_successions_join_all_that_share_bytes(buffers: list[tuple[int, int, int]]) -> None:
    """Who shares a byte is joined by a path in order of time, and the last to the first by one that wraps."""
    offsets = packing.pack(buffers, MODEST)
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
