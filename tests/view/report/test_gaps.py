"""Gaps tile what spans leave, and say what the actor protocol says, computed here from stamped rows, act by act."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from oflow.actors import simulate
from oflow.arrays import tables
from oflow.check import act_graph, play
from oflow.errors import DeadlockError
from oflow.plan import ActorSpec, Plan
from oflow.trace import Span, Spans, Trace
from oflow.view.report.gaps import CALLER, CORE, END, FREE_SLOT, INPUT, PARTNER, REASONS, STREAM, Gaps, gaps
from tests.plans import PlanBuilder, chain, diamond, gpipe, pipeline_1f1b, random_plan
from tests.view.things import rich_plan


def meeting() -> Plan:
    """Three devices work for 1, 3 and 2 seconds, then all take part in one collective, then use what it brought."""
    b = PlanBuilder()
    order = {}
    for rank, seconds in enumerate((1.0, 3.0, 2.0)):
        given, brought = b.register(f"given{rank}", f"cpu:{rank}", 1), b.register(f"brought{rank}", f"cpu:{rank}", 1)
        work = b.actor("work", f"cpu:{rank}", outs=[(given, 1, "whole")], acts=2, seconds=seconds)
        meet = b.actor(
            "meet", f"cpu:{rank}", [(given, 1, "whole")], [(brought, 1, "whole")], acts=2, stream="comm", seconds=0.25, rendezvous="sum"
        )
        use = b.actor("use", f"cpu:{rank}", [(brought, 1, "whole")], acts=2, seconds=0.5)
        order |= {f"cpu:{rank}/compute": (work, use, work, use), f"cpu:{rank}/comm": (meet, meet)}
    return b.plan(order)


PLANS = {
    "rich": rich_plan(), "1f1b": pipeline_1f1b(3, 5), "gpipe": gpipe(3, 4), "tight": pipeline_1f1b(3, 6), "diamond": diamond(1),
    "chain": chain(4, 1, 2), "meeting": meeting(),
}  # fmt: skip
Row = tuple[str, float, float, str, int, int, int]
Reason = tuple[float, int, int, int]
"""When it is over, why (a number in REASONS), register, other."""


def gaps_of(plan: Plan, trace: Trace, seconds: float) -> Gaps:
    t = tables(plan)
    return gaps(trace.spans, act_graph(plan, play(plan, t), t), seconds)


def rows_of(plan: Plan, found: Gaps) -> list[Row]:
    columns = (getattr(found, name).tolist() for name in Gaps.__slots__)
    streams = tables(plan).streams
    return [(streams[s], a, b, REASONS[why], actor, register, other) for s, a, b, why, actor, register, other in zip(*columns, strict=True)]


# ---------------------------------------------------------------- the slow way


def slow_gaps(plan: Plan, trace: Trace, seconds: float) -> list[Row]:
    """Each act's reasons by the rules of the protocol: sequence numbers, windows, the order of its stream, its partners."""
    stop = {(s.actor, s.act): s.stop for s in trace.spans}
    made: list[Row] = []
    for stream in tables(plan).streams:
        reached = 0.0
        for span in sorted((s for s in trace.spans if s.stream == stream), key=lambda s: (s.start, s.stop)):
            if span.start > reached:
                reasons = _reasons(plan, stop, span)
                until, why, register, other = max(reasons, key=lambda r: (r[0], -r[1]), default=(-1.0, CORE, -1, -1))
                until = min(max(until, reached), span.start)
                if until > reached:
                    made.append((stream, reached, until, REASONS[why], span.actor, register, other))
                if span.start > until:
                    late = CALLER if stream.startswith("host:") else CORE
                    made.append((stream, until, span.start, REASONS[late], span.actor, -1, -1))
            reached = max(reached, span.stop)
        if seconds > reached:
            made.append((stream, reached, seconds, REASONS[END], -1, -1, -1))
    return made


def _reasons(plan: Plan, stop: dict[tuple[int, int], float], span: Span) -> list[Reason]:
    """All that the act and its partners wait for; a partner's are why the act waits for that partner."""
    actor = plan.actors[span.actor]
    found = _own(plan, stop, actor, span.act)
    for other in plan.actors if actor.rendezvous else ():
        if other.rendezvous == actor.rendezvous and other.id != actor.id:
            found += [(until, PARTNER, register, other.id) for until, _, register, _ in _own(plan, stop, other, span.act)]
    return found


def _own(plan: Plan, stop: dict[tuple[int, int], float], actor: ActorSpec, act: int) -> list[Reason]:
    found: list[Reason] = []
    for port in actor.ports:
        register = plan.registers[port.register]
        if not port.every or act % port.every or register.producer < 0:
            continue
        turn = act // port.every
        producer = plan.actors[register.producer]
        if port.direction == "in":
            (out,) = (p for p in producer.ports if p.register == register.id and p.direction == "out")
            made = turn - register.initial
            if made >= 0:
                found.append((stop[producer.id, made * out.every + out.every - 1], INPUT, register.id, producer.id))
            continue
        for reader in register.consumers:
            (into,) = (p for p in plan.actors[reader].ports if p.register == register.id and p.direction == "in")
            taken = turn + register.initial - register.slots
            if into.every and taken >= 0:
                found.append((stop[reader, taken * into.every + into.every - 1], FREE_SLOT, register.id, reader))
    return found + _before(plan, stop, actor, act)


def _before(plan: Plan, stop: dict[tuple[int, int], float], actor: ActorSpec, act: int) -> list[Reason]:
    """The act before on the stream's order, or of the same actor."""
    order = plan.order.get(actor.stream, ())
    if not order or actor.device.startswith("host:"):
        return [(stop[actor.id, act - 1], STREAM, -1, actor.id)] if act else []
    step, place = divmod(act, actor.acts)
    at = [i for i, row in enumerate(order) if row == actor.id][place]
    step, at = (step, at - 1) if at else (step - 1, len(order) - 1)
    if step < 0:
        return []
    before = order[at]
    return [(stop[before, step * plan.actors[before].acts + order[:at].count(before)], STREAM, -1, before)]


def disturbed(trace: Trace, seed: int) -> Trace:
    """The same acts as a machine would do them: late and longer, but each after all that it waits for (its times are stretched)."""
    rng = random.Random(seed)
    pieces = sorted({s.start for s in trace.spans} | {s.stop for s in trace.spans})
    now, at = 0.0, dict[float, float]()
    for piece in pieces:
        at[piece] = now
        now += rng.choice([0.5, 1.0, 3.0])
    rows = []
    for s in trace.spans:
        a, b = at[s.start], at[s.stop]
        late = rng.choice([0.0, 0.0, 0.3]) * (b - a)
        rows.append(Span(s.actor, s.act, s.stream, a + late, max(a + late, b - rng.choice([0.0, 0.2]) * (b - a))))
    return replace(trace, spans=Spans.of(rows).in_time(), source="measured")


# ---------------------------------------------------------------- laws


def tiles(plan: Plan, trace: Trace, found: Gaps, seconds: float) -> None:
    """On each stream spans and gaps together reach from 0 to the end, gaps never meet a span."""
    t = tables(plan)
    for number, stream in enumerate(t.streams):
        taken = [(s.start, s.stop, 1) for s in trace.spans if s.stream == stream and s.stop > s.start]
        mine = found.stream == number
        taken += [(a, b, 0) for a, b in zip(found.start[mine].tolist(), found.stop[mine].tolist(), strict=True)]
        reached = 0.0
        for start, stop, is_span in sorted(taken):
            assert start == reached or (is_span and start < reached), (stream, start, reached)
            reached = max(reached, stop)
        assert reached == seconds, stream


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("steps", [1, 3])
def test_gaps_are_what_the_protocol_says(name: str, steps: int) -> None:
    plan = PLANS[name]
    trace = simulate(plan, steps=steps)
    for one in (trace, *(disturbed(trace, seed) for seed in range(4))):
        seconds = one.seconds * 1.25
        found = gaps_of(plan, one, seconds)
        tiles(plan, one, found, seconds)
        assert rows_of(plan, found) == slow_gaps(plan, one, seconds)


@pytest.mark.parametrize("seed", range(60))
def test_gaps_of_random_plans(seed: int) -> None:
    print(f"seed {seed}")
    plan = random_plan(seed)
    try:
        trace = simulate(plan, steps=2)
    except DeadlockError:
        with pytest.raises(DeadlockError):
            play(plan)  # nothing to look at
        return
    for one in (trace, disturbed(trace, seed)):
        found = gaps_of(plan, one, one.seconds)
        tiles(plan, one, found, one.seconds)
        assert rows_of(plan, found) == slow_gaps(plan, one, one.seconds)


@pytest.mark.parametrize("name", PLANS)
def test_in_virtual_time_nobody_is_late(name: str) -> None:
    plan = PLANS[name]
    trace = simulate(plan, steps=3)
    assert not np.isin(gaps_of(plan, trace, trace.seconds).why, [CORE, CALLER]).any()


def test_shared_cores_make_acts_late() -> None:
    plan = pipeline_1f1b(4, 4)
    trace = simulate(plan, steps=2, workers=2)
    assert (gaps_of(plan, trace, trace.seconds).why == CORE).any()
    assert rows_of(plan, gaps_of(plan, trace, trace.seconds)) == slow_gaps(plan, trace, trace.seconds)


def test_a_run_without_acts_is_one_gap_a_stream() -> None:
    plan = chain(3, 1)
    found = gaps_of(plan, Trace(Spans.of(())), 2.0)
    assert rows_of(plan, found) == [(stream, 0.0, 2.0, "end of step", -1, -1, -1) for stream in tables(plan).streams]


def test_who_comes_first_waits_for_its_partner() -> None:
    plan = meeting()
    trace = simulate(plan, steps=1)
    first = rows_of(plan, gaps_of(plan, trace, trace.seconds))
    names = {a.label: a.id for a in plan.actors}
    waits = {stream: (why, other) for stream, start, _, why, _, _, other in first if stream.endswith("/comm") and start == 0.0}
    slow = names["meet@cpu:1"]
    assert waits == {"cpu:0/comm": ("partner", slow), "cpu:1/comm": ("input", names["work@cpu:1"]), "cpu:2/comm": ("partner", slow)}
