"""Mistakes of the docs: each program is refused at its own line, and goes through once it is mended."""

from __future__ import annotations

import pytest
from _ext import mistakes

import oflow as of

NO_LINE = {"out_of_memory", "plan_deadlock", "plan_file", "schedule_cell", "schedule_deadlock"}
"""Mistakes in a plan, a file or a schedule, where no line of the program is to blame."""


@pytest.mark.parametrize("name", mistakes.names())
def test_the_mistake_is_named_at_its_line_and_the_fix_runs(name: str) -> None:
    wrong, right = mistakes.programs(name)
    assert wrong != right
    error = mistakes.error(name)
    assert type(error) is not of.OflowError
    assert error.line.startswith(f"{name}.py:") or name in NO_LINE, error
    mistakes.run(name, right)


def test_every_mistake_has_its_section() -> None:
    made = mistakes.sections()
    assert len(mistakes.names()) >= 12
    assert [name for name in mistakes.names() if f"### {mistakes.title(name).rstrip('.')}\n" not in made] == []
