"""Docstrings become reStructuredText that means what was written."""

from __future__ import annotations

from _ext.docstrings import converted

DOC = """Run `steps` of a plan (a * b, name_).

machine: what it is timed with. steps: how many,
from 1 on.
Raises PlanError for none.

    a | b
"""


def test_what_a_line_explains_is_an_item_and_indented_lines_stay() -> None:
    assert "\n".join(converted(DOC.splitlines(), {"machine", "steps"})).splitlines() == [
        "Run `steps` of a plan (a \\* b, name\\_).",
        "",
        "",
        "* ``machine``: what it is timed with.",
        "* ``steps``: how many,",
        "  from 1 on.",
        "",
        "Raises PlanError for none.",
        "",
        "",
        ".. code-block:: default",
        "",
        "    a | b",
    ]
