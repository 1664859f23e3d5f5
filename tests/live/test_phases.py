"""Phases: what a watched job is at; nothing where nobody watches."""

from itertools import pairwise

import pytest

import oflow as of
from oflow import pack, view
from oflow.check import check
from oflow.compiler import PASSES
from oflow.live import PhaseProgress, phase, shown
from oflow.live.follow import Following, followed
from oflow.live.phases import WATCHED, Phase
from tests.plans import pipeline_1f1b


def test_phases_stand_in_each_other_and_end_with_their_blocks() -> None:
    with shown("none") as job:
        assert job.now().phases == ()
        with phase("outer", lambda: 0.25), phase(lambda: "inner"):
            found = job.now()
            assert isinstance(found, PhaseProgress)
            assert (found.phases, found.share) == (("outer", "inner"), 0.25)
            with pytest.raises(ValueError), phase("broken", lambda: 1 / 0):
                assert job.now().share == 0.25, "a share that cannot be told is not known"
                raise ValueError
            with phase("wild", lambda: 7.0), shown("bar") as same:
                assert same is job and job.now().share == 1.0
            assert job.now().phases == ("outer", "inner")
        assert job.now().phases == ()
    assert WATCHED.get() is None


class Recorder:
    """A job that remembers what it was at."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._phases: tuple[Phase, ...] = ()

    @property
    def phases(self) -> tuple[Phase, ...]:
        return self._phases

    @phases.setter
    def phases(self, phases: tuple[Phase, ...]) -> None:
        self._phases = phases
        self.seen.update(one.name for one in phases if isinstance(one.name, str))


def test_long_jobs_name_their_phases() -> None:
    job = Recorder()
    token = WATCHED.set(job)  # type: ignore[arg-type]
    try:
        plan = pipeline_1f1b(3, 5)
        view.html(plan, proof=check(plan))
        plan.simulate(steps=2)
        pack([(0, 3, 5), (1, 4, 7), (2, 6, 3), (3, 7, 6), (5, 8, 4), (0, 8, 1)])
        x = of.spec((4, 4), "float32", of.placement("cpu", [0]), of.B)
        of.compile(lambda x: of.sum(x), x)
    finally:
        WATCHED.reset(token)
    wanted = {"check", "find roles", "play one step", "arrange its acts", "find the period", "prove memory", "trace", "compile"}
    wanted |= {"report", "draw the plan and the graph", "find what idle streams wait for", "add up live bytes", "write the page"}
    assert wanted <= job.seen
    last = len(PASSES) - 1  # capture comes before the passes
    assert {f"pass place (1 of {last})", f"pass memory ({last} of {last})"} <= job.seen
    assert any(name.startswith("simulate ") for name in job.seen)


def test_steps_are_shown_from_the_first_on_and_phases_before() -> None:
    following = Following(3)
    with shown("none") as job:
        steps = following.through(iter([0.5, (2.0, None), {"loss": 1.5}]))
        with phase("evaluate"):
            assert job.now().phases == ("evaluate",)
            assert next(steps) == 0.5
            assert job.now().step == 1 and job.now().loss == 0.5
            assert [job.now().loss for _ in steps] == [2.0, 1.5]
            assert job.now().phases == ("evaluate",), "the steps have ended"
    assert following.summary().step == 3


def test_who_is_told_hears_of_the_first_step_and_of_the_end() -> None:
    told = []
    results = (float(n) for n in range(1, 2001))
    assert list(followed(results, Following(2000), told.append)) == [float(n) for n in range(1, 2001)]
    assert told[0].step == 1 and told[-1].step == 2000 and told[-1].loss == 2000.0 and told[-1].seconds_left == 0.0
    assert all(later.seconds - one.seconds >= 0.09 for one, later in pairwise(told[:-1])), "ten times a second"
