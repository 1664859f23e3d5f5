"""Replay: what the simulator finds for the schedule's plan, to the last bit; the published figures; gaps and the critical path."""

import random

import pytest

from oflow.actors import simulate
from oflow.check import check
from oflow.compiler.schedules import SCHEDULES
from oflow.compiler.schedules.interleaved import interleaved_order
from oflow.compiler.schedules.plan import schedule_plan
from oflow.errors import DeadlockError, PlanError
from oflow.schedule import Action, Schedule, Times, from_csv, replay


def merged(schedule: Schedule) -> Schedule:
    """I directly followed by its W as B, so that some micro-batches have one and some the other."""
    rows = []
    for row in schedule.rows:
        made: list[Action] = []
        for action in row:
            if action.phase == "W" and made and made[-1] == Action(action.stage, "I", action.micro_batch):
                made[-1] = Action(action.stage, "B", action.micro_batch)
            else:
                made.append(action)
        rows.append(tuple(made))
    return Schedule("merged", tuple(rows))


def drawn_times(rng: random.Random, stages: int) -> Times:
    def some() -> float | tuple[float, ...]:
        return rng.choice([1.0, rng.random(), tuple(rng.random() for _ in range(stages))])

    communication = rng.choice([0.0, rng.random() / 10, 2 * rng.random(), (rng.random(), rng.random())])
    return Times(some(), some(), some(), communication)


def simulated(schedule: Schedule, times: Times) -> list[list[tuple[float, float]]]:
    """(start, stop) of each rank's actions in the discrete-event simulator."""
    plan = schedule_plan(schedule, times)
    found: list[list[tuple[float, float]]] = [[] for _ in schedule.rows]
    for span in simulate(plan, steps=1, events=False).spans:
        device, _, stream = span.stream.partition("/")
        if stream == "compute":
            found[int(device.partition(":")[2])].append((span.start, span.stop))
    return found


@pytest.mark.parametrize("seed", range(60))
def test_replay_and_simulator_agree_to_the_last_bit(seed: int) -> None:
    rng = random.Random(seed)
    ranks, many = rng.randint(1, 5), rng.randint(1, 8)
    name = rng.choice([*SCHEDULES, "interleaved 3", "merged"])
    schedule = merged(SCHEDULES["zero-bubble-v"].make(ranks, many)) if name == "merged" else None
    schedule = schedule or (interleaved_order(ranks, many, 3) if name == "interleaved 3" else SCHEDULES[name].make(ranks, many))
    times = drawn_times(rng, len(schedule.stages))
    made = replay(schedule, times)
    mine = [list(zip(a, b, strict=True)) for a, b in zip(made.starts, made.stops, strict=True)]
    assert mine == simulated(schedule, times), f"seed {seed}: {name}, {ranks} ranks, {many} micro-batches, {times}"


def test_the_plan_of_every_schedule_is_proved() -> None:
    for entry in SCHEDULES.values():
        for times in (Times(), Times(communication=0.5), Times(communication=3.0)):
            assert check(schedule_plan(entry.make(3, 4), times)).deadlock_free


def test_the_published_figures_come_out() -> None:
    figures = {
        (4, 8): {"gpipe": (33, 8), "1f1b": (33, 4), "interleaved": (57, 5.5), "zero-bubble-h1": (27, 4), "zero-bubble-v": (51, 4)},
        (8, 32): {"gpipe": (117, 32), "1f1b": (117, 8), "interleaved": (213, 11.5), "zero-bubble-h1": (103, 8), "zero-bubble-v": (199, 8)},
    }
    for (ranks, many), known in figures.items():
        for name, (seconds, peak) in known.items():
            made = replay(SCHEDULES[name].make(ranks, many))
            assert (made.seconds, made.peak) == (seconds, peak), name
            assert made.bubble == pytest.approx(1 - 3 * many * SCHEDULES[name].chunks / seconds)
    assert {n: f"{replay(SCHEDULES[n].make(4, 8)).bubble:.1%}" for n in figures[4, 8]} == {
        "gpipe": "27.3%", "1f1b": "27.3%", "interleaved": "15.8%", "zero-bubble-h1": "11.1%", "zero-bubble-v": "5.9%",
    }  # fmt: skip


@pytest.mark.parametrize("times", [Times(), Times(1, 1.5, 1), Times(2, 3, 1)])
@pytest.mark.parametrize("ranks", [2, 4, 7])
def test_the_formulas_of_the_zero_bubble_paper(ranks: int, times: Times) -> None:
    """Idle seconds of the rank that is longest from its first start to its last stop (arXiv 2401.10241, table 2)."""
    many = 4 * ranks
    f, i, w = (times.of(phase, 0) for phase in "FIW")
    for name, bubble, peak in (("h1", f + i - w, ranks), ("h2", f + i - 2 * w, 2 * ranks - 1)):
        made = replay(SCHEDULES[f"zero-bubble-{name}"].make(ranks, many), times)
        assert made.peak == peak
        if f == i == w or name == "h1":
            assert made.span - many * (f + i + w) == pytest.approx((ranks - 1) * bubble)


def test_half_and_third_of_the_memory() -> None:
    for ranks in (4, 8, 12):
        half, third = (replay(SCHEDULES[f"zero-bubble-v-{name}"].make(ranks, 3 * ranks)).peak for name in ("half", "third"))
        assert half <= ranks / 2 + 1
        assert third <= (ranks + 5) / 3


def test_every_order_is_live_for_every_number_of_micro_batches() -> None:
    for ranks in range(1, 6):
        for many in range(1, 14):
            for entry in SCHEDULES.values():
                replay(entry.make(ranks, many))
            for v in (1, 3, 4):
                replay(interleaved_order(ranks, many, v))


def test_gaps_say_what_is_waited_for() -> None:
    made = replay(from_csv("0F0,0B0\n1F0,1B0\n"), Times(communication=0.25))
    first, second, last = made.gaps
    assert (first.rank, first.start, first.stop, str(first.before), str(first.after)) == (0, 1.0, 4.5, "0B0", "1B0")
    assert first.under_way == 0.25
    assert (second.rank, second.start, second.stop, str(second.after)) == (1, 0.0, 1.25, "0F0")
    assert (last.rank, last.start, last.stop, last.before, last.after) == (1, 4.25, 6.5, None, None)
    assert made.bubbles == pytest.approx([1 - 3 / 6.5] * 2)
    assert [str(action) for action in made.critical] == ["0F0", "1F0", "1B0", "0B0"]


@pytest.mark.parametrize("seed", range(20))
def test_the_critical_path_is_one(seed: int) -> None:
    """Its actions and the messages between them fill the whole step; the gaps and the work of a rank do too."""
    rng = random.Random(seed)
    schedule = SCHEDULES[rng.choice([*SCHEDULES])].make(rng.randint(1, 5), rng.randint(1, 9))
    times = drawn_times(rng, len(schedule.stages))
    made, homes, taken = replay(schedule, times), schedule.homes, 0.0
    for before, action in zip((None, *made.critical), made.critical, strict=False):
        if before is not None and homes[before.stage] != homes[action.stage]:
            taken += times.forward if action.phase == "F" else times.backward
        taken += times.of(action.phase, action.stage)
    assert taken == pytest.approx(made.seconds), f"seed {seed}"
    for rank in range(schedule.ranks):
        idle = sum(gap.seconds for gap in made.gaps if gap.rank == rank)
        assert idle == pytest.approx(made.bubbles[rank] * made.seconds), f"seed {seed}"


def test_an_order_that_blocks_is_refused_with_its_cycle() -> None:
    with pytest.raises(DeadlockError, match="rank 0 never gets past 0B0") as found:
        replay(from_csv("0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1\n"))
    assert found.value.cycle == ("0B0 waits for 1B0", "1B0 comes after 1F1 on rank 1", "1F1 waits for 0F1", "0F1 comes after 0B0 on rank 0")


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (lambda: Times(F=-1.0), "F=-1.0 is no number"),
        (lambda: Times(communication=(1.0, 2.0, 3.0)), "one forward and one backward"),
        (lambda: Times(W=float("nan")), "W=nan"),
        (lambda: replay(SCHEDULES["1f1b"].make(3, 2), Times(F=(1.0, 2.0))), "times for 2 stages; there is a stage 2"),
    ],
)
def test_times_that_mean_nothing(times, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        times()
