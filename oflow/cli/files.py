"""What a command is given: a ``.py`` program, a ``.json`` or ``.safetensors`` plan or a ``.csv`` schedule, and key=value options."""

from __future__ import annotations

import importlib.util
import inspect
import json
import math
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from oflow.backends.compiled import from_arrays
from oflow.check import load
from oflow.compiler.schedules.plan import schedule_plan
from oflow.errors import PlanError
from oflow.graph import Graph
from oflow.live import phase
from oflow.plan import Plan
from oflow.schedule import Listing, Schedule, Times, read_csv

Options = dict[str, Any]


class UsageError(Exception):
    """The command was called in a way it does not understand (exit code 2)."""


@dataclass(frozen=True)
class Given:
    """A loaded FILE. `program` and `module` of a .py file, `schedule` of a .csv file; every kind has a `plan`."""

    path: Path
    plan: Plan
    options: Options
    program: Any = None
    module: ModuleType | None = None
    schedule: Schedule | None = None

    @property
    def graph(self) -> Graph | None:
        found = getattr(self.program, "graph", None)
        return found if isinstance(found, Graph) else None

    def function(self, name: str) -> Callable[..., Any] | None:
        """A function that the .py file defines, or None."""
        return getattr(self.module, name, None)

    def call(self, name: str) -> Any:
        """Call a function of the file with the options that it takes. Raises UsageError where there is none."""
        function = self.function(name)
        if function is None:
            raise UsageError(f"{self.path} does not define {name}(...)")
        return function(**taken(function, self.options))


@contextmanager
def opened(path: str, options: Options) -> Iterator[Given]:
    """Load FILE; its folder is on sys.path meanwhile. A program is closed at the end."""
    file = Path(path)
    if file.suffix not in (".py", ".json", ".safetensors", ".csv"):
        raise UsageError(f"{path}: a FILE is a .py program, a .json or .safetensors plan or a .csv schedule")
    if not file.is_file():
        raise UsageError(f"there is no file {path}")
    if file.suffix == ".py":
        with _program(file, options) as given:
            yield given
    elif file.suffix == ".json":
        check_known(options, (), str(file))
        yield Given(file, _plan(file), options)
    elif file.suffix == ".safetensors":
        check_known(options, (), str(file))
        yield Given(file, from_arrays(file), options)
    else:
        yield _schedule(file, options)


def _plan(file: Path) -> Plan:
    """Raises PlanError, with the file's name, for what is no plan or has another's certificate, and what `check` finds."""
    try:
        return load(file.read_bytes())
    except PlanError as e:
        if type(e) is not PlanError:
            raise  # a plan, which hangs or does not fit
        named = PlanError(f"{file}: {e}")
        named.facts = e.facts
        raise named from e


def read_schedule(file: Path) -> Listing:
    """Raises PlanError for what is no text, and as `oflow.schedule.read_csv` does."""
    content = file.read_bytes()
    coding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return read_csv(content.decode(coding), file.stem)
    except UnicodeDecodeError as e:
        raise PlanError(f"{file} is no text file: {e}; save the schedule as CSV (UTF-8)") from e


def times_of(options: Options) -> Times:
    """F, I, W and comm in seconds: one number, or stage by stage (``F=1,1.5``; comm: forward and backward). B is I + W; where it is
    given alone, its halves are equal."""
    given = {name: _seconds(name, value) for name, value in options.items()}
    if "B" in given:
        given |= _halves(given)
    f, i, w = (given[name] if len(given.get(name, ())) > 1 else given.get(name, (1.0,))[0] for name in "FIW")
    comm = given.get("comm", (0.0,))
    if len(comm) > 2:
        raise UsageError(f"comm={options['comm']}: give one number, or one forward and one backward")
    return Times(f, i, w, (comm[0], comm[-1]))


def _seconds(name: str, value: Any) -> tuple[float, ...]:
    parts = [_value(part) for part in value.split(",")] if isinstance(value, str) else [value]
    found = tuple(float(x) for x in parts if isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < math.inf)
    if len(found) < len(parts):
        raise UsageError(f"{name}={value} is no number of seconds")
    return found


def _halves(given: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    """I and W of a whole backward B."""
    if any(len(given.get(name, ())) > 1 for name in "BIW"):
        raise UsageError("B is one number for all stages, I + W; give I and W stage by stage instead")
    whole = given["B"][0]
    first = given["I"][0] if "I" in given else whole - given["W"][0] if "W" in given else whole / 2
    second = given["W"][0] if "W" in given else whole - first
    if abs(first + second - whole) > 1e-9 * whole or min(first, second) < 0:
        raise UsageError(f"B={whole:g} is a whole backward, I + W; leave it out or let them add up")
    return {"I": (first,), "W": (second,)}


def _schedule(file: Path, options: Options) -> Given:
    check_known(options, ("F", "B", "I", "W", "comm"), f"{file} (seconds of an action)")
    times = times_of(options)
    schedule = read_schedule(file).schedule
    return Given(file, schedule_plan(schedule, times), options, schedule=schedule)


@contextmanager
def _program(file: Path, options: Options) -> Iterator[Given]:
    name, folder = f"oflow_file_{file.stem}", str(file.resolve().parent)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.path.insert(0, folder)
    sys.modules[name] = module
    program = None
    try:
        spec.loader.exec_module(module)
        functions = [f for f in (getattr(module, n, None) for n in ("build", "batches")) if f is not None]
        if not hasattr(module, "build"):
            raise UsageError(f"{file} does not define build(**options) -> of.Program")
        check_accepted(functions, options, str(file))
        with phase(f"build {file.name}"):
            program = module.build(**taken(module.build, options))
        yield Given(file, program.plan, options, program, module)
    finally:
        if program is not None:
            program.close()
        sys.path.remove(folder)
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before


# ---------------------------------------------------------------- options


def parse_words(words: list[str]) -> tuple[list[str], Options]:
    """Split plain words from key=value options, whose values become bool, None, int, float or str."""
    plain = [word for word in words if "=" not in word]
    options: Options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals and not key:
            raise UsageError(f"{word!r} is no option; write key=value")
        if equals:
            options[key] = _value(value)
    return plain, options


def _value(text: str) -> bool | int | float | str | None:
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def named(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of `function` that an option can set."""
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {name: p for name, p in inspect.signature(function).parameters.items() if p.kind in kinds}


def _takes_all(function: Callable[..., Any]) -> str:
    """The name of its ``**options``, or an empty string."""
    parameters = inspect.signature(function).parameters.values()
    return next((p.name for p in parameters if p.kind == inspect.Parameter.VAR_KEYWORD), "")


def taken(function: Callable[..., Any], options: Mapping[str, Any]) -> Options:
    """The options that `function` takes by name, or all where it takes ``**options``."""
    return dict(options) if _takes_all(function) else {k: v for k, v in options.items() if k in named(function)}


def check_accepted(functions: list[Callable[..., Any]], options: Options, where: str) -> None:
    """Raises UsageError for an option that no function names, unless one really takes any (``**_`` only ignores the rest)."""
    known = {name: p for function in functions for name, p in named(function).items()}
    if not any(_takes_all(function).strip("_") for function in functions):
        shown = [name if p.default is p.empty else f"{name}={p.default}" for name, p in known.items()]
        check_known(options, tuple(known), where, shown)
    for function in functions:
        missing = [n for n, p in named(function).items() if p.default is p.empty and n not in options]
        if missing:
            raise UsageError(f"{where}: {function.__name__} needs {', '.join(f'{n}=...' for n in missing)}")


def check_known(options: Options, known: tuple[str, ...], where: str, shown: list[str] | None = None) -> None:
    """Raises UsageError, listing what there is, for an option that is not in `known`."""
    for name in options:
        if name not in known:
            listed = ", ".join(shown or known)
            raise UsageError(f"{where} has no option {name!r}; " + (f"it takes {listed}" if listed else "it takes none"))


def no_words(command: str, words: list[str]) -> None:
    if words:
        raise UsageError(f"{command} does not know what {words[0]!r} means; options are key=value")


# ---------------------------------------------------------------- results


def write(path: str, text: str) -> None:
    """In UTF-8 on every machine: pictures have letters beyond ASCII."""
    Path(path).write_text(text, encoding="utf-8")


def output(args: Namespace, made: str) -> None:
    """Write a result to the file of ``-o`` and say so, or print it."""
    if not args.output:
        print(made, end="" if made.endswith("\n") else "\n")
        return
    write(args.output, made)
    told = {"file": args.output, "nbytes": len(made.encode())}
    print(json.dumps(told) if args.json else f"wrote {args.output}")
