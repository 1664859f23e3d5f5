"""The changes between two plans as data: seconds, bytes, options, boxings, actors, registers, orders. Rows are matched by `matching`.

Actors and registers are those of templates: one for all devices that run the same. Seconds are predicted for each plan's own machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from oflow.boxings import Boxing, folded
from oflow.check.report import report
from oflow.errors import OflowError
from oflow.plan import Plan, encoded
from oflow.view.changes.change import Change, Field, Named, PlanChanges, change_of, changed
from oflow.view.changes.matching import CONTROL, Place, aligned_pairs, matched_actors, matched_registers, unnumbered
from oflow.view.changes.rows import detail_changes, named_actor, named_register, order_changes, row_changes
from oflow.view.style import device_order, device_range


def differences(
    first: Plan, second: Plan, *, options: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
    boxings: tuple[Iterable[Boxing], Iterable[Boxing]] = ((), ()),
) -> PlanChanges:  # fmt: skip
    """What changed from the first plan to the second; that of the second to the first is its mirror image.

    options: what each was compiled with, by name; boxings: the changes of layout of each program, where there are programs.
    """
    texts = [encoded(plan) for plan in (first, second)]
    if texts[0] > texts[1]:  # alignment may depend on the direction: there is one
        return differences(second, first, options=options[::-1], boxings=boxings[::-1]).mirrored()
    given = list(_options(*options))
    if texts[0] == texts[1]:
        return PlanChanges(tuple(given))
    actors, registers = matched_actors(first, second), matched_registers(first, second)
    found = [*_seconds(first, second), *_bytes(first, second), *given, *_plan(first, second)]
    found += _boxings(*(list(folded(one)) for one in boxings))
    found += row_changes("actors", first, second, actors, named_actor)
    found += row_changes("registers", first, second, registers, named_register)
    found += [*order_changes(first, second, actors), *detail_changes(first, second, actors, registers)]
    return PlanChanges(tuple(found or [_raw(first, second)]))


def _raw(first: Plan, second: Plan) -> Change:
    """Plans that differ in nothing that was looked at: the parts of their data that do."""
    names = [f.name for f in fields(Plan) if getattr(first, f.name) != getattr(second, f.name)]
    return Change("details", f"data: {', '.join(names)}", "changed", (Field("differ in", len(names), len(names)),))


# ---------------------------------------------------------------- the whole plan


def _seconds(first: Plan, second: Plan) -> Iterator[Change]:
    before, after = _report(first), _report(second)
    for name in dict.fromkeys((*before, *after)):
        a, b = before.get(name), after.get(name)
        if a != b:
            unit = "share" if name == "utilisation" else "seconds"
            yield Change("seconds", name, "changed", (Field(name, a, b, unit),))


def _report(plan: Plan) -> dict[str, Any]:
    """See `oflow.check.report`; shares as seconds. Of a plan that cannot run, why."""
    try:
        found = report(plan)
    except OflowError as e:
        return {"period": f"refused: {str(e).splitlines()[0]}"}
    parts = {"computing": found.computing, "exposed communication": found.exposed, "bubble": found.bubble}
    seconds = {"period": found.period, **{name: share * found.period for name, share in parts.items()}}
    return {name: float(f"{n:.9g}") for name, n in seconds.items()} | ({"utilisation": found.utilisation} if found.model_flops else {})


def _bytes(first: Plan, second: Plan) -> Iterator[Change]:
    """Devices whose bytes changed alike are one."""
    received = [_received(plan) for plan in (first, second)]
    alike: dict[tuple[Field, ...], list[str]] = {}
    for device in sorted({*first.devices, *second.devices}, key=device_order):
        sides = []
        for plan, moved in zip((first, second), received, strict=True):
            held = {"arena": plan.arenas.get(device, 0), "state": plan.states.get(device, 0), "received a step": moved.get(device, 0)}
            sides.append({name: ("bytes", n) for name, n in held.items()} if device in plan.devices else {})
        if found := changed(*sides):
            alike.setdefault(found, []).append(device)
    for found, devices in alike.items():
        here = [any(field is not None for field in side) for side in zip(*((f.before, f.after) for f in found), strict=True)]
        yield Change("bytes", device_range(devices), "added" if not here[0] else "changed" if here[1] else "removed", found)


def _received(plan: Plan) -> dict[str, int]:
    """Bytes that each device receives from others, a step."""
    found: dict[str, float] = {}
    for actor in plan.actor_templates:
        devices = plan.rank_table[actor.group]
        moved = [actor.acts * sum(nbytes for _, nbytes in cost.received) for cost in actor.costs]
        if any(moved):
            for rank, device in enumerate(devices):
                found[device] = found.get(device, 0) + moved[rank if len(moved) > 1 else 0]
    return {device: round(nbytes) for device, nbytes in found.items()}


def _options(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*first, *second}):
        if first.get(name) != second.get(name):
            yield Change("options", name, "changed", (Field(name, first.get(name), second.get(name)),))


def _plan(first: Plan, second: Plan) -> Iterator[Change]:
    before, after = _whole(first), _whole(second)
    for name in before:
        if before[name] != after[name]:
            yield Change("plan", name, "changed", (Field(name, before[name], after[name]),))


def _whole(plan: Plan) -> dict[str, Any]:
    control = sum(r.name.startswith(CONTROL) for r in plan.register_templates)
    return {
        "devices": device_range(plan.devices), "micro-batches": plan.micro_batches, "schedule": plan.schedule,
        "machine": plan.machine.name, "model flops": plan.model_flops, "actors": plan.actor_bases[-1],
        "actors by role": len(plan.actor_templates), "registers by role": len(plan.register_templates) - control,
        "control registers by role": control,
        "acts a step": sum(a.acts * len(plan.rank_table[a.group]) for a in plan.actor_templates),
        "inputs": len(plan.inputs), "outputs": ", ".join(name for name, _ in plan.outputs), "format": plan.version,
    }  # fmt: skip


def _boxings(first: Sequence[Boxing], second: Sequence[Boxing]) -> Iterator[Change]:
    rows: list[list[tuple[int, Place]]] = [
        [(i, ((one.stage, one.phase), ((unnumbered(one.name), one.why), str(one.type)))) for i, one in enumerate(some)]
        for some in (first, second)
    ]
    for a, b in aligned_pairs(rows):
        yield from change_of("boxings", None if a is None else _boxing(first[a]), None if b is None else _boxing(second[b]))


def _boxing(one: Boxing) -> Named:
    name = f"{one.name} {one.type}, {one.phase}" + (f" of stage {one.stage}" if one.stage is not None else "")
    return name, {
        "route": ("", one.route), "bytes": ("bytes", one.nbytes), "seconds": ("seconds", float(f"{one.seconds:.9g}")),
        "times": ("", one.times), "count": ("", one.count), "because": ("", one.why),
    }  # fmt: skip
