"""Every pass has an example, and does something to it."""

from __future__ import annotations

import pytest
from _ext import passes
from _ext.pass_examples import EXAMPLES

import oflow as of
from oflow.compiler import PASSES
from oflow.errors import SbpError


def test_every_pass_has_an_example() -> None:
    assert tuple(EXAMPLES) == PASSES, "a pass needs a row in docs/_ext/pass_examples.py, in the order of the table of passes"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_pass_changes_its_example(name: str) -> None:
    assert len(passes.says(name)) > 20
    made = passes.program(name)
    if isinstance(made, Exception):
        assert (type(made), name) == (SbpError, "strict")
        return
    found = of.view.pass_changes(made.passes, name)
    assert found.lines and not found.equal
