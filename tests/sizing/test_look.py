"""The command line's questions about slots and the period, and what they print and draw."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from oflow.check import check
from oflow.cli import main
from oflow.sizing import size, trade_off
from oflow.view.slots import sizing_text, trade_off_svg
from tests.plans import pipeline_1f1b


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    path.write_text(replace(pipeline_1f1b(4, 8), micro_batches=8).to_json())
    return path


def test_explain_slots(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(plan_file), "slots"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("slots: 1,920 -> 1,728 bytes (-10.0%), proved least; period 33.5 s a step\n")
    assert re.search(r"^  x1 +x1 +64 B +2 +1 +-64 B$", out, re.M) and "slots against period, a step" in out
    assert main(["explain", str(plan_file), "slots", "per=micro-batch", "period=6"]) == 0
    assert "period 6 s a micro-batch" in capsys.readouterr().out
    assert main(["explain", str(plan_file), "slots", "memory=1000000", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["exact"] and facts["nbytes"] == facts["bound_nbytes"] and "curve" not in facts


@pytest.mark.parametrize(("words", "message"), [
    (["period=0"], "period=0 is no number of seconds"), (["period=1", "memory=1"], "give a period or a memory limit"),
    (["per=hour"], "per=hour: slots are sized per step or per micro-batch"), (["memory=x"], "memory=x is no number of bytes"),
])  # fmt: skip
def test_questions_that_make_no_sense(plan_file: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(plan_file), "slots", *words]) == 2
    assert message in capsys.readouterr().err


def test_explain_period_ranks_what_would_help(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = pipeline_1f1b(4, 8)
    assert main(["explain", str(plan_file), "period"]) == 0
    out = capsys.readouterr().out
    assert check(plan).bound in out and "what would help most, each alone:" in out and "2 times as fast" in out
    assert main(["explain", str(plan_file), "period", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    periods = [change["period_seconds"] for change in facts["changes"]]
    assert periods == sorted(periods) and periods[0] < facts["period_seconds"] == check(plan).period


def test_the_curve_as_a_picture(plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "curve.svg"
    assert main(["view", str(plan_file), "slots", "per=micro-batch", "-o", str(out)]) == 0
    root = ElementTree.fromstring(out.read_text())
    assert len(root.findall(".//{http://www.w3.org/2000/svg}circle")) == 5
    assert main(["view", str(plan_file), "slots", "-o", str(tmp_path / "curve.dot")]) == 2
    assert "slots cannot be written as .dot; it can be .json, .svg, .txt" in capsys.readouterr().err
    one = trade_off(pipeline_1f1b(1, 1))  # a single point is a picture too
    assert len(one.sizings) == 1 and "circle" in trade_off_svg(one)


def test_a_gap_is_stated() -> None:
    found = replace(size(pipeline_1f1b(2, 4)), bound=512, nbytes=640)
    assert not found.exact and found.gap == pytest.approx(0.2)
    assert "other slots save at most 20.00% of them (down to 512 bytes)" in sizing_text(found)
