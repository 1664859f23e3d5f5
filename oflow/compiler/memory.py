"""memory: offsets for every slot, ahead of time, and control registers for every ordering that the reuse of bytes relies on.

Devices that hold the same registers share one layout. Registers whose actors all run on the device may share bytes when their
lifetimes in the played step are disjoint; where the streams' own order does not already imply it, a 0-byte control register
from the last readers to the next writer makes it so, with an initial token where it wraps over a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from oflow.check import ActGraph, Steady, act_graph, fold, play, steady
from oflow.check.acts import SLOT
from oflow.compiler.expand import column
from oflow.compiler.options import Options
from oflow.compiler.order import played_templates
from oflow.compiler.packing import MODEST, Buffer, load, pack, peak, successions
from oflow.compiler.stage_times import COMPUTE
from oflow.plan import ActorTemplate, Plan, PortTemplate, RegisterTemplate, scratch_nbytes
from oflow.types import TensorType

SLOWER = 0.01
TRIALS = 6
"""Layouts across streams that are tried: what the critical cycle waits for gets bytes of its own, one after the other."""
TIMED_ACTS = 12_000_000
"""Acts, of one device a role, that are timed at most: larger steps have fewer trials, or share within the compute stream only."""
CONTROL = TensorType((0,), "uint8")


@dataclass(frozen=True, slots=True)
class _Life:
    """A register's place in the step: `first` and `last` act that touch it, who writes and who reads it last."""

    first: int
    last: int
    writer: int
    readers: tuple[int, ...]
    streams: frozenset[str]


def memory(plan: Plan, options: Options) -> Plan:
    """The smallest layout that costs no speed: sharing across streams where its control registers leave the period as it is
    (within 1 %), if need be for all but registers that the critical cycle would wait for, else sharing within the compute stream
    only, whose order implies all it needs."""
    order = played_templates(plan, options.machine)
    lives = _lives(plan, order)
    one_stream = {row: life for row, life in lives.items() if life.streams == {COMPUTE}}
    if one_stream == lives:
        return _lay_out(plan, lives, len(order))
    within = _lay_out(plan, one_stream, len(order))
    across = _settled(plan, options, _lay_out(plan, lives, len(order)))
    if across.actor_templates == within.actor_templates:
        return across
    # within one stream nothing needs a control register: that costs no speed
    # where the stash is sent away its bytes are wanted, even where a late copy then holds up the work
    if options.offload == "all" or options.offloaded:
        return across
    longest: float | None = None
    for _ in range(min(TRIALS, TIMED_ACTS // len(order))):
        graph, found = _timed(across)
        held = _held_up(plan, graph, found)
        if held and longest is None:
            longest = float(steady(_without_controls(graph, len(plan.register_templates))).period) * (1 + SLOWER)
        # a critical cycle without control registers is one of the plan as it was, too
        if longest is None or found.period <= longest:
            return min(across, within, key=lambda made: sum(made.arenas.values()))
        lives = {row: life for row, life in lives.items() if life.streams == {COMPUTE} or life.writer not in held}
        across = _lay_out(plan, lives, len(order))
    return within


def _held_up(plan: Plan, graph: ActGraph, found: Steady) -> set[int]:
    """Actor templates that a control register holds up on the critical cycle: what they write had better have bytes of its own."""
    made = graph.plan
    rows = {graph.reason(arc).row for arc in found.cycle} - {-1}
    controls = {row for row in map(made.register_template_of, rows) if row >= len(plan.register_templates)}
    return {
        number
        for number, actor in enumerate(made.actor_templates)
        if any(port.register in controls and port.direction == "in" for port in actor.ports)
    }


def _settled(plan: Plan, options: Options, made: Plan) -> Plan:
    """Control registers change the step, and what lives together in it: lay out again for the step as it then is, while that saves."""
    while True:
        order = played_templates(made, options.machine)
        again = _lay_out(plan, _lives(plan, order), len(order))
        if sum(again.arenas.values()) >= sum(made.arenas.values()):
            return made
        made = again


def loads(plan: Plan) -> dict[str, int]:
    """The lower bound of each device's arena: the largest sum of bytes that live at once in the step as the plan's machine plays it.

    A register lives, with all its slots, from the first act that writes it to the end of the last that reads it; for the whole step where
    its bytes cannot be shared (initial tokens, read by other ranks, written by nobody). Scratch lives for the whole step.
    """
    order = played_templates(fold(plan).plan, plan.machine)
    lives = _lives(plan, order)
    found = {}
    for devices, rows in _device_classes(plan).items():
        arena = [r for r in rows if plan.register_templates[r].region == "arena"]
        most = load([_buffer(plan, r, lives, devices, len(order)) for r in arena])
        found.update(dict.fromkeys(devices, most))
    for stream, (_, nbytes) in plan.scratches.items():
        found[stream.partition("/")[0]] += nbytes
    return found


def _timed(plan: Plan) -> tuple[ActGraph, Steady]:
    graph = act_graph(plan, play(plan))
    return graph, steady(graph)


def _without_controls(graph: ActGraph, first: int) -> ActGraph:
    """The graph without what control registers, of templates `first` and on, make acts wait for."""
    kept = (graph.kinds > SLOT) | (graph.refs < graph.plan.register_bases[first])
    columns = ("sources", "targets", "waiters", "distances", "kinds", "refs")
    return replace(graph, **{name: getattr(graph, name)[kept] for name in columns})


def _lay_out(plan: Plan, lives: dict[int, _Life], length: int) -> Plan:
    """Offsets for all registers; those in `lives` may share bytes."""
    offsets: dict[int, dict[str, int]] = {}
    arenas: dict[str, int] = {}
    states: dict[str, int] = {}
    controls: set[tuple[int, int, int]] = set()
    for devices, rows in _device_classes(plan).items():
        rings = _rings(plan, rows)
        arena = [r for r in rows if plan.register_templates[r].region == "arena" and not plan.register_templates[r].ring]
        state = [r for r in rows if plan.register_templates[r].region == "state"]
        buffers = [_buffer(plan, r, lives, devices, length) for r in arena]
        buffers += [(0, length + 1, nbytes) for _, nbytes in rings]
        placed = pack(buffers, MODEST)
        controls |= _controls(plan, arena, buffers, placed, lives)
        for (members, _), start in zip(rings, placed[len(arena) :], strict=True):
            for r in members:
                offsets.setdefault(r, {}).update(dict.fromkeys(devices, start + plan.register_templates[r].offsets[0]))
        top = 0
        for r in state:
            offsets.setdefault(r, {}).update(dict.fromkeys(devices, top))
            top += _nbytes(plan.register_templates[r])
        for r, offset in zip(arena, placed, strict=False):
            offsets.setdefault(r, {}).update(dict.fromkeys(devices, offset))
        arenas.update(dict.fromkeys(devices, peak(buffers, placed)))
        states.update(dict.fromkeys(devices, top))
    scratches = _scratches(plan, arenas)
    registers = tuple(
        replace(template, offsets=column([offsets[row][d] for d in plan.rank_table[template.group]]))
        for row, template in enumerate(plan.register_templates)
    )
    return _with_controls(
        replace(plan, register_templates=registers, arenas=arenas, states=states, scratches=scratches), sorted(controls)
    )


def _rings(plan: Plan, rows: list[int]) -> list[tuple[list[int], int]]:
    """Registers that lie in one ring, and its bytes; their offsets in it are set, and who waits for whom."""
    found: dict[str, list[int]] = {}
    for r in rows:
        if plan.register_templates[r].ring:
            found.setdefault(plan.register_templates[r].ring, []).append(r)
    templates = plan.register_templates
    return [(members, max(templates[r].offsets[0] + _nbytes(templates[r]) for r in members)) for members in found.values()]


def _nbytes(template: RegisterTemplate) -> int:
    return template.slots * template.slot_nbytes


def _device_classes(plan: Plan) -> dict[tuple[str, ...], list[int]]:
    """Devices that hold the same register templates, with these templates."""
    held: dict[str, list[int]] = {device: [] for device in plan.devices}
    for row, template in enumerate(plan.register_templates):
        for device in plan.rank_table[template.group]:
            held[device].append(row)
    classes: dict[tuple[int, ...], list[str]] = {}
    for device, rows in held.items():
        classes.setdefault(tuple(rows), []).append(device)
    return {tuple(devices): list(rows) for rows, devices in classes.items()}


def _lives(plan: Plan, order: np.ndarray) -> dict[int, _Life]:
    """Lifetimes of the registers whose bytes may be shared: empty between steps, used by their own device's actors only."""
    first, last = _ends(order), {template: len(order) - 1 - at for template, at in _ends(order[::-1]).items()}
    users: dict[int, list[tuple[int, PortTemplate]]] = {}
    for number, actor in enumerate(plan.actor_templates):
        for port in actor.ports:
            users.setdefault(port.register, []).append((number, port))
    found: dict[int, _Life] = {}
    for row, uses in users.items():
        register = plan.register_templates[row]
        writers = [number for number, port in uses if port.direction == "out"]
        private = all(not p.peers and plan.actor_templates[n].group == register.group for n, p in uses)
        if private and writers and not register.initial and not plan.rank_table[register.group][0].startswith("host:"):
            touched = [number for number, _ in uses]
            readers = tuple(n for n in touched if n != writers[0]) or (writers[0],)
            streams = frozenset(_stream(plan, n) for n in touched)
            found[row] = _Life(first[writers[0]], max(last[n] for n in touched), writers[0], readers, streams)
    return found


def _ends(order: np.ndarray) -> dict[int, int]:
    """Where each number stands first."""
    numbers, places = np.unique(order, return_index=True)
    return dict(zip(numbers.tolist(), places.tolist(), strict=True))


def _buffer(plan: Plan, row: int, lives: dict[int, _Life], devices: tuple[str, ...], length: int) -> Buffer:
    template = plan.register_templates[row]
    life = lives.get(row)
    if life is None or plan.rank_table[template.group] != devices:
        return (0, length + 1, _nbytes(template))
    return (life.first, life.last + 1, _nbytes(template))


def _controls(
    plan: Plan, rows: list[int], buffers: list[Buffer], offsets: list[int], lives: dict[int, _Life]
) -> set[tuple[int, int, int]]:
    """(reader, writer, initial tokens) where bytes pass from one register to the next and no stream's order implies it.

    Who has the bytes later waits through those between: each one's writer comes before its readers.
    """
    needed = set()
    for i, j, wraps in successions(buffers, offsets):
        before, after = lives[rows[i]], lives[rows[j]]
        needed |= {(reader, after.writer, int(wraps)) for reader in before.readers}
    return {(u, w, initial) for u, w, initial in needed if _stream(plan, u) != _stream(plan, w)}


def _stream(plan: Plan, number: int) -> str:
    return plan.actor_templates[number].stream


def _scratches(plan: Plan, arenas: dict[str, int]) -> dict[str, tuple[int, int]]:
    """One scratch region a stream behind the registers, as large as its hungriest actor needs; `arenas` grows by them."""
    found = {}
    for stream, nbytes in sorted(scratch_nbytes(plan).items()):
        device = stream.partition("/")[0]
        if nbytes:
            found[stream] = (arenas[device], nbytes)
            arenas[device] += nbytes
    return found


def _with_controls(plan: Plan, controls: list[tuple[int, int, int]]) -> Plan:
    actors: list[ActorTemplate] = list(plan.actor_templates)
    registers: list[RegisterTemplate] = list(plan.register_templates)
    for reader, writer, initial in controls:
        row = len(registers)
        name = f"control.{actors[reader].name}>{actors[writer].name}"
        registers.append(RegisterTemplate(name, actors[reader].group, (CONTROL,), initial=initial))
        for number, direction in ((reader, "out"), (writer, "in")):
            port = PortTemplate(row, direction, every=actors[number].acts, mode="control")
            actors[number] = replace(actors[number], ports=(*actors[number].ports, port))
    return replace(plan, actor_templates=tuple(actors), register_templates=tuple(registers))
