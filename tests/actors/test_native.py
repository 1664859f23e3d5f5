"""The compiled loop against the Python machine, and what its workers leave behind, whatever ends them."""

import gc
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from oflow.actors import Session, native, processes, rehearse, simulate, threads
from oflow.actors.native.compiled import PythonPrograms
from oflow.arrays import tables
from oflow.errors import DeadlockError, PlanError, WorkerLost
from oflow.native import available, builders
from oflow.plan import Plan
from tests.plans import PlanBuilder, chain, pipeline_1f1b, play, random_plan

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")
LOOPS: dict[str, Callable[..., Session]] = {
    "caller": lambda plan, launch, **options: native(plan, launch, workers=0, **options),
    "threads": lambda plan, launch, **options: native(plan, launch, workers=3, **options),
    "processes": lambda plan, launch, **options: processes(plan, launch, workers=2, **options),
}
every_loop = pytest.mark.parametrize("start", LOOPS.values(), ids=LOOPS.keys())


def nothing(act: int, slots: tuple[int, ...]) -> None:
    pass


def live_plans(first: int, count: int) -> list[tuple[int, Plan]]:
    found = []
    for seed in range(first, first + 20 * count):
        plan = random_plan(seed, size=8)
        if plan.order and play(plan, 3) is not None:
            found.append((seed, plan))
        if len(found) == count:
            return found
    raise AssertionError("too few plans that live")


def story(plan: Plan, start: Callable[..., Session], steps: int = 3) -> tuple[Counter, Counter]:
    """All acts, and all events of slots (each Req fills one, the last Ack frees it), of `steps` steps."""
    with start(plan, [nothing] * len(plan.actors), recorded=True) as session:
        session.drain(steps)
        trace = session.trace()
    return Counter((s.actor, s.act) for s in trace.spans), Counter((e.register, e.slot, e.event) for e in trace.events)


@every_loop
def test_every_act_and_every_message_is_that_of_the_python_machine(start: Callable[..., Session]) -> None:
    for seed, plan in live_plans(5000, 12 if start is LOOPS["processes"] else 60):
        assert story(plan, start) == story(plan, threads), f"seed {seed}"


def test_tables_are_the_stamped_rows() -> None:
    for seed in range(200):
        plan = random_plan(seed, size=8)
        t = tables(plan)
        ports = [p for actor in plan.actors for p in actor.ports]
        assert t.port_register.tolist() == [p.register for p in ports], f"seed {seed}"
        assert t.every.tolist() == [p.every for p in ports]
        assert [t.streams[s] for s in t.stream] == [actor.stream for actor in plan.actors]
        assert tuple(t.streams) == tuple(plan.streams)
        producers = [plan.registers[p.register].producer if p.direction == "in" else -1 for p in ports]
        assert [t.port_actor[p] if p >= 0 else -1 for p in t.producer] == producers
        for port, p in enumerate(ports):
            readers = t.port_actor[t.readers[t.reader_start[port] : t.reader_start[port + 1]]].tolist()
            assert readers == (list(plan.registers[p.register].consumers) if p.direction == "out" else [])


def test_a_rehearsal_tells_which_plans_live() -> None:
    verdicts = Counter()
    for seed in range(3000, 3400):
        plan = random_plan(seed, size=8)
        try:
            lives = rehearse(plan) is not None
        except PlanError:
            lives = False
        assert lives == (play(plan) is not None), f"seed {seed}"
        verdicts[lives] += 1
    assert min(verdicts.values()) > 50


def test_streams_may_be_given_to_workers_by_name() -> None:
    plan = pipeline_1f1b(4, 3)
    streams = [s for s in plan.streams if not s.startswith("host:")]
    with native(plan, [nothing] * len(plan.actors), workers=[streams[::2], streams[1::2]]) as session:
        session.drain(50)
        assert all(view.act == 0 for view in session.host.values())
    with pytest.raises(PlanError, match="name each of these streams once"):
        native(plan, [nothing] * len(plan.actors), workers=[streams[:1]])


@every_loop
def test_a_deadlock_has_the_same_story(start: Callable[..., Session]) -> None:
    b = PlanBuilder()
    there, back = b.register("there", "cpu:0", 1), b.register("back", "cpu:1", 1)
    b.actor("a", "cpu:0", [(back, 1, "whole")], [(there, 1, "whole")])
    b.actor("b", "cpu:1", [(there, 1, "whole")], [(back, 1, "whole")])
    plan = b.plan()
    errors = []
    for driver in (start, threads):
        with driver(plan, [nothing] * 2) as session, pytest.raises(DeadlockError) as caught:
            session.drain(1)
        errors.append((str(caught.value), caught.value.cycle))
    assert errors[0] == errors[1]


def test_an_error_in_a_worker_process_is_the_callers() -> None:
    plan = chain(4, 2, devices=2)

    def broken(act: int, slots: tuple[int, ...]) -> None:
        raise ValueError(f"no act {act}")

    with processes(plan, [nothing, nothing, broken, nothing]) as session, pytest.raises(ValueError, match="no act 0"):
        session.drain(1)


# ---------------------------------------------------------------- what is left behind


def holdings() -> dict[str, int]:
    """What this process holds: shared-memory files, child processes, threads, descriptors, shared mappings."""
    builders.end()
    gc.collect()
    children = sum(len((task / "children").read_text().split()) for task in Path("/proc/self/task").iterdir())
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {
        "files": len(os.listdir("/dev/shm")), "children": children, "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")), "mappings": sum("/dev/zero" in line for line in maps),
    }  # fmt: skip


def start_and_kill(cycles: int) -> None:
    plan = chain(4, 2, devices=2)
    for cycle in range(cycles):
        session = processes(plan, [nothing] * 4, workers=2)
        session.drain(1)
        if cycle % 2:
            victim = sorted(session._team.children)[cycle // 2 % 2]  # type: ignore[attr-defined]
            os.kill(victim, signal.SIGKILL)
            with pytest.raises(WorkerLost, match=rf"worker process {victim}, which ran cpu:[01]/\S+.* was killed by SIGKILL"):
                session.drain(1 << 40)
        session.close()
        del session


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts what /proc shows")
@pytest.mark.parametrize("cycles", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_starts_and_kills_leave_nothing(cycles: int) -> None:
    start_and_kill(2)  # what is loaded once
    before = holdings()
    start_and_kill(cycles)
    assert holdings() == before


def test_workers_end_when_their_caller_is_killed() -> None:
    """The caller is a process of its own; its workers' ends of a pipe close when the last of them is gone."""
    reading, writing = os.pipe()
    caller = os.fork()
    if not caller:
        os.close(reading)
        session = processes(chain(4, 2, devices=2), [nothing] * 4, workers=2)
        session.drain(1)
        os.write(writing, b"up")
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    assert os.read(reading, 2) == b"up"
    os.waitpid(caller, 0)
    assert os.read(reading, 1) == b"", "a worker that lived on would keep the pipe open"
    os.close(reading)


def test_programs_of_python_have_one_call_an_actor() -> None:
    programs = PythonPrograms(chain(3, 1), [nothing] * 3)
    assert np.diff(programs.linked.call_start).tolist() == [1, 1, 1] and not programs.linked.routine.any()
    assert simulate(chain(3, 1)).steps == 3


class Gone:
    """A compiling process that ends just when it is asked."""

    class process:
        @staticmethod
        def poll():
            return None

    def ask(self, jobs):
        return True

    def answer(self):
        return None

    def end(self):
        pass


def test_a_job_is_not_lost_with_the_process_that_was_asked(tmp_path):
    builders._kept().append(Gone())
    target = tmp_path / "made.o"
    assert builders.run([[("def kernel(block):\n    return 7\n", str(target), "oflow_seven")]], {}) == []
    assert target.stat().st_size
