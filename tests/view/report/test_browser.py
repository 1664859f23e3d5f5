"""The report in a browser: no request, no error, and pictures that light up, search and filter together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from oflow import view
from oflow.actors import simulate
from oflow.check import check
from oflow.view.report.data import report_data
from oflow.view.style import KINDS
from tests.plans import pipeline_1f1b
from tests.test_graphtext import small_graph
from tests.view.report.test_data import perceptron, widened
from tests.view.things import rich_plan

STATIC = files("oflow.view.report") / "static"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = rich_plan()
    path = tmp_path_factory.mktemp("report") / "report.html"
    trace = simulate(plan, steps=2)
    path.write_text(view.html(plan, trace, small_graph(), check(plan), measured=trace, file="mlp.py"))
    return path


@contextmanager
def opened_in(browser: Any, report: Path, scheme: str) -> Iterator[Any]:
    """The open page; fails a test in which it asked for anything or said anything."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda one: asked.append(one.url))
    opened.on("console", lambda one: said.append(one.text))
    opened.on("pageerror", lambda one: said.append(str(one)))
    opened.goto(report.as_uri())
    opened.wait_for_selector("html[data-ready]")
    yield opened
    opened.close()
    assert (asked, said) == ([report.as_uri()], [])


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[Any]:
    with opened_in(browser, report, request.param) as opened:
        yield opened


def lit(page: Any, section: str) -> list[str]:
    """The keys of what is lit up in a section."""
    return page.eval_on_selector_all(f"#{section} [data-what].hot", "all => all.map(one => one.dataset.what)")  # type: ignore[no-any-return]


def row_of(page: Any, table: str) -> Any:
    page.get_by_role("button", name=table, exact=True).click()
    return page.locator("#tables tbody tr").first


def test_all_pictures_are_there(page: Any) -> None:
    for section in ("timeline", "slots"):
        box = page.locator(f"#{section} canvas").bounding_box()
        assert box["width"] > 600 and box["height"] > 40
    for section in ("plan", "graph"):
        assert page.locator(f"#{section} .box").count() > 1 and page.locator(f"#{section} .edge").count() > 0
    assert page.locator("#memory .uplot").count() > 0
    assert "cannot deadlock" in page.locator("#proof").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_plan_alone_has_a_page_without_stray_words(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(view.html(rich_plan()))
    with opened_in(browser, tmp_path / "report.html", "dark") as page:
        assert not re.search(r"\b(false|undefined|null|NaN)\b", page.locator("body").inner_text())


def test_hovering_lights_up_every_picture_until_the_pointer_leaves(page: Any) -> None:
    row = row_of(page, "actors")
    actor = row.get_attribute("data-what")
    row.hover()
    assert lit(page, "plan") and actor in lit(page, "tables")
    page.wait_for_function("Number(document.querySelector('#timeline canvas').dataset.lit) > 0")
    page.locator("#title").hover()
    assert not lit(page, "plan") and not lit(page, "tables")


def test_a_click_keeps_the_light_and_says_what_it_is(page: Any) -> None:
    row = row_of(page, "registers")
    name = row.locator("td").first.inner_text().partition("@")[0]
    row.click()
    page.locator("#title").hover()
    assert page.locator("#details h2").inner_text() == name and "Register on" in page.locator("#details").inner_text()
    assert row.get_attribute("data-what") in lit(page, "tables") and lit(page, "plan")
    page.keyboard.press("Escape")
    assert "Nothing selected" in page.locator("#details").inner_text() and not lit(page, "plan")


def test_the_timeline_says_what_is_under_the_pointer(page: Any) -> None:
    canvas = page.locator("#timeline canvas")
    box = canvas.bounding_box()
    tips = []
    for y in range(28, int(box["height"]), 9):
        for x in range(140, int(box["width"]), 60):
            page.mouse.move(box["x"] + x, box["y"] + y)
            tips.append(page.locator("#tip").inner_text())
    acts = [tip for tip in tips if "act " in tip]
    assert acts and any(tip.startswith("idle") and "wait" in tip for tip in tips)


def test_search_finds_and_selects(page: Any) -> None:
    name = row_of(page, "registers").locator("td").first.inner_text()
    page.keyboard.press("/")
    page.keyboard.type(name)
    assert name in page.locator("#found [role=option]").all_inner_texts()[0]
    page.keyboard.press("Enter")
    assert page.locator("#details h2").inner_text() == name.partition("@")[0]
    assert all(name in text for text in page.locator("#tables tbody tr td:first-child").all_inner_texts())
    page.fill("#search", "nothing is called this")
    assert "nothing of that name" in page.locator("#found").inner_text()


def test_filters_take_out_what_does_not_pass(page: Any) -> None:
    row_of(page, "actors")
    before = page.locator("#tables tbody tr").count()
    device = page.locator("#filter-device option").nth(1)
    page.select_option("#filter-device", value=device.get_attribute("value"))
    names = page.locator("#tables tbody tr td:first-child").all_inner_texts()
    assert 0 < len(names) < before and all(name.endswith(f"@{device.inner_text()}") for name in names)
    assert page.locator("#plan .box.out").count() > 0


def test_a_boxing_lights_up_its_own_actors_and_the_graph_follows_the_filter(browser: Any, tmp_path: Path) -> None:
    with perceptron() as program:
        made = view.html(program.plan, None, program.graph, check(program.plan), boxings=program.boxings())
    (tmp_path / "report.html").write_text(made)
    with opened_in(browser, tmp_path / "report.html", "light") as page:
        number = int(row_of(page, "boxings").get_attribute("data-what").partition(":")[2])
        movers = report_data(program.plan, boxings=program.boxings())["boxings"][number]["actors"]
        page.locator("#tables tbody tr").first.click()
        page.locator("#title").hover()
        listed = page.locator("#details ul button").all_inner_texts()
        assert {name.partition("@")[0] for name in listed} == {program.plan.actor_templates[i].name for i in movers}
        assert len(lit(page, "plan")) > 0
        page.keyboard.press("Escape")
        before = page.locator("#graph .drawing > g").get_attribute("transform")
        page.select_option("#filter-phase", value="update")
        page.wait_for_function("before => document.querySelector('#graph .drawing > g').getAttribute('transform') !== before", arg=before)


def test_zoom_is_shared_and_goes_back(page: Any) -> None:
    page.locator("#timeline canvas").focus()
    drawn = "document.querySelector('#slots canvas').toDataURL()"
    before = page.evaluate(drawn)
    page.keyboard.press("+")
    page.wait_for_function(f"before => {drawn} !== before", arg=before)
    page.keyboard.press("0")
    page.wait_for_function(f"before => {drawn} === before", arg=before)


def test_runs_of_different_lengths_each_fill_the_width_and_are_compared(browser: Any, tmp_path: Path) -> None:
    plan = rich_plan()
    trace = simulate(plan, steps=2)
    spans, events = trace.spans, trace.events
    acts, slots = replace(spans, start=8 * spans.start, stop=8 * spans.stop), replace(events, time=8 * events.time)
    slow = replace(trace, source="measured", spans=acts, events=slots)
    (tmp_path / "report.html").write_text(view.html(plan, trace, measured=slow))
    with opened_in(browser, tmp_path / "report.html", "light") as page:
        assert re.search(r"measured .* a step, planned .*: 8 times as long", page.locator("#timeline .runs").inner_text())
        own = page.get_by_label("each to its own length")
        drawn = "document.querySelector('#slots canvas').toDataURL()"
        before = page.evaluate(drawn)
        assert own.is_checked()
        own.uncheck()
        page.wait_for_function(f"before => {drawn} !== before", arg=before)
        row_of(page, "kinds")
        kinds = page.locator("#tables tbody tr").all_inner_texts()
        assert len(kinds) > 1 and all("8 ×" in one for one in kinds if "0 s" not in one)
        page.locator("#legend [data-what]").first.click()
        assert page.locator("#details h2").inner_text() == page.locator("#legend [data-what]").first.inner_text()


def test_many_devices_that_run_alike_are_one_row_until_they_are_asked_for(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(view.html(widened(pipeline_1f1b(3, 4), 8)))
    with opened_in(browser, tmp_path / "report.html", "dark") as page:
        height = "document.querySelector('#timeline .spacer').clientHeight"
        folded = page.evaluate(height)
        page.select_option("#filter-device", label="cpu:6")
        assert 0 < page.evaluate(height) < folded
        page.select_option("#filter-device", value="")
        assert page.evaluate(height) == folded
        page.get_by_label("alike devices as one").uncheck()
        assert page.evaluate(height) > 2 * folded


def test_the_theme_turns(page: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.click("#theme")
    assert page.evaluate(ground) != before


# ------------------------------------------------------------ without a browser


def test_colours_and_words_are_those_of_all_pictures() -> None:
    css, script = (STATIC / "report.css").read_text(), (STATIC / "data.js").read_text()
    colours = re.findall(r"--kind-(\w+): (#\w+);", css)
    assert dict(colours) == {kind: colour for kind, (_, colour) in KINDS.items()}
    block = script.partition("KINDS = {")[2].partition("}")[0]
    written = {key: json.loads(words) for key, words in re.findall(r'(\w+): ("[^"]*")', block)}
    assert written == {kind: words for kind, (words, _) in KINDS.items()}


def test_what_is_vendored_has_its_licence_and_is_used() -> None:
    vendored = {one.name for one in (STATIC / "vendor").iterdir()}
    used = {name.removeprefix("vendor/") for name in (STATIC / "manifest.txt").read_text().split() if name.startswith("vendor/")}
    assert vendored == used | {f"{name.partition('.')[0]}.LICENSE" for name in used}
