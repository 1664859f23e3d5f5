"""explain and check: commands that read a plan and allocate nothing."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from oflow import view
from oflow.check import Proof, to_json
from oflow.check import check as prove
from oflow.cli.files import Given, Options, UsageError, no_words, opened
from oflow.cli.layouts import layout_facts, layouts_text
from oflow.cli.passes import explain_pass
from oflow.cli.questions import KINDS, explain_one
from oflow.cli.schedules import check_schedule
from oflow.cli.slots import explain_period, explain_slots
from oflow.graph import Graph
from oflow.plan import Plan

QUESTIONS = {"slots": explain_slots, "period": explain_period}
"""Words that `explain` answers instead of showing the plan."""


def proof_facts(proof: Proof) -> dict[str, Any]:
    """A proof as plain data."""
    return {
        "deadlock_free": proof.deadlock_free, "acts": proof.acts, "period_seconds": proof.period, "bound": proof.bound,
        "critical_cycle": list(proof.critical_cycle), "arena_nbytes": proof.arenas, "state_nbytes": proof.states,
        "busy_seconds": proof.busy,
    }  # fmt: skip


def explain(args: Namespace, words: list[str], options: Options) -> None:
    """Print the graph or plan after a pass, or the plan, its boxings and its proof; ``boxings`` leaves out the plan, ``slots`` and
    ``period`` say what slots could be and what would make it faster; ``tensor NAME``, ``actor NAME`` and
    ``register NAME`` say all about one."""
    if args.diff and args.after is None:
        raise UsageError("--diff shows what a pass changed; name it: --after PASS --diff")
    if len(words) == 1 and words[0] in QUESTIONS:
        QUESTIONS[words[0]](args.file, options, args.json)
        return
    if words[:1] and words[0] in KINDS:
        explain_one(args.file, words, options, args.json)
        return
    alone = words[:1] == ["boxings"]
    no_words("explain", words[alone:])
    with opened(args.file, options) as given:
        if alone:
            _explain_layouts(given, args.json)
            return
        if args.after is None:
            _explain_all(given, args.json)
            return
        thing = _after(given, args.after)
        if args.diff:
            explain_pass(given.program.passes, args.after, args.json)
            return
        kind = "graph" if isinstance(thing, Graph) else "plan"
        content = json.loads(to_json(thing)) if isinstance(thing, Plan) else view.text(thing)
        print(json.dumps({"after": args.after, kind: content}) if args.json else view.text(thing), end="\n" if args.json else "")


def _explain_all(given: Given, as_json: bool) -> None:
    proof = prove(given.plan)
    if as_json:
        print(json.dumps({"plan": json.loads(to_json(given.plan)), **layout_facts(given), "proof": proof_facts(proof)}))
        return
    grid = view.text(given.schedule) + "\n" if given.schedule else ""
    layouts = f"{layouts_text(given)}\n" if given.graph is not None else ""
    print(f"{grid}{view.text(given.plan)}\n{layouts}{proof}")


def _explain_layouts(given: Given, as_json: bool) -> None:
    if given.graph is None:
        raise UsageError(f"{given.path} has no logical graph, so nobody knows why its plan moves what it moves; give the .py file")
    print(json.dumps(layout_facts(given)) if as_json else layouts_text(given), end="\n" if as_json else "")


def _after(given: Given, name: str) -> Graph | Plan:
    passes: dict[str, Graph | Plan] = getattr(given.program, "passes", None) or {}
    if not passes:
        raise UsageError(f"--after is for .py files; {given.path} holds a finished plan")
    if name not in passes:
        raise UsageError(f"there is no pass {name!r}; there are {', '.join(passes)}")
    return passes[name]


def check(args: Namespace, words: list[str], options: Options) -> None:
    """Print the proof. A refused plan raises PlanError, DeadlockError or OutOfMemory."""
    no_words("check", words)
    if Path(args.file).suffix == ".csv" and Path(args.file).is_file():
        check_schedule(args, options)
        return
    with opened(args.file, options) as given:
        proof = prove(given.plan)
        print(json.dumps(proof_facts(proof)) if args.json else proof)
