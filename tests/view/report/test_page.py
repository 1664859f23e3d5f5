"""The page is one offline text, whatever the plan holds."""

from __future__ import annotations

import base64
import gzip
import json
import re
from importlib import import_module

import pytest

from oflow import view
from oflow.actors import simulate
from oflow.check import check
from oflow.view.report.page import PLACES, json_text
from tests.test_graphtext import small_graph
from tests.view.things import rich_plan


def data_in(page: str) -> dict[str, object]:
    found = re.findall(r'<script type="application/json" id="oflow-data">(.*?)</script>', page, flags=re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])  # type: ignore[no-any-return]


def test_the_page_is_whole_and_offline() -> None:
    plan = rich_plan()
    page = view.html(plan, simulate(plan, steps=2), small_graph(), check(plan), file="mlp.py")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//)|@import|url\((?!#)""", page)
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    data = data_in(page)
    assert data["proof"]["deadlock_free"] and data["traces"]["simulated"]["steps"] == 2  # type: ignore[index]
    assert 'in "x" <&>' in data["registers"]["name"]  # type: ignore[index]
    assert not any(place in page for place in PLACES)


def test_a_plan_alone_has_a_page() -> None:
    data = data_in(view.html(rich_plan()))
    assert data["proof"] is None and data["graph"] is None


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", *PLACES, "\u2028 & ]]> <!--"])
def test_no_name_breaks_out_of_the_data(name: str) -> None:
    page = view.html(rich_plan(), title=name)
    data = data_in(page)
    assert data["meta"]["title"] == name  # type: ignore[index]
    assert "<" not in json_text(data)
    assert page.count("alert(1)") in (0, 2) and "<script>alert" not in page


def test_long_data_is_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = rich_plan()
    plain = data_in(view.html(plan))
    monkeypatch.setattr(import_module("oflow.view.report.page"), "PLAIN", 100)
    page = view.html(plan)
    (packed,) = re.findall(r'<script type="application/gzip" id="oflow-data">([A-Za-z0-9+/=]*)</script>', page)
    assert json.loads(gzip.decompress(base64.b64decode(packed))) == plain
    assert page == view.html(plan), "the same bytes every time"
