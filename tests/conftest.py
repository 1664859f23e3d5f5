"""Golden text files: `golden(name, text)` compares with ``golden/name`` beside the test; `--update-golden` rewrites it. And a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files with what the tests see now")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Asserts that a text equals its golden file."""

    def compare(name: str, text: str) -> None:
        file = request.path.parent / "golden" / name
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert file.exists(), f"no golden file {file.name}; make it with pytest --update-golden and read it"
        assert text == file.read_text(encoding="utf-8"), f"{file.name} differs; if it should, run pytest --update-golden"

    return compare


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("no chromium (Debian: apt-get install chromium)")
    drivers = pytest.importorskip("playwright.sync_api", reason="no Playwright (pip install oflow[browser])")
    with drivers.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()
