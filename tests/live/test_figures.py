"""Figures are pure functions of marks: rates, time left and shares keep their laws."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from oflow.live.figures import WINDOW, Mark, Reading, busy_shares, kept, phase_seconds_left, progress, rate, seconds_left
from oflow.live.lines import clock, line

times = st.floats(1e-6, 50.0)
moves = st.lists(st.tuples(times, st.integers(0, 5), st.floats(0.0, 1.0)), min_size=1, max_size=60)


def marks_of(moved: list[tuple[float, int, float]]) -> list[tuple[Mark, ...]]:
    """What is kept after each look: so many seconds later, so many steps more, which ended at this share of the time between."""
    found, marks = [], (Mark(),)
    for seconds, steps, share in moved:
        last = marks[-1]
        now = last.seconds + seconds
        ended = last.seconds + share * seconds if steps else last.ended
        marks = kept(marks, Mark(now, last.steps + steps, ended, Reading(now, {"cpu:0/compute": ended}, 1, 2)))
        found.append(marks)
    return found


@given(moves)
def test_marks_are_one_for_each_number_of_steps_and_reach_back_as_far_as_they_must(moved) -> None:
    for marks in marks_of(moved):
        assert all(one.steps < other.steps for one, other in pairwise(marks))
        assert len(marks) < 3 or marks[0].steps > 0, "the start is forgotten"
        last = marks[-1]
        # what lies between the first and the last is younger than the window, or one of the last two steps
        assert all(last.seconds - mark.seconds < WINDOW or last.steps - mark.steps < 2 for mark in marks[1:-1])


@given(moves, st.integers(0, 400), st.integers(1, 512))
def test_figures_stay_in_their_range(moved, steps, samples) -> None:
    for marks in marks_of(moved):
        found = progress(marks, steps, None, samples, None)
        assert found.step == marks[-1].steps and found.tokens_per_second is None
        assert all(0.0 <= share <= 1.0 for share in found.busy.values())
        if found.steps_per_second is None:
            assert found.samples_per_second is None
        else:
            assert found.steps_per_second > 0 and found.samples_per_second == found.steps_per_second * samples
            assert found.seconds_left is not None and found.seconds_left >= 0.0
            assert found.step < steps or found.seconds_left == 0.0
        assert line(found).startswith(f"step {found.step} of {steps}")


@given(st.floats(1e-4, 100.0), st.integers(2, 300), st.integers(0, 300))
def test_a_steady_run_has_its_rate_and_its_time_left(each, done, more) -> None:
    """The first step takes a hundred times as long; nobody asks it."""
    marks: tuple[Mark, ...] = (Mark(),)
    for step in range(1, done + 1):
        end = (99 + step) * each
        marks = kept(marks, Mark(end, step, end))
    found, left = rate(marks), seconds_left(marks, done + more)
    assert found is not None and abs(found * each - 1) < 1e-6
    assert left is not None and abs(left - more * each) <= 1e-6 * (more + 1) * each
    late = (*marks[:-1], Mark(marks[-1].seconds + 3 * each, done, marks[-1].ended))
    assert (seconds_left(late, done + more) or 0.0) <= left, "time that passes since the last step is time less"


@given(st.lists(st.floats(0.0, 100.0), min_size=2, max_size=2), st.lists(st.floats(0.0, 200.0), min_size=6, max_size=6))
def test_shares_are_those_of_the_busiest_stream(when, busy) -> None:
    names = ("cpu:10/compute", "cpu:2/compute", "cpu:2/network")
    one, other = (Reading(t, dict(zip(names, part, strict=True)), 0, 0) for t, part in zip(when, (busy[:3], busy[3:]), strict=True))
    found = busy_shares(one, other)
    assert busy_shares(None, other) == {}
    if when[1] <= when[0]:
        assert found == {}
        return
    assert list(found) == ["cpu:2", "cpu:10"]
    each = [min(1.0, max(0.0, (b - a) / (when[1] - when[0]))) for a, b in zip(busy[:3], busy[3:], strict=True)]
    assert found == {"cpu:2": max(each[1:]), "cpu:10": each[0]}


@given(st.floats(0.0, 1.0), st.floats(0.0, 1e5))
def test_time_left_of_a_phase(share, seconds) -> None:
    left = phase_seconds_left(share, seconds)
    assert left is None or (left >= 0.0 and abs((seconds + left) * share - seconds) <= 1e-6 * seconds + 1e-12)
    assert phase_seconds_left(None, seconds) is None


def test_clocks() -> None:
    assert [clock(s) for s in (0.2, 59.6, 61, 3599, 3600, 36_061)] == ["0:00", "1:00", "1:01", "59:59", "1:00:00", "10:01:01"]
