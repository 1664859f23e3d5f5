"""The pages hold together: what is to be made has a maker, links lead somewhere, names are the package's, every page is listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from _ext import reference
from _ext.site import MADE, MAKERS

import oflow as of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_what_pages_ask_for_can_be_made() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        asked = [found[1] for found in MADE.finditer(text)]
        assert text.count("<!-- made:") == len(asked), page
        assert [word for word in asked if word not in MAKERS] == [], page
    used = {found[1] for page in PAGES for found in MADE.finditer(page.read_text(encoding="utf-8"))}
    assert used == set(MAKERS), "a maker that no page uses"


@pytest.mark.parametrize("page", TEXTS, ids=short)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_listed_once() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = [line for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL) for line in block.splitlines()]
    listed = [line for line in listed if line and not line.startswith(":")]
    assert sorted(listed) == sorted(str(page.relative_to(ROOT / "docs").with_suffix("")) for page in PAGES if page.stem != "index")


def test_every_public_name_has_one_place() -> None:
    placed = [name for names in reference.SUBJECTS.values() for name in names] + [*reference.errors(), *reference.functions()]
    assert sorted(placed) == sorted(set(of.__all__))


@pytest.mark.parametrize("page", TEXTS, ids=short)
def test_names_of_the_package_exist(page: Path) -> None:
    for path in set(re.findall(r"\bof\.([A-Za-z_][\w.]*\w)", page.read_text(encoding="utf-8"))):
        thing = of
        for name in path.split("."):
            assert hasattr(thing, name), f"{page.name} names of.{path}"
            thing = getattr(thing, name)
