"""What the site shows of the code, made from the code: a line ``<!-- made: WORD arguments -->`` of a page becomes what WORD's maker makes.

A maker is a pure function of words that returns Markdown. On a plain git forge the line is invisible, and the page reads without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _ext import command_line, docstrings, mistakes, parallelism, passes, pictures, programs, reference, tour

Maker = Callable[..., str]

MAKERS: dict[str, Maker] = {
    "tour": tour.cells,
    "program": parallelism.program,
    "losses": parallelism.losses,
    "graph": parallelism.graph,
    "plan": parallelism.plan,
    "boxings": parallelism.boxings,
    "memory": parallelism.memory,
    "timeline": parallelism.timeline,
    "timeline_alone": parallelism.timeline_alone,
    "schedule": parallelism.schedule,
    "compared": parallelism.compared,
    "change": parallelism.change,
    "passes": passes.sections,
    "mistakes": mistakes.sections,
    "command_line": command_line.pages,
    "reference": reference.page,
}
MADE = re.compile(r"^<!-- made: (\w+)((?: \S+)*) -->$", re.MULTILINE)


def expanded(text: str) -> str:
    """A page with what its lines ask for."""
    return MADE.sub(lambda line: MAKERS[line[1]](*line[2].split()), text)


def setup(app: Any) -> dict[str, bool]:
    def read(_: Any, name: str, source: list[str]) -> None:
        source[0] = expanded(source[0])

    def begin(_: Any) -> None:
        static = Path(app.outdir) / "_static"
        static.mkdir(parents=True, exist_ok=True)
        (static / "pictures.css").write_text(pictures.css(), encoding="utf-8")

    def outdated(_: Any, env: Any, *changed: set[str]) -> list[str]:
        return sorted(env.found_docs)  # any change of the code may show on any page

    def finish(_: Any, failed: Exception | None) -> None:
        reports = Path(app.outdir) / "reports"
        reports.mkdir(exist_ok=True)
        for name in programs.names() if failed is None else ():
            (reports / f"{name}.html").write_text(programs.report(name), encoding="utf-8")

    app.connect("build-finished", finish)
    app.connect("builder-inited", begin)
    app.connect("env-get-outdated", outdated)
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", docstrings.process)
    app.connect("autodoc-process-signature", docstrings.signature)
    app.add_css_file("pictures.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
