"""diff: what changed between two plans, in bytes, in seconds and in structure."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from dataclasses import fields
from typing import Any

from oflow.boxings import Boxing
from oflow.cli.files import Given, Options, UsageError, opened
from oflow.plan import Plan
from oflow.view.changes import changes_text, differences


def diff(args: Namespace, words: list[str], options: Options) -> int:
    """Compare FILE with a second file. Options go to both; ``a.key=value`` to the first alone, ``b.key=value`` to the second.

    Returns the exit code: 0, or with ``--exit-code`` 1 where the plans differ.
    """
    if len(words) != 1:
        raise UsageError("diff needs two files: oflow diff A B [key=value ...]; A and B may be one .py file with a.key=... and b.key=...")
    with opened(args.file, _of(options, "a")) as given:
        first = _side(given)
    with opened(words[0], _of(options, "b")) as given:
        second = _side(given)
    found = differences(first[0], second[0], options=(first[1], second[1]), boxings=(first[2], second[2]))
    print(json.dumps({"equal": not found, **found.facts()}) if args.json else changes_text(found, args.all), end="\n" if args.json else "")
    return int(args.exit_code and bool(found))


def _of(options: Options, side: str) -> Options:
    common = {k: v for k, v in options.items() if not k.startswith(("a.", "b."))}
    return common | {k[2:]: v for k, v in options.items() if k.startswith(f"{side}.")}


def _side(given: Given) -> tuple[Plan, dict[str, Any], tuple[Boxing, ...]]:
    """The plan, what it was compiled with, and its boxings where the file is a program."""
    if given.graph is None:
        return given.plan, {}, ()
    asked = given.program.given
    told = {f.name: getattr(asked, f.name) for f in fields(asked) if f.name not in ("machine", "planner")}
    return given.plan, {name: _plain(value) for name, value in told.items()}, given.program.boxings()


def _plain(value: Any) -> Any:
    """An option as JSON has it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return re.sub(r" at 0x[0-9a-f]+", "", str(sorted(value) if isinstance(value, frozenset) else value))
