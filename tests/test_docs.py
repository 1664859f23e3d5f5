"""docs/operators.md says what the registry holds."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def test_the_list_of_operators_is_up_to_date(request: pytest.FixtureRequest) -> None:
    made = runpy.run_path(str(DOCS / "make_operators.py"))
    file: Path = made["FILE"]
    if request.config.getoption("--update-golden"):
        file.write_text(made["page"](), encoding="utf-8")
    assert file.read_text(encoding="utf-8") == made["page"](), "run python docs/make_operators.py, or pytest --update-golden"
