"""Small plans built by hand: chain, diamond, 1F1B pipeline, and random ones (live and deadlocking).

Every template lives on one device, so rows and templates have the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import gcd

from oflow.check.references import check_references
from oflow.machine import Cost
from oflow.plan import ALIGNMENT, ActorTemplate, Plan, PortTemplate, RegisterTemplate
from oflow.presets import preset
from oflow.types import TensorType

End = tuple[int, int, str]
"""A port: (register row, every, mode)."""


class PlanBuilder:
    """Collects one-device templates; `plan()` freezes them. Row numbers are the order of the calls."""

    def __init__(self) -> None:
        self.devices: list[str] = []
        self.actors: list[ActorTemplate] = []
        self.registers: list[RegisterTemplate] = []
        self.nbytes: dict[str, dict[str, int]] = {"arena": {}, "state": {}}

    def group(self, device: str) -> int:
        if device not in self.devices:
            self.devices.append(device)
        return self.devices.index(device)

    def register(self, name: str, device: str, slots: int = 2, initial: int = 0, *, state: str = "") -> int:
        group, region = self.group(device), "state" if state else "arena"
        offset = self.nbytes[region].get(device, 0)
        made = RegisterTemplate(name, group, (TensorType((4,)),), slots, initial, (offset,), region, state)
        self.nbytes[region][device] = offset + slots * ALIGNMENT
        self.registers.append(made)
        return len(self.registers) - 1

    def actor(
        self, name: str, device: str, ins: Sequence[End] = (), outs: Sequence[End] = (), *, acts: int = 1,
        stream: str = "compute", stage: int = 0, phase: str = "F", priority: int = 0, seconds: float = 1.0,
        rendezvous: str = "",
    ) -> int:  # fmt: skip
        ports = [PortTemplate(r, "in", every, mode, (0,)) for r, every, mode in ins]
        ports += [PortTemplate(r, "out", every, mode, (0,)) for r, every, mode in outs]
        made = ActorTemplate(
            name, self.group(device), tuple(ports), stream=stream, stage=stage, phase=phase, acts=acts,
            priority=priority, costs=(Cost(seconds=seconds),), rendezvous=rendezvous,
        )  # fmt: skip
        self.actors.append(made)
        return len(self.actors) - 1

    def plan(self, order: dict[str, tuple[int, ...]] | None = None) -> Plan:
        table = tuple((device,) for device in self.devices)
        made = Plan(
            tuple(self.actors), tuple(self.registers), table, preset(), order or {}, dict(self.nbytes["arena"]),
            dict(self.nbytes["state"]),
        )  # fmt: skip
        check_references(made)
        return made


def chain(n: int, slots: int, devices: int = 1) -> Plan:
    """n actors in a row, one stream each (`devices` > 1 cuts the chain into that many parts); no order."""
    b = PlanBuilder()
    at = [f"cpu:{i * devices // n}" for i in range(n)]
    registers = [b.register(f"r{i}", at[i], slots) for i in range(n - 1)]
    for i in range(n):
        ins = [(registers[i - 1], 1, "whole")] if i else []
        outs = [(registers[i], 1, "whole")] if i < n - 1 else []
        b.actor(f"a{i}", at[i], ins, outs, stream=f"s{i}", stage=i)
    return b.plan()


def diamond(slots: int) -> Plan:
    """One register read by two actors, whose results a fourth joins."""
    b = PlanBuilder()
    top, left, right = (b.register(name, f"cpu:{i}", slots) for i, name in enumerate(("top", "left", "right")))
    b.actor("source", "cpu:0", [], [(top, 1, "whole")], stream="a")
    b.actor("left", "cpu:1", [(top, 1, "whole")], [(left, 1, "whole")])
    b.actor("right", "cpu:2", [(top, 1, "whole")], [(right, 1, "whole")])
    b.actor("join", "cpu:0", [(left, 1, "whole"), (right, 1, "whole")], [], stream="b")
    return b.plan()


def actions_1f1b(stages: int, stage: int, micro_batches: int) -> str:
    """The phases that `stage` runs in 1F1B: warm-up forwards, then one backward, one forward, then the rest."""
    warm = min(stages - stage, micro_batches)
    return "F" * warm + "BF" * (micro_batches - warm) + "B" * warm


def actions_gpipe(stages: int, stage: int, micro_batches: int) -> str:
    """All forwards, then all backwards."""
    return "F" * micro_batches + "B" * micro_batches


def gpipe(stages: int, micro_batches: int, slots: int | Sequence[int] | None = None) -> Plan:
    """As `pipeline_1f1b`, in GPipe's order; `slots`: of the stashes (default: micro_batches)."""
    return pipeline_1f1b(stages, micro_batches, slots or micro_batches, actions=actions_gpipe)


def pipeline_1f1b(
    stages: int, micro_batches: int, slots: int | Sequence[int] | None = None, order: bool = True, update: bool = True,
    actions: Callable[[int, int, int], str] = actions_1f1b,
) -> Plan:  # fmt: skip
    """Stages F, B (and U, the update of one weight) on ``cpu:i``; `slots`: of the stashes (default: stages - i)."""
    b, m = PlanBuilder(), micro_batches
    stash = [stages - i for i in range(stages)] if slots is None else [slots] * stages if isinstance(slots, int) else slots
    on = [f"cpu:{i}" for i in range(stages)]
    sent = [b.register(f"x{i + 1}", on[i]) for i in range(stages - 1)]
    back = [b.register(f"g{i}", on[i]) for i in range(1, stages)]
    rows: dict[str, tuple[int, ...]] = {}
    for i in range(stages):
        kept = b.register(f"stash{i}", on[i], stash[i])
        weight = [(b.register(f"w{i}", on[i], 1, 1, state=f"w{i}"), m, "whole")] if update else []
        gradient = [(b.register(f"dw{i}", on[i], 1), m, "sum")] if update else []
        f_ins = [(sent[i - 1], 1, "whole")] if i else []
        f_outs = [(sent[i], 1, "whole")] if i < stages - 1 else []
        b_ins = [(back[i], 1, "whole")] if i < stages - 1 else []
        b_outs = [(back[i - 1], 1, "whole")] if i else []
        f = b.actor(f"F{i}", on[i], f_ins + weight, [*f_outs, (kept, 1, "whole")], acts=m, stage=i)
        g = b.actor(
            f"B{i}", on[i], [*b_ins, (kept, 1, "whole"), *weight], b_outs + gradient, acts=m, stage=i, phase="B",
            priority=1, seconds=2.0,
        )  # fmt: skip
        rows[f"{on[i]}/compute"] = tuple(f if phase == "F" else g for phase in actions(stages, i, m))
        if update:
            ins, outs = [(gradient[0][0], 1, "whole")], [(weight[0][0], 1, "keep")]
            u = b.actor(f"U{i}", on[i], ins, outs, stage=i, phase="update", priority=2, seconds=0.5)
            rows[f"{on[i]}/compute"] += (u,)
    return b.plan(rows if order else None)


def play(plan: Plan, steps: int = 1, seed: int = 0) -> dict[str, tuple[int, ...]] | None:
    """Play the token game with act counts only, obeying `plan.order`; the order each stream ran in, or None if it blocks.

    An independent oracle of liveness: it shares no code with `oflow.actors` or `oflow.check`. No rendezvous.
    """
    rng = random.Random(seed)
    done = [0] * len(plan.actors)
    ran: dict[str, list[int]] = {stream: [] for stream in plan.streams}

    def window(row: int, register: int) -> int:
        return next(p.every for p in plan.actors[row].ports if p.register == register)

    def finished(row: int, register: int) -> int:
        every = window(row, register)
        return done[row] // every if every else 0

    def free(row: int) -> bool:
        n, actor = done[row], plan.actors[row]
        for port in actor.ports:
            register = plan.registers[port.register]
            if n % port.every if port.every else n:
                continue
            group = n // port.every if port.every else 0
            if port.direction == "in":
                made = finished(register.producer, register.id) if register.producer >= 0 else 0
                if register.initial + made <= group:
                    return False
            elif any(finished(c, register.id) <= group + register.initial - register.slots for c in register.consumers):
                return False
        return True

    def may(row: int) -> bool:
        actor = plan.actors[row]
        order, at = plan.order.get(actor.stream), len(ran[actor.stream])
        return done[row] < steps * actor.acts and (not order or order[at % len(order)] == row) and free(row)

    while ready := [row for row in range(len(done)) if may(row)]:
        row = rng.choice(ready)
        done[row] += 1
        ran[plan.actors[row].stream].append(row)
    if any(n < steps * a.acts for n, a in zip(done, plan.actors, strict=True)):
        return None
    return {stream: tuple(rows) for stream, rows in ran.items()}


def random_plan(seed: int, size: int = 6) -> Plan:
    """2 to `size` actors on 1-3 devices; rates, back edges with tokens, state, control ports; ordered or free; live or not."""
    rng = random.Random(seed)
    b = PlanBuilder()
    count = rng.randint(2, size)
    acts = [rng.choice((1, 1, 2, 4, 6)) for _ in range(count)]
    homes = [(f"cpu:{rng.randrange(3)}", rng.choice(("compute", "compute", "copy"))) for _ in range(count)]
    ins: list[list[End]] = [[] for _ in range(count)]
    outs: list[list[End]] = [[] for _ in range(count)]
    for producer in range(count):
        for _ in range(rng.randint(0 if producer else 1, 2)):
            _random_register(rng, b, producer, acts, homes, ins, outs)
    for i in range(count):
        b.actor(
            f"a{i}", homes[i][0], ins[i], outs[i], acts=acts[i], stream=homes[i][1], priority=rng.randint(0, 2),
            seconds=rng.choice((0.5, 1.0, 2.0)),
        )  # fmt: skip
    return _random_order(rng, b, seed)


def _random_register(
    rng: random.Random, b: PlanBuilder, producer: int, acts: list[int], homes: list[tuple[str, str]],
    ins: list[list[End]], outs: list[list[End]],
) -> None:  # fmt: skip
    count = len(acts)
    backward = producer > 0 and rng.random() < 0.3
    others = range(producer) if backward else range(producer + 1, count)
    consumers = rng.sample(others, min(len(others), rng.choice((0, 1, 1, 1, 2, 3))))
    common = acts[producer]
    for c in consumers:
        common = gcd(common, acts[c])
    windows = rng.choice([w for w in range(1, common + 1) if common % w == 0])
    slots = rng.randint(1, 3)
    initial = rng.randint(1 if rng.random() < 0.8 else 0, slots) if backward else rng.choice((0,) * 9 + (1,))
    keep = slots == initial == 1
    control = rng.random() < 0.1
    row = b.register(f"r{len(b.registers)}", homes[producer][0], slots, initial, state=f"p{len(b.registers)}" if keep else "")
    modes = ("keep",) if keep else ("control",) if control else ("whole", "slice", "sum")
    outs[producer].append((row, acts[producer] // windows, rng.choice(modes)))
    for c in consumers:
        ins[c].append((row, acts[c] // windows, "control" if control and not keep else rng.choice(("whole", "slice"))))
    if rng.random() < 0.1:
        constant = b.register(f"c{len(b.registers)}", homes[producer][0], 1, 1)
        ins[producer].append((constant, 0, "whole"))


def _random_order(rng: random.Random, b: PlanBuilder, seed: int) -> Plan:
    free = b.plan()
    kind = rng.random()
    if kind < 0.25:
        return free
    if kind < 0.8:
        found = play(free, seed=seed)
        if found is not None:
            return b.plan(found)
    shuffled = {}
    for stream, rows in free.streams.items():
        acts = [row for row in rows for _ in range(free.actors[row].acts)]
        rng.shuffle(acts)
        shuffled[stream] = tuple(acts)
    return b.plan(shuffled)
