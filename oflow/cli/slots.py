"""``oflow explain FILE slots``: how few bytes of slots do, for a period or within a limit of memory, and the curve of both.
``oflow explain FILE period``: the critical cycle and what would shorten it."""

from __future__ import annotations

import json
from collections.abc import Callable

from oflow.check import check
from oflow.cli.files import Given, Options, UsageError, opened
from oflow.compiler.least_period import least_period_of
from oflow.compiler.resize import device_nbytes, least_slots_of
from oflow.sizing import MEASURES, TOTAL, VIEWS, Sizing, TradeOff, trade_off, what_would_help
from oflow.view.period import help_facts, help_text
from oflow.view.slots import sizing_facts, sizing_text, trade_off_facts, trade_off_svg, trade_off_text

OURS = ("period", "memory", "per", "of")


def explain_slots(path: str, options: Options, as_json: bool) -> None:
    """Print slots before and after: for ``period=SECONDS``, for ``memory=BYTES`` a device, else for the plan's own period, with the
    curve; ``per=micro-batch`` looks at the steady state, ``of=fullest`` at the device that needs most."""
    asked, options = split_options(options)
    with opened(path, options) as given:
        made = _sizing(given, asked)
        curve = None if {"period", "memory"} & asked.keys() else _curve(given, asked)
    if as_json:
        print(json.dumps(sizing_facts(made) | ({"curve": trade_off_facts(curve)} if curve else {})))
        return
    print(sizing_text(made), end="")
    if made.per == "step":
        print(f"  fullest device: {device_nbytes(given.plan):,} -> {device_nbytes(made.plan):,} bytes of arena and state")
    if curve:
        print(f"\n{trade_off_text(curve)}", end="")


def split_options(options: Options) -> tuple[Options, Options]:
    """Our options, checked, and those of the file."""
    asked = {name: value for name, value in options.items() if name in OURS}
    numbers = {name: asked[name] for name in ("period", "memory") if name in asked}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise UsageError(f"{name}={value} is no {'number of seconds' if name == 'period' else 'number of bytes'}")
    if len(numbers) > 1:
        raise UsageError("give a period or a memory limit; the other one is what you are told")
    if asked.get("per", "step") not in VIEWS or ("memory" in asked and asked.get("per", "step") != "step"):
        raise UsageError(f"per={asked['per']}: slots are sized per {' or per '.join(VIEWS)}; a memory limit is for a step")
    if asked.get("of", TOTAL) not in MEASURES or ("memory" in asked and "of" in asked):
        raise UsageError(f"of={asked['of']}: slots are sized of {' or of '.join(MEASURES)} bytes; a memory limit is for the fullest device")
    return asked, {name: value for name, value in options.items() if name not in OURS}


def _sizing(given: Given, asked: Options) -> Sizing:
    if "memory" in asked:
        return least_period_of(given.plan, int(asked["memory"]))
    return least_slots_of(given.plan, asked.get("period"), *_view(asked))


def _curve(given: Given, asked: Options) -> TradeOff:
    per, of = _view(asked)
    return trade_off(given.plan, per, of=of)


def _view(asked: Options) -> tuple[str, str]:
    return str(asked.get("per", "step")), str(asked.get("of", TOTAL))


def curve(given: Given, suffix: str, asked: Options) -> str:
    """The curve of period against bytes in the form that a suffix names. Raises UsageError for one that there is not."""
    makers: dict[str, Callable[[TradeOff], str]] = {
        ".txt": trade_off_text, ".svg": trade_off_svg, ".json": lambda found: json.dumps(trade_off_facts(found)),
    }  # fmt: skip
    if suffix not in makers:
        raise UsageError(f"slots cannot be written as {suffix or 'a file without suffix'}; it can be {', '.join(sorted(makers))}")
    if asked.keys() - {"per", "of"}:
        raise UsageError("the curve shows all periods; it takes per=micro-batch and of=fullest alone")
    return makers[suffix](_curve(given, asked))


def explain_period(path: str, options: Options, as_json: bool) -> None:
    """Print the period, its critical cycle, and the changes on it that would help most."""
    with opened(path, options) as given:
        proof, found = check(given.plan), what_would_help(given.plan)
    if as_json:
        facts = {"period_seconds": proof.period, "bound": proof.bound, "critical_cycle": list(proof.critical_cycle)}
        print(json.dumps(facts | {"changes": help_facts(found)}))
        return
    print(f"{proof.period_text()}\n\n{help_text(found)}", end="")
