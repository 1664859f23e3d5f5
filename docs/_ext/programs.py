"""The programs of docs/parallelism, and what compiling and running them gives."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import oflow as of

DOCS = Path(__file__).parent.parent
FOLDER = DOCS / "parallelism"
STEPS = 20


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def text(name: str) -> str:
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


@cache
def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@cache
def compiled(name: str, **options: Any) -> of.Program:
    made: of.Program = module(name).build(**options)
    return made


def report(name: str) -> str:
    """The program's report, a page of its own."""
    step = compiled(name)
    return of.view.html(step.plan, graph=step.graph, boxings=step.boxings(), title=name, file=f"{name}.py")


@cache
def losses(name: str) -> list[float]:
    """What a fresh program's first steps return."""
    step = module(name).build()
    try:
        return [float(loss) for loss in step.stream(module(name).batches(STEPS))]
    finally:
        step.close()
