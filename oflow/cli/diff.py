"""diff: what changed between two plans, in bytes, in seconds and in structure."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from oflow.check import check as prove
from oflow.cli.files import Options, UsageError, opened
from oflow.errors import OflowError
from oflow.plan import Plan
from oflow.view.style import seconds_text

Change = tuple[Any, Any]


def diff(args: Namespace, words: list[str], options: Options) -> None:
    """Compare FILE with a second file. Options go to both; ``a.key=value`` to the first alone, ``b.key=value`` to the second."""
    if len(words) != 1:
        raise UsageError("diff needs two files: oflow diff A B [key=value ...]")
    with opened(args.file, _of(options, "a")) as given:
        first = given.plan
    with opened(words[0], _of(options, "b")) as given:
        second = given.plan
    found = differences(first, second)
    print(json.dumps(found) if args.json else _text(found))


def _of(options: Options, side: str) -> Options:
    common = {k: v for k, v in options.items() if not k.startswith(("a.", "b."))}
    return common | {k[2:]: v for k, v in options.items() if k.startswith(f"{side}.")}


def differences(first: Plan, second: Plan) -> dict[str, Any]:
    """Section -> name -> [before, after]; None where it does not exist. Empty sections are left out."""
    sections = {
        "seconds": _changed(_seconds(first), _seconds(second)),
        "arena bytes": _changed(first.arenas, second.arenas),
        "state bytes": _changed(first.states, second.states),
        "plan": _changed(_whole(first), _whole(second)),
        "actors": _changed(_actors(first), _actors(second)),
        "registers": _changed(_registers(first), _registers(second)),
        "order": _changed(_order(first), _order(second)),
    }
    return {name: {key: list(pair) for key, pair in changes.items()} for name, changes in sections.items() if changes}


def _changed(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Change]:
    names = dict.fromkeys([*first, *second])
    return {name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}


def _seconds(plan: Plan) -> dict[str, Any]:
    try:
        proof = prove(plan)
    except OflowError as e:
        return {"period": f"refused: {str(e).splitlines()[0]}"}
    return {"period": proof.period, **{f"busy {stream}": busy for stream, busy in proof.busy.items()}}


def _whole(plan: Plan) -> dict[str, Any]:
    return {
        "devices": ", ".join(plan.devices), "micro-batches": plan.micro_batches, "schedule": plan.schedule,
        "machine": plan.machine.name, "acts": sum(actor.acts for actor in plan.actors),
    }  # fmt: skip


def _actors(plan: Plan) -> dict[str, str]:
    found = {}
    for actor in plan.actors:
        calls = " ".join(call.op for call in plan.actor_templates[actor.template].calls)
        ports = ", ".join(f"{p.direction} {plan.registers[p.register].label} every {p.every} {p.mode}" for p in actor.ports)
        found[actor.label] = f"{actor.stream} stage {actor.stage} {actor.phase} x{actor.acts} [{calls}] {ports}"
    return found


def _registers(plan: Plan) -> dict[str, str]:
    return {r.label: f"{r.type} x{r.slots} {r.layout or '-'} {r.initial} initial {r.region}+{r.offset}" for r in plan.registers}


def _order(plan: Plan) -> dict[str, str]:
    return {stream: " ".join(plan.actors[row].name for row in rows) for stream, rows in plan.order.items()}


def _text(found: dict[str, Any]) -> str:
    if not found:
        return "the plans are equal"
    lines = []
    for section, changes in found.items():
        lines.append(f"{section}: {len(changes)} changed")
        lines += [_line(section, name, *pair) for name, pair in changes.items()]
    return "\n".join(lines)


def _line(section: str, name: str, before: Any, after: Any) -> str:
    if before is None or after is None:
        return f"  {'+' if before is None else '-'} {name}: {_shown(section, after if before is None else before)}"
    both_numbers = isinstance(before, int | float) and isinstance(after, int | float)
    share = f"  ({(after - before) / before:+.1%})" if both_numbers and before else ""
    return f"  {name}: {_shown(section, before)} -> {_shown(section, after)}{share}"


def _shown(section: str, value: Any) -> str:
    if section == "seconds" and isinstance(value, float):
        return seconds_text(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
