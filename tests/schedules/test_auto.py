"""auto: at least as short as the best named schedule that fits, never over its limit, and it says why."""

import random

import pytest

import oflow as of
from oflow.compiler.schedules import SCHEDULES, named_schedule
from oflow.compiler.schedules.auto import expanded, joined_times
from oflow.compiler.schedules.interleaved import interleaved_by
from oflow.errors import OutOfMemory, PlanError
from oflow.schedule import Times, replay, stash_peaks, verify_schedule


def drawn(rng: random.Random, stages: int) -> Times:
    f, i, w = (tuple(round(rng.uniform(0.5, 1.5), 2) for _ in range(stages)) for _ in "FIW")
    return Times(f, i, w, rng.choice([0.0, 0.1, 0.5]))


@pytest.mark.parametrize("seed", range(10))
def test_auto_is_no_worse_than_the_best_named_schedule_that_fits(seed: int) -> None:
    rng = random.Random(seed)
    ranks, each = rng.randint(2, 4), rng.choice([1, 2, 4])
    many, stages = ranks * rng.choice([1, 2, 3]), ranks * each
    times, limit = drawn(rng, stages), rng.choice([None, 1, ranks / 2 + 1, ranks, 2 * ranks])
    choice = of.choose_schedule(stages, ranks, many, times, stashes=limit)
    verify_schedule(choice.schedule)
    made = replay(choice.schedule, times)
    assert choice.schedule.stages == tuple(range(stages)) and choice.schedule.ranks == ranks
    assert limit is None or made.peak <= limit, f"seed {seed}"
    for entry in [*SCHEDULES.values(), interleaved_by(4)]:
        if each % entry.chunks == 0:
            joined = joined_times(times, ranks * entry.chunks, each // entry.chunks)
            named = expanded(entry.make(ranks, many, joined), each // entry.chunks)
            other = replay(named, times)
            assert (limit is not None and other.peak > limit) or made.seconds <= other.seconds * (1 + 1e-12), f"seed {seed}: {entry.name}"


def test_joined_stages_take_the_time_of_their_chunk() -> None:
    times = Times((1.0, 2.0, 0.5, 1.5), (1.0, 1.0, 2.0, 1.0), 1.0, 0.25)
    chunks = SCHEDULES["zero-bubble-h1"].make(2, 4)
    joined = replay(chunks, joined_times(times, 2, 2))
    split = replay(expanded(chunks, 2), times)
    assert split.seconds == pytest.approx(joined.seconds)
    assert split.peak == joined.peak
    assert split.schedule.homes == {0: 0, 1: 0, 2: 1, 3: 1}


def test_less_memory_is_never_faster_and_the_limit_is_used() -> None:
    times = Times(1, 1.5, 1, 0.2)
    limits = [1, 2, 3, 3.5, 4, 8]
    found = [of.choose_schedule(8, 4, 8, times, stashes=limit) for limit in limits]
    lengths = [choice.best.seconds for choice in found]
    assert lengths == sorted(lengths, reverse=True)
    assert all(choice.best.peak <= limit for choice, limit in zip(found, limits, strict=True))
    assert found[3].schedule.name == "zero-bubble-v of 3.5"


def test_a_limit_in_bytes() -> None:
    choice = of.choose_schedule(8, 4, 8, stash_nbytes=100, limit_nbytes=700)
    assert choice.best.nbytes <= 700 and choice.schedule.name == "zero-bubble-v of 3.5"
    uneven = of.choose_schedule(4, 2, 6, stash_nbytes=(100, 100, 300, 300), limit_nbytes=800)
    assert uneven.best.nbytes <= 800
    assert max(stash_peaks(uneven.schedule)) <= 4


def test_it_says_which_and_why() -> None:
    text = str(of.choose_schedule(8, 4, 8, stashes=3))
    assert text.splitlines()[0].split() == ["schedule", "chunks", "seconds", "bubble", "peak", "fits"]
    cells = [line.split() for line in text.splitlines()]
    assert cells[1] == ["zero-bubble-v-half", "2", "53", "9.4%", "3", "yes"]
    assert ["zero-bubble-v", "2", "51", "5.9%", "4", "no"] in cells
    assert text.splitlines()[-1] == "zero-bubble-v-half is as short as zero-bubble-v of 3, with 3 stashes against 3"
    assert named_schedule("auto", 8, 4, 8) == of.choose_schedule(8, 4, 8).schedule


def test_what_does_not_fit_says_what_would() -> None:
    with pytest.raises(OutOfMemory, match=r"no schedule keeps to 0\.5 stashes a rank; 1f1b of 1 needs least, 1 stashes:\nschedule"):
        of.choose_schedule(8, 4, 8, stashes=0.5)
    with pytest.raises(PlanError, match="7 stages on 4 ranks"):
        of.choose_schedule(7, 4, 8)
    with pytest.raises(PlanError, match="needs both limit_nbytes and stash_nbytes"):
        of.choose_schedule(8, 4, 8, limit_nbytes=100)
    with pytest.raises(PlanError, match="2 entries for 8 stages"):
        of.choose_schedule(8, 4, 8, limit_nbytes=100, stash_nbytes=(1, 2))
