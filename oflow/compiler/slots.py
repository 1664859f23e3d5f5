"""How many slots each register needs so that the order of a schedule never waits for one.

What a stage makes in one action and reads in another of the same rank: as many as are live at once in the rank's row, from the
start of the action that makes it to the end of the last that reads it. So the stash of 1F1B has S - i slots and GPipe's M, and what I
makes for W is kept until W. What comes from another rank arrives as soon as it is sent: as many as have arrived and are not yet read
for the last time when the order is replayed with the plan's own times. What is sent, and what crosses streams otherwise, is double
buffered, and a copy that runs ahead has one slot more to fill meanwhile. What goes to the host and back has the slots that
`offload` gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oflow.compiler.chain import joins_before
from oflow.compiler.stage_times import ASIDE, COMPUTE, PREFETCH, Part, each_micro_batch, sources
from oflow.plan import ActorTemplate, Plan, PortTemplate
from oflow.schedule import Action, Replay

Moment = tuple[float, float]
"""Start and stop of an action."""


@dataclass(frozen=True, slots=True)
class _Use:
    number: int
    actor: ActorTemplate
    port: PortTemplate


def slot_counts(plan: Plan, run: Replay) -> list[int]:
    """The slots of each register template of `plan`, whose order is that of `run` (every backward as I and W)."""
    uses: dict[int, list[_Use]] = {}
    for number, actor in enumerate(plan.actor_templates):
        for port in actor.ports:
            uses.setdefault(port.register, []).append(_Use(number, actor, port))
    made = _Slots(plan, run)
    return [
        made.aside(uses[row], register.slots) if any(use.actor.stream in ASIDE for use in uses.get(row, ()))
        else made.of(uses.get(row, []), register.initial)
        for row, register in enumerate(plan.register_templates)
    ]  # fmt: skip


class _Slots:
    def __init__(self, plan: Plan, run: Replay) -> None:
        self.plan = plan
        self.depth = joins_before(plan)
        self.sent_by, self.read_through = _senders(plan), _receivers(plan)
        schedule = run.schedule
        self.homes = schedule.homes
        self.places = {action: (float(i), i + 1.0) for row in schedule.rows for i, action in enumerate(row)}
        self.times = {
            action: moment
            for row, starts, stops in zip(schedule.rows, run.starts, run.stops, strict=True)
            for action, moment in zip(row, zip(starts, stops, strict=True), strict=True)
        }
        self.parts = {(action.stage, action.phase) for action in self.places}
        self.known: dict[tuple[object, ...], int] = {}

    def of(self, uses: list[_Use], initial: int) -> int:
        makers = [u for u in uses if u.port.direction == "out"]
        readers = [u for u in uses if u.port.direction == "in"]
        if initial or not makers or not readers:
            return max(initial, 1)
        maker = makers[0]
        crossing = any((r.actor.group, r.actor.stream) != (maker.actor.group, maker.actor.stream) for r in readers)
        least = 2 if crossing else 1
        if not any(maker.actor.acts // max(u.port.every, 1) > 1 for u in makers):
            return least if maker.actor.phase == "F" else 1
        if any(self.depth[r.number] > self.depth[maker.number] for r in readers if r.actor.acts == maker.actor.acts):
            return self.plan.micro_batches
        return max(least, self._live(maker, readers))

    def aside(self, uses: list[_Use], given: int) -> int:
        """Of a register on the way to the host or back: as many as it was given, but all that are live at once between those who read
        it first and last when it is back, and as many more as it was given beyond one."""
        maker, readers = (next(u for u in uses if u.port.direction == "out"), [u for u in uses if u.port.direction == "in"])
        if maker.actor.stream != PREFETCH or maker.actor.acts == 1:
            return given
        begin = frozenset().union(*(self.read_through[r.number] for r in readers))
        end = begin | {_read_by(r.actor) for r in readers if r.actor.stream == COMPUTE}
        return min(self._most(True, begin, end) + given - 1, self.plan.micro_batches)

    def _live(self, maker: _Use, readers: list[_Use]) -> int:
        """Most micro-batches that are made and wait for a reader on a compute stream, what copies prefetch included."""
        ahead = 1 if maker.actor.stream.startswith("copy") else 0
        here = maker.actor.stream == COMPUTE
        made = frozenset((_made_by(maker.actor),)) if here else self.sent_by[maker.number]
        read = frozenset(_read_by(r.actor) for r in readers if r.actor.stream == COMPUTE)
        if not read:
            return 1
        if not made:  # it is there in time for whoever reads it first, perhaps through another boxing
            made = frozenset().union(*(self.read_through[r.number] for r in readers))
            here = True
        key = (here, made, read)
        if key not in self.known:
            self.known[key] = self._most(here, made, read)
        return min(self.known[key], self.plan.micro_batches) + ahead

    def _most(self, here: bool, made: frozenset[Part], read: frozenset[Part]) -> int:
        """here: it is held from the start of the first of the actions `made`, not from the end of the last."""
        if not made | read <= self.parts:
            return self.plan.micro_batches
        one_rank = len({self.homes[stage] for stage, _ in made | read}) == 1
        when = self.places if one_rank else self.times
        lives = []
        for m in range(self.plan.micro_batches):
            reads = [when[Action(stage, phase, m)] for stage, phase in read]
            births = [when[Action(stage, phase, m)] for stage, phase in made]
            first = min(start for start, _ in births) if here or one_rank else max(stop for _, stop in births)
            lives.append((first, max(stop for _, stop in reads)))
        return most_at_once(lives)


def most_at_once(lives: Sequence[Moment]) -> int:
    """Most of these half-open intervals that share a moment."""
    live = most = 0
    for _, change in sorted([(start, 1) for start, _ in lives] + [(stop, -1) for _, stop in lives]):
        live += change
        most = max(most, live)
    return most


def _made_by(actor: ActorTemplate) -> Part:
    """The action that makes what the actor makes; a backward that is not parted begins with I."""
    return actor.stage, "I" if actor.phase == "B" else actor.phase


def _read_by(actor: ActorTemplate) -> Part:
    """The action that reads what the actor reads; a backward that is not parted ends with W."""
    return actor.stage, "W" if actor.phase == "B" else actor.phase


def _senders(plan: Plan) -> list[frozenset[Part]]:
    """The actions whose results each template passes on, where it is not itself part of one."""
    found: list[frozenset[Part]] = []
    for makers in sources(plan):
        one: set[Part] = set()
        for m in makers:
            maker = plan.actor_templates[m]
            if each_micro_batch(plan, maker):
                one |= {_made_by(maker)} if maker.stream == COMPUTE else found[m]
        found.append(frozenset(one))
    return found


def _receivers(plan: Plan) -> list[frozenset[Part]]:
    """The actions that read what each template reads: its own, or those that it passes things on to."""
    found: list[set[Part]] = [{_made_by(a)} if a.stream == COMPUTE and each_micro_batch(plan, a) else set() for a in plan.actor_templates]
    for number, makers in reversed(list(enumerate(sources(plan)))):
        for m in makers:
            if plan.actor_templates[m].stream != COMPUTE:
                found[m] |= found[number]
    return [frozenset(one) for one in found]
