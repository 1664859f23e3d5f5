"""What `oflow explain` says about a program: boxings, the assignment of layouts found, automatic choices of layouts and schedule."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from oflow import view
from oflow.boxings import folded
from oflow.cli.files import Given
from oflow.compiler import ParameterChoice, ScheduleChoice
from oflow.graph import Assignment, Graph, Recomputed


def layouts_text(given: Given) -> str:
    """The table of boxings, how the layouts were found and, where they are automatic, why each parameter is where it is."""
    assignment, choices = _assignment(given), _choices(given)
    found = f"layouts: {assignment}\n" if assignment else ""
    chosen = "".join(f"  {one}\n" for one in choices)
    chosen += "".join(f"  {one}\n" for one in _schedules(given))
    again = _recomputed(given)
    return f"{view.boxings(given.program.boxings())}\n{found}{chosen}{view.recomputed(again) if again else ''}"


def layout_facts(given: Given) -> dict[str, Any]:
    """The same as plain data; nothing for a file without a logical graph."""
    if given.graph is None:
        return {}
    assignment = _assignment(given)
    return {
        "boxings": [one.facts() for one in folded(given.program.boxings())],
        "assignment": asdict(assignment) if assignment else None,
        "recomputed": [asdict(one) for one in _recomputed(given)],
        "parameters": [_choice_facts(one) for one in _choices(given)],
        "schedules": [asdict(one) | {"period": None if one.refused else one.period} for one in _schedules(given)],
    }


def _assignment(given: Given) -> Assignment | None:
    inferred = given.program.passes.get("infer_sbp")
    return inferred.assignment if isinstance(inferred, Graph) else None


def _choices(given: Given) -> list[ParameterChoice]:
    return list(given.program.parameter_choices()) if given.program.given.layout == "auto" else []


def _schedules(given: Given) -> list[ScheduleChoice]:
    return list(given.program.schedule_choices()) if given.program.given.schedule == "auto" else []


def _recomputed(given: Given) -> tuple[Recomputed, ...]:
    found: tuple[Recomputed, ...] = given.program.recomputed()
    return found


def _choice_facts(one: ParameterChoice) -> dict[str, Any]:
    second = {"layout": str(one.second), "seconds": one.second_seconds} if one.second else None
    return {"names": list(one.names), "layout": str(one.layout), "nbytes": one.nbytes, "seconds": one.seconds, "second": second}
