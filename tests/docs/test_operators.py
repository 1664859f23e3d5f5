"""docs/operators.md says what the registry holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "make_operators.py"


def test_the_list_of_operators_is_up_to_date(request: pytest.FixtureRequest) -> None:
    """In a process of its own: other tests declare operators."""
    if request.config.getoption("--update-golden"):
        subprocess.run([sys.executable, str(SCRIPT)], check=True)
    assert subprocess.run([sys.executable, str(SCRIPT), "--check"]).returncode == 0, f"run python {SCRIPT.name}, or pytest --update-golden"
