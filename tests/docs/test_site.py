"""The site builds without a warning; in a browser its pages ask for nothing, say nothing, fit the window, and follow the theme."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GROUND = "getComputedStyle(document.querySelector('svg.of .of-bg')).fill"
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("furo", reason="no furo (pip install oflow[docs])")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "docs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_and_report_is_there(site: Path) -> None:
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    reports = {Path("reports", f"{program.stem}.html") for program in (ROOT / "docs" / "parallelism").glob("*.py")}
    assert [page for page in sorted(pages | reports) if not (site / page).exists()] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_quiet_and_as_wide_as_the_window(site: Path, browser: Any, scheme: str) -> None:
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    opened.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else said.append(one.url))
    opened.on("console", lambda one: said.append(one.text))
    opened.on("pageerror", lambda one: said.append(str(one)))
    for page in sorted(site.rglob("*.html")):
        opened.goto(page.as_uri())
        assert said == [], page
        assert opened.evaluate(WIDE) == 0 or page.parent.name == "reports", page
    opened.close()


def test_pictures_have_the_theme_of_the_page_and_not_of_the_system(site: Path, browser: Any) -> None:
    opened = browser.new_page(color_scheme="dark")
    opened.goto((site / "index.html").as_uri())
    dark = opened.evaluate(GROUND)
    opened.evaluate("document.body.dataset.theme = 'light'")
    light = opened.evaluate(GROUND)
    assert (dark, light) == ("rgb(20, 24, 31)", "rgb(255, 255, 255)")
    opened.close()
