"""One suite for all drivers: values, order, back-pressure, errors, the end."""

import gc
import os
import random
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from oflow.actors import Launcher, Session, simulate, simulator, threads
from oflow.errors import DeadlockError
from oflow.plan import Plan
from tests.actors.kernels import SESSIONS, Slots, training
from tests.plans import PlanBuilder, chain, diamond, pipeline_1f1b, play, random_plan

Open = Callable[..., Session]
every_session = pytest.mark.parametrize("start", SESSIONS.values(), ids=SESSIONS.keys())


def nothing(act: int, slots: tuple[int, ...]) -> None:
    pass


def oflow_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("oflow")]


@every_session
@pytest.mark.parametrize("micro_batches", [1, 4])
def test_rates_and_modes_compute_what_plain_python_does(start: Open, micro_batches: int) -> None:
    """slice in and out, every=M, sum, keep, every=0; freed slots are poisoned, kept ones are not."""
    plan, shapes = training(micro_batches)
    slots = Slots(plan, shapes)
    feed, _, _, _, fetch = range(5)
    x, y, w, dw, rate, z = range(6)
    slots.arrays[w][0][...], slots.arrays[rate][0][...] = 2.0, 0.5
    batches = np.random.default_rng(3).normal(size=(7, micro_batches))
    fed, got = iter(batches), []

    def forward(act: int, part: np.ndarray, weight: np.ndarray, out: np.ndarray, sent: np.ndarray) -> None:
        np.multiply(part, weight, out=out)
        sent[...] = out

    def update(act: int, grad: np.ndarray, rate: np.ndarray, weight: np.ndarray) -> None:
        weight -= rate * grad

    kernels = {
        "feed": lambda act, out: np.copyto(out, next(fed)),
        "forward": forward,
        "grad": lambda act, value, total: np.add(total, value[0], out=total),
        "update": update,
        "fetch": lambda act, value: got.append(value.copy()),
    }
    poisoned: list[int] = []

    def poison(register: int, slot: int) -> None:
        poisoned.append(register)
        slots.poison(register, slot)

    with start(plan, slots.launchers(kernels), freed=poison, checked=True) as session:
        while len(got) < len(batches):
            session.act(session.wait({feed, fetch} if session.host[feed].act < len(batches) else {fetch}))
        session.drain(len(batches))
        assert session.dropped == 0
    weight, expected = 2.0, []
    for batch in batches:
        expected.append(batch * weight)
        weight -= 0.5 * sum(expected[-1])
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    np.testing.assert_allclose(slots.arrays[w][0], weight, rtol=1e-12)
    assert set(poisoned) == {x, y, dw, z}


def recorded(plan: Plan, start: Open, steps: int) -> dict[str, list[tuple[int, ...]]]:
    """(row, act, slots) of every act, by stream."""
    ran: dict[str, list[tuple[int, ...]]] = {stream: [] for stream in plan.streams}

    def launcher(row: int) -> Launcher:
        return lambda act, slots: ran[plan.actors[row].stream].append((row, act, *slots))

    with start(plan, [launcher(row) for row in range(len(plan.actors))]) as session:
        session.drain(steps - 1)
        session.drain(steps)
    return ran


def test_threads_equal_the_simulator_act_for_act() -> None:
    compared = 0
    for seed in range(300):
        plan = random_plan(seed, size=8)
        ordered = bool(plan.order)
        live = play(plan, 3) is not None
        if ordered and live:
            runs = [recorded(plan, start, 3) for start in SESSIONS.values()]
            assert all(run == runs[0] for run in runs), f"seed {seed}"
            found = simulate(plan, steps=3).spans
            spans = {stream: [(s.actor, s.act) for s in found if s.stream == stream] for stream in plan.streams}
            assert spans == {stream: [act[:2] for act in acts] for stream, acts in runs[0].items()}, f"seed {seed}"
            compared += 1
    assert compared > 50


@every_session
def test_verdicts_equal_an_independent_game(start: Open) -> None:
    for seed in range(1000, 1150):
        plan = random_plan(seed)
        live = play(plan, 2) is not None
        with start(plan, [nothing] * len(plan.actors)) as session:
            if live:
                session.drain(2)
                assert session.dropped == 0
            else:
                with pytest.raises(DeadlockError) as caught:
                    session.drain(2)
                assert caught.value.cycle, f"seed {seed}: {caught.value}"


def test_simulation_is_deterministic_and_needs_the_known_time() -> None:
    plan = pipeline_1f1b(4, 8, update=False)
    trace = simulate(plan, steps=1)
    assert trace == simulate(plan, steps=1)
    assert trace.seconds == (8 + 4 - 1) * (1.0 + 2.0), "(M + S - 1)(tF + tB)"
    assert set(e.event for e in trace.events) == {"write", "full", "free"}
    full = [e for e in trace.events if e.event == "free"]
    assert len(full) == len([e for e in trace.events if e.event == "write"]), "every slot written in a step is freed in it"


def test_a_deadlock_names_who_waits_for_what() -> None:
    why = r"F0@cpu:0 \(act 3\) waits for a free slot of stash0@cpu:0 \(it has 3\) from B0"
    with pytest.raises(DeadlockError, match=why) as caught:
        simulate(pipeline_1f1b(4, 8, [3, 3, 2, 1]))
    assert caught.value.cycle == ("F0@cpu:0", "B0@cpu:0")


def waiting_plan(slots: int) -> Plan:
    """source@cpu:0 -> copy@cpu:1 -> fetch@host:0; the caller is the slow consumer."""
    b = PlanBuilder()
    made, moved = b.register("made", "cpu:0", slots), b.register("moved", "cpu:1", slots)
    b.actor("source", "cpu:0", [], [(made, 1, "whole")])
    b.actor("copy", "cpu:1", [(made, 1, "whole")], [(moved, 1, "whole")])
    b.actor("fetch", "host:0", [(moved, 1, "whole")])
    return b.plan()


@every_session
@pytest.mark.parametrize("slots", [1, 3])
def test_back_pressure(start: Open, slots: int) -> None:
    """The producers are never ahead of a slow consumer by more than the slots between them."""
    ahead: list[int] = []
    acts = [0, 0, 0]

    def launcher(row: int) -> Launcher:
        def launch(act: int, bound: tuple[int, ...]) -> None:
            acts[row] = act + 1
            if row < 2:
                ahead.append(acts[row] - acts[row + 1])

        return launch

    plan = waiting_plan(slots)
    with start(plan, [launcher(row) for row in range(3)]) as session:
        session.admit(50)
        for _ in range(50):
            session.act(session.wait({2}))
        session.drain(50)
    assert acts == [50, 50, 50]
    assert max(ahead) <= slots + 1


@every_session
def test_an_error_in_a_kernel_stops_everything_and_surfaces(start: Open) -> None:
    error = ValueError("the kernel's own error")

    def broken(act: int, slots: tuple[int, ...]) -> None:
        if act == 3:
            raise error

    plan = chain(6, 2, devices=3)
    with start(plan, [nothing, nothing, broken, nothing, nothing, nothing]) as session:
        session.drain(2)
        for _ in range(2):
            with pytest.raises(ValueError) as caught:
                session.drain(10)
            assert caught.value is error
    assert not oflow_threads()


@every_session
def test_an_error_of_the_host_surfaces_and_stays(start: Open) -> None:
    def broken(act: int, slots: tuple[int, ...]) -> None:
        raise KeyError("host")

    with start(waiting_plan(2), [nothing, nothing, broken]) as session:
        with pytest.raises(KeyError):
            session.act(session.wait({2}))
        with pytest.raises(KeyError):
            session.wait({2})


@every_session
def test_waiting_for_what_cannot_come_is_a_deadlock_error(start: Open) -> None:
    plan, _ = training(2)
    with start(plan, [nothing] * 5) as session:
        session.act(session.wait({0}))
        assert session.wait({4}) == 4
        session.act(4)
        with pytest.raises(DeadlockError, match="the caller waits for fetch@host:0"):
            session.wait({4})


@every_session
def test_a_closed_session_says_so(start: Open) -> None:
    session = start(chain(2, 1), [nothing] * 2)
    session.close()
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.drain(1)


@every_session
def test_every_actor_makes_exactly_the_steps_that_were_drained(start: Open) -> None:
    """State that depends on no input, a step counter, does not run ahead of what the caller feeds."""
    b = PlanBuilder()
    x, count = b.register("x", "host:0"), b.register("count", "cpu:0", 1, 1, state="count")
    b.actor("feed", "host:0", [], [(x, 1, "whole")], stream="feed")
    b.actor("use", "cpu:0", [(x, 1, "whole")])
    b.actor("tick", "cpu:1", [], [(count, 1, "keep")])
    ticks: list[int] = []
    with start(b.plan(), [nothing, nothing, lambda act, slots: ticks.append(act)]) as session:
        for step in range(1, 6):
            session.act(session.wait({0}))
            session.drain(step)
            assert ticks == list(range(step))


def meeting(swapped: bool) -> Plan:
    """Two devices, two collectives a step, each a rendezvous."""
    b = PlanBuilder()
    rows = [[b.actor(f"{name}{d}", f"cpu:{d}", rendezvous=name) for name in ("sum", "gather")] for d in range(2)]
    first, second = tuple(rows[0]), tuple(reversed(rows[1])) if swapped else tuple(rows[1])
    return b.plan({"cpu:0/compute": first, "cpu:1/compute": second})


@every_session
def test_a_rendezvous_fires_as_one(start: Open) -> None:
    ran: list[int] = []
    with start(meeting(False), [lambda act, slots, row=row: ran.append(row) for row in range(4)]) as session:
        session.drain(3)
    assert [sorted(ran[i : i + 2]) for i in range(0, 12, 2)] == [[0, 2], [1, 3]] * 3


@every_session
def test_a_swapped_rendezvous_is_a_deadlock_with_its_cycle(start: Open) -> None:
    with start(meeting(True), [nothing] * 4) as session, pytest.raises(DeadlockError, match="in rendezvous 'sum'") as caught:
        session.drain(1)
    assert set(caught.value.cycle) == {"sum0@cpu:0", "sum1@cpu:1", "gather0@cpu:0", "gather1@cpu:1"}


def test_measured_trace_has_every_act() -> None:
    plan = pipeline_1f1b(2, 4)
    with threads(plan, [nothing] * len(plan.actors), recorded=True, workers=2) as session:
        session.drain(3)
        trace = session.trace()
    simulated = simulate(plan, steps=3)
    assert sorted((s.actor, s.act) for s in trace.spans) == sorted((s.actor, s.act) for s in simulated.spans)
    assert len(trace.events) == len(simulated.events) and trace.source == "measured"
    with simulator(plan, [nothing] * len(plan.actors), recorded=True) as session:
        session.drain(3)
        assert set(session.trace().spans) == set(simulated.spans)


def test_an_idle_session_burns_no_time_and_leaves_no_thread() -> None:
    before = threading.active_count()
    plan = diamond(2)
    with threads(plan, [nothing] * 4, workers=3) as session:
        session.drain(1)
        assert len(oflow_threads()) == 3
        used = time.process_time()
        threading.Event().wait(0.2)
        assert time.process_time() - used < 0.1
        session.drain(2)
    assert threading.active_count() == before
    threads(plan, [nothing] * 4, workers=2).drain(1)
    gc.collect()
    for thread in oflow_threads():
        thread.join(timeout=10)
    assert not oflow_threads(), "a session that is dropped stops its threads"


def test_ctrl_c_reaches_a_caller_that_waits() -> None:
    started, over = threading.Event(), threading.Event()

    def long(act: int, slots: tuple[int, ...]) -> None:
        started.set()
        over.wait(10)

    def interrupt() -> None:
        started.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    with threads(chain(2, 1), [long, nothing], workers=1) as session:
        other.start()
        with pytest.raises(KeyboardInterrupt):
            session.drain(1)
        over.set()
    other.join()
    assert not oflow_threads()


def test_many_short_steps_over_many_workers() -> None:
    """Wake-ups are never lost: a step that misses one would hang."""
    rng = random.Random(5)
    plan = pipeline_1f1b(4, 3)
    for workers in (2, 4):
        with threads(plan, [nothing] * len(plan.actors), workers=workers) as session:
            done = 0
            while done < 400:
                done += rng.randint(1, 3)
                session.drain(done)
            assert all(actor.act == done * plan.actors[row].acts for row, actor in session._device_actors().items())
