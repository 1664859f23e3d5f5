"""The command line, in process: exit codes, options, and what each command prints or writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from shutil import get_terminal_size
from xml.etree import ElementTree

import pytest

from oflow import machine as machines
from oflow.actors import simulate
from oflow.check import check
from oflow.cli import COMMANDS, main
from oflow.cli.files import opened, parse_words
from oflow.cli.passes import explain_pass
from oflow.compiler import PASSES
from oflow.compiler.schedules import named_schedule
from oflow.compiler.schedules.plan import schedule_plan
from oflow.errors import DeadlockError, PlanError
from oflow.plan import Plan
from oflow.presets import preset
from oflow.program import Program
from oflow.schedule import Schedule
from oflow.trace import Trace
from oflow.view.changes import pass_changes
from tests import test_machine as machine_tests
from tests.plans import pipeline_1f1b

PROGRAM = '''
import numpy as np
import oflow as of
import neighbour


def build(width=8, lr=0.125, **_):
    w = of.nn.Linear(4, width)
    cpu = of.placement("cpu", [0])
    def loss(x, y):
        return of.mean((w(x) - y) * (w(x) - y))
    return of.compile(loss, of.spec((6, 4), "float32", cpu, of.B), of.spec((6, width), "float32", cpu, of.B),
                      optimizer=of.optim.SGD(lr=float(lr)), executor="simulator")


def batches(width=8, count=12, **_):
    rng = np.random.default_rng(0)
    return [(rng.random((6, 4), "float32"), rng.random((6, width), "float32")) for _ in range(count)]


def evaluate(program):
    return {"weights": len(program.state_dict()), "note": "two\\nlines", "share": np.float64(0.5)}
'''

STUB = '''
from tests.plans import pipeline_1f1b


class Stub:
    """Stands for a program where only the handling of arguments is tested."""

    def __init__(self, **options):
        self.options, self.plan, self.passes, self.graph = options, pipeline_1f1b(2, 2), {}, None

    def stream(self, batches):
        yield from batches

    def close(self):
        print("closed")


def build(a, b=2):
    return Stub(a=a, b=b)


def batches(b=2, losses=3, last=0.5):
    return [1.0] * (losses - 1) + [last]


def evaluate(program):
    return {"options": str(program.options)}
'''


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    path.write_text(pipeline_1f1b(2, 4).to_json())
    return path


@pytest.fixture
def schedule_file(tmp_path: Path) -> Path:
    path = tmp_path / "one.csv"
    path.write_text(named_schedule("1f1b", 2, 2, 4).to_csv())
    return path


@pytest.fixture
def program_file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def stub_file(tmp_path: Path) -> Path:
    path = tmp_path / "stub.py"
    path.write_text(STUB)
    return path


# ---------------------------------------------------------------- usage


def test_options_have_types() -> None:
    words, options = parse_words(["other.json", "a=1", "b=1e-3", "c=true", "d=none", "e=x=y", "f=1f1b"])
    assert words == ["other.json"]
    assert options == {"a": 1, "b": 1e-3, "c": True, "d": None, "e": "x=y", "f": "1f1b"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    about, _, examples = capsys.readouterr().out.partition("examples:")
    assert f"oflow {command} " in examples
    assert max(map(len, about.splitlines())) <= get_terminal_size().columns, "wrapped"


def test_whoever_calls_the_command_line_has_no_line_in_its_errors(capsys: pytest.CaptureFixture[str], plan_file: Path) -> None:
    assert main(["simulate", str(plan_file), "--machine", "h1000"]) == 1
    assert capsys.readouterr().err.startswith("error: no machine preset 'h1000'")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["check", "missing.json"], "no file"),
        (["check", "{plan}.txt"], ".csv schedule"),
        (["check", "{plan}", "lr=3"], "no option 'lr'"),
        (["check", "{plan}", "word"], "'word'"),
        (["check", "{plan}", "--nothing"], "no flag"),
        (["check", "{plan}", "=3"], "key=value"),
        (["explain", "{plan}", "--after", "chain"], "finished plan"),
        (["explain", "{plan}", "--after", "chain", "--diff"], "finished plan"),
        (["explain", "{plan}", "--diff"], "--after PASS --diff"),
        (["explain", "{plan}", "boxings"], "no logical graph"),
        (["explain", "{plan}", "tensor", "x"], "no logical graph"),
        (["explain", "{plan}", "actor"], "needs one name"),
        (["explain", "{plan}", "actor", "F0", "F1"], "needs one name"),
        (["explain", "{plan}", "register", "stush0"], "near are stash0"),
        (["explain", "{plan}", "cake"], "'cake'"),
        (["explain", "{plan}", "boxings", "cake"], "'cake'"),
        (["view", "{plan}", "graph"], "no logical graph"),
        (["view", "{plan}", "cake"], "one of"),
        (["view", "{plan}", "-o", "x.png"], ".png"),
        (["view", "{plan}", "memory"], ".svg"),
        (["diff", "{plan}"], "two files"),
        (["train", "{plan}"], "only a .py file"),
        (["bench", "{plan}"], "only a .py file"),
        (["simulate", "{plan}", "steps=0"], "steps=0"),
        (["simulate", "{csv}", "F=fast"], "no number of seconds"),
        (["simulate", "{csv}", "X=1"], "F, B, I, W"),
        (["train", "{stub}"], "needs a=..."),
        (["train", "{stub}", "a=1", "nothing=2"], "it takes a, b=2, losses=3, last=0.5"),
    ],
)
def test_wrong_usage_is_two(
    args: list[str], message: str, plan_file: Path, schedule_file: Path, stub_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [arg.format(plan=plan_file, csv=schedule_file, stub=stub_file) for arg in args]
    assert main(filled) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.startswith("error: ") and "Traceback" not in captured.err


def test_no_command_is_wrong_usage() -> None:
    assert main([]) == 2
    assert main(["cook", "x.json"]) == 2


# ---------------------------------------------------------------- plans


def test_check_prints_the_proof(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(plan_file)]) == 0
    assert "deadlock-free" in capsys.readouterr().out
    assert main(["check", str(plan_file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["deadlock_free"] and facts["period_seconds"] == check(pipeline_1f1b(2, 4)).period


def test_a_plan_that_would_hang_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.json"
    path.write_text(pipeline_1f1b(3, 4, slots=[2, 2, 1]).to_json())
    assert main(["check", str(path), "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["type"] == "DeadlockError"
    assert captured.err.startswith("error: ") and "F0" in captured.err


def test_text_that_is_no_plan_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.json"
    whole = pipeline_1f1b(2, 2).to_json()
    for command, text in (("view", "{}"), ("check", whole[: len(whole) // 2]), ("check", whole[:-40] + "}")):
        path.write_text(text)
        assert main([command, str(path)]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"error: {path}: ") and ("not a plan file" in error or "certificate" in error)


def test_explain_prints_plan_and_proof(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(plan_file)]) == 0
    out = capsys.readouterr().out
    assert "stream compute" in out and "deadlock-free" in out
    assert main(["explain", "--json", str(plan_file)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert Plan.from_json(json.dumps(facts["plan"])) == pipeline_1f1b(2, 4)


def test_simulate(plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, picture = tmp_path / "trace.json", tmp_path / "timeline.svg"
    assert main(["simulate", str(plan_file), "steps=2", "--json", "-o", str(trace)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["steps"] == 2 and facts["period_seconds"] == check(pipeline_1f1b(2, 4)).period
    assert set(facts["bubble"]) == {"cpu:0", "cpu:1"}
    assert json.loads(trace.read_text())["traceEvents"]
    assert main(["simulate", str(plan_file), "--steps", "2", "-o", str(picture)]) == 0
    assert "idle cpu:0" in capsys.readouterr().out
    ElementTree.fromstring(picture.read_text())


@pytest.mark.parametrize("suffix", ["svg", "dot", "html", "json", "txt"])
def test_view_writes_every_form(suffix: str, plan_file: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out.{suffix}"
    assert main(["view", str(plan_file), "-o", str(out)]) == 0
    text = out.read_text()
    if suffix == "json":
        assert Plan.from_json(text) == pipeline_1f1b(2, 4)
    elif suffix == "svg":
        ElementTree.fromstring(text)
    else:
        assert "F0" in text


@pytest.mark.parametrize("what", ["timeline", "memory"])
def test_view_draws_what_is_asked(what: str, plan_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.svg"
    assert main(["view", str(plan_file), what, "-o", str(out)]) == 0
    ElementTree.fromstring(out.read_text())


def test_view_prints_text(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(plan_file)]) == 0
    assert capsys.readouterr().out.startswith("plan: 2 devices")


def test_diff_says_what_changed(plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    other.write_text(pipeline_1f1b(2, 4, slots=3).to_json())
    assert main(["diff", str(plan_file), str(plan_file)]) == 0
    assert capsys.readouterr().out == "the plans are equal\n"
    assert main(["diff", str(plan_file), str(other)]) == 0
    assert re.search(r"^  cpu:0 arena +320 +384 +\+20\.0%$", capsys.readouterr().out, re.MULTILINE)
    assert main(["diff", str(plan_file), str(other), "--json", "--exit-code"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {"name": "cpu:0", "now": "cpu:0", "change": "changed", "fields": {"arena": [320, 384]}} in found["bytes"] and not found["equal"]
    assert [one["name"] for one in found["registers"]] == ["stash0 (stage 0 F)", "stash1 (stage 1 F)"]
    assert main(["diff", str(plan_file), str(plan_file), "--json", "--exit-code"]) == 0
    assert json.loads(capsys.readouterr().out) == {"equal": True}


# ---------------------------------------------------------------- schedules


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_a_schedule_is_a_plan(name: str) -> None:
    stages, many = 4, 8
    plan = schedule_plan(named_schedule(name, stages, stages, many))
    assert check(plan).deadlock_free
    assert max(r.slots for r in plan.registers if r.name == "stash0") == (many if name == "gpipe" else stages)


def test_a_schedule_with_split_backward_is_a_plan() -> None:
    schedule = Schedule.from_csv("0F0,0F1,0I0,0W0,0I1,0W1\n1F0,1I0,1F1,1I1,1W0,1W1\n")
    assert check(schedule_plan(schedule)).acts == 12


def test_a_schedule_that_blocks_is_refused() -> None:
    blocked = Schedule.from_csv("0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1\n", "blocked")
    with pytest.raises(DeadlockError):
        check(schedule_plan(blocked))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0F0\n0B0\n", "rank 1, but stage 0 is on rank 0"),
        ("0F0,0B0,0I0\n", "beside line 1, cell 2"),
    ],
)
def test_schedules_that_are_no_pipeline(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        schedule_plan(Schedule.from_csv(text))


def test_commands_on_a_schedule(schedule_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(schedule_file)]) == 0
    assert main(["explain", str(schedule_file)]) == 0
    assert "rank 1" in capsys.readouterr().out
    assert main(["simulate", str(schedule_file), "steps=1", "F=1", "B=1", "--json"]) == 0
    bubble = json.loads(capsys.readouterr().out)["bubble"]
    assert bubble["cpu:0"] == pytest.approx(1 / 5)  # (S - 1) / (M + S - 1)
    out = tmp_path / "again.csv"
    assert main(["view", str(schedule_file), "schedule", "-o", str(out)]) == 0
    assert out.read_text() == schedule_file.read_text()
    report = tmp_path / "report.html"
    assert main(["view", str(schedule_file), "-o", str(report), "F=1", "B=2"]) == 0
    assert report.read_text().startswith("<!doctype html>")


# ---------------------------------------------------------------- programs


def test_options_reach_the_functions_that_take_them(stub_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(stub_file), "a=x", "losses=4"]) == 0
    out = capsys.readouterr().out
    assert "4 steps in" in out and "loss 0.5" in out and "options: {'a': 'x', 'b': 2}" in out and "closed" in out
    assert not any(name.startswith("oflow_file_") for name in sys.modules)
    assert str(stub_file.parent) not in sys.path


def test_a_loss_that_is_not_finite_is_one(stub_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(stub_file), "a=1", "last=nan"]) == 1
    assert "nan from step 3" in capsys.readouterr().err


def test_an_error_of_the_file_names_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def build():\n    raise RuntimeError('no luck')\n")
    assert main(["check", str(path)]) == 1
    assert "RuntimeError at broken.py:2: no luck" in capsys.readouterr().err
    path.write_text("x = 1\n")
    assert main(["check", str(path)]) == 2
    assert "does not define build" in capsys.readouterr().err


def test_training(program_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", str(program_file), "count=20", "--json", "--save", str(tmp_path / "kept")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["step"] for line in lines[:-1]] == list(range(1, 21))
    assert lines[-2]["loss"] < lines[0]["loss"]
    assert lines[-1]["steps"] == 20 and lines[-1]["metrics"]["share"] == 0.5 and lines[-1]["metrics"]["note"] == "two\nlines"
    assert (tmp_path / "kept").exists()
    assert main(["train", str(program_file)]) == 0
    out = capsys.readouterr().out
    assert "12 steps in" in out and "share: 0.5" in out and "note:\ntwo" in out


def test_explain_after_a_pass(program_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(program_file), "--after", "capture"]) == 0
    assert "program.py:" in capsys.readouterr().out
    assert main(["explain", str(program_file), "--after", "memory", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["after"] == "memory"
    assert main(["explain", str(program_file), "--after", "magic"]) == 2
    assert "infer_sbp" in capsys.readouterr().err


def test_explain_one_of_a_plan(plan_file: Path, program_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(plan_file), "register", "stash0"]) == 0
    assert re.search(r"^register stash0: 2 slots .*\n(.*\n)*  freed by +B0 \(4 a step\)$", capsys.readouterr().out, re.MULTILINE)
    assert main(["explain", str(plan_file), "actor", "F*"]) == 0
    assert capsys.readouterr().out.startswith("2 actors are meant by 'F*'; name one for its answer\n  F0  cpu:0/compute  stage 0 F")
    assert main(["explain", str(plan_file), "actor", "F*", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["answers"]] == ["F0", "F1"]
    assert main(["explain", str(program_file), "tensor", "weight", "width=4", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert (answer["type"], answer["kind"], answer["asked"]) == ("f32[4, 4]", "parameter", "no annotation")


@pytest.mark.parametrize("name", PASSES)
def test_explain_what_a_pass_changed(name: str, passes_of_split: Program, capsys: pytest.CaptureFixture[str]) -> None:
    explain_pass(passes_of_split.passes, name, False)
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith(name) and (lines or head.endswith(("nothing changed", "nothing that is shown here changed")))
    explain_pass(passes_of_split.passes, name, True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["lines"] == lines and facts["added"] == sum(line[0] == "+" for line in lines)
    assert not any("\x1b" in line for line in lines), "colours are for terminals"


def test_what_passes_change_adds_up_to_what_they_made(passes_of_split: Program) -> None:
    """The counts after each pass are those before the next."""
    found = [pass_changes(passes_of_split.passes, name) for name in passes_of_split.passes]
    assert all(one.after == following.before and following.previous == one.name for one, following in pairwise(found))
    assert found[-1].after["bytes of arenas"] == sum(passes_of_split.plan.arenas.values())


SPLIT = '''
import oflow as of


def build(layout=None, strict=False):
    cpu = of.placement("cpu", [0, 1], names=("tensor",))
    up = of.nn.Linear(8, 16, bias=False)
    if layout is None:
        up.to_global(cpu, {"tensor": of.S(1)})

    def loss(x):
        return of.mean(of.exp(up(x)))

    spec = of.spec((4, 8), "float32", cpu, None if layout else of.B)
    return of.compile(loss, spec, optimizer=of.optim.SGD(lr=0.1), layout=layout, strict=strict)
'''


@pytest.fixture
def split_file(tmp_path: Path) -> Path:
    path = tmp_path / "split.py"
    path.write_text(SPLIT)
    return path


@pytest.fixture(scope="module")
def passes_of_split(tmp_path_factory: pytest.TempPathFactory) -> Program:
    path = tmp_path_factory.mktemp("split") / "split.py"
    path.write_text(SPLIT)
    with opened(str(path), {}) as given:
        found: Program = given.program
        return found


def test_explain_lists_every_boxing(split_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(split_file)]) == 0
    whole = capsys.readouterr().out
    assert main(["explain", str(split_file), "boxings"]) == 0
    out = capsys.readouterr().out
    assert out in whole and whole.startswith("plan: ") and "deadlock-free" in whole and "deadlock-free" not in out
    assert re.search(r"^boxings: \d+, [\d,]+ bytes over all links and \S+ us a step; not asked for: \d", out)
    assert re.search(r"matmul f32\[4, 16\] +P -> B @cpu:0-1 \(tensor=2\) +not asked for: exp at split\.py:12\n", out)
    assert re.search(r"\nlayouts: \S+ s of work and boxings a step, exact \(", out)


def test_explain_as_json(split_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(split_file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert main(["explain", str(split_file), "boxings", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert {**facts, **alone} == facts and facts["proof"]["deadlock_free"] and "plan" not in alone
    plan = Plan.from_json(json.dumps(facts["plan"]))
    received = sum(nbytes * actor.acts for actor in plan.actors for _, nbytes in actor.cost.received)
    assert sum(one["nbytes"] for one in facts["boxings"]) == received
    (unasked,) = [one for one in facts["boxings"] if one["why"] == "reader" and one["value"] == "matmul" and one["phase"] == "F"]
    assert (unasked["line"], unasked["reader"], unasked["asked"]) == ("split.py:12", "exp", False)
    assert (unasked["from"], unasked["to"]) == ("P@cpu:0-1 (tensor=2)", "B@cpu:0-1 (tensor=2)")
    assert sum(step["nbytes"] for step in unasked["route"]) * unasked["count"] == unasked["nbytes"]
    assert facts["assignment"]["seconds"] >= facts["assignment"]["bound"] > 0 and facts["parameters"] == []


def test_explain_says_why_automatic_layouts_are_what_they_are(split_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(split_file), "boxings", "layout=auto"]) == 0
    assert re.search(r"\n  weight: \S+, [\d,]+ bytes a device, step \S+ s; second ", capsys.readouterr().out)
    assert main(["explain", str(split_file), "boxings", "layout=auto", "--json"]) == 0
    (choice,) = json.loads(capsys.readouterr().out)["parameters"]
    assert choice["names"] == ["weight"] and choice["second"]["seconds"] >= choice["seconds"] > 0


def test_explain_of_what_strict_refuses(split_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(split_file), "strict=true"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: split.py:12: strict=True")
    assert 'write t.to_global(of.placement("cpu", [0, 1], names=("tensor",))' in error


def test_view_and_diff_of_a_program(program_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    assert main(["view", str(program_file), "-o", str(out)]) == 0
    assert '"graph":{"nodes":[' in out.read_text() and "http-equiv" not in out.read_text()
    assert main(["view", str(program_file), "graph", "width=3"]) == 0
    assert "f32[6, 3]" in capsys.readouterr().out
    assert main(["diff", str(program_file), str(program_file), "a.width=4", "b.width=400"]) == 0
    assert re.search(r"^  cpu:0 state +\S+ +\S+ +\+\S+%$", capsys.readouterr().out, re.MULTILINE)


def test_a_report_with_a_measured_run(program_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(program_file), "timeline", "--measured", "run"]) == 2
    assert "virtual" in capsys.readouterr().err
    program_file.write_text(program_file.read_text().replace('executor="simulator"', 'executor="threads"'))
    out, recorded, other = tmp_path / "report.html", tmp_path / "steps.trace", tmp_path / "other.trace"
    assert main(["view", str(program_file), "timeline", "--measured", "run", "--steps", "2", "-o", str(recorded)]) == 0
    trace = Trace.from_json(recorded.read_text())
    assert (trace.source, trace.steps) == ("measured", 2) and len(trace.events)
    for measured in (str(recorded), "run"):
        assert main(["view", str(program_file), "--measured", measured, "-o", str(out)]) == 0
        assert '"measured":{"source":"measured"' in out.read_text()
    capsys.readouterr()
    assert main(["view", str(program_file), "--measured", str(tmp_path / "none.trace"), "-o", str(out)]) == 2
    assert "there is no file" in capsys.readouterr().err
    other.write_text(simulate(pipeline_1f1b(3, 4), steps=1).to_json())
    assert main(["view", str(program_file), "--measured", str(other), "-o", str(out)]) == 1
    assert "of another plan" in capsys.readouterr().err


def test_a_plan_alone_cannot_be_measured(plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(plan_file), "--measured", "run", "-o", str(tmp_path / "report.html")]) == 2
    assert "cannot run" in capsys.readouterr().err


def test_bench(program_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(program_file), "--steps", "4", "--warm-up", "2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["steps"] == 4 and facts["acts_per_second"] > 0


def test_the_module_is_the_command(plan_file: Path) -> None:
    found = subprocess.run([sys.executable, "-m", "oflow", "check", str(plan_file)], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("deadlock-free")


def test_simulate_sums_up_many_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.json"
    path.write_text(pipeline_1f1b(30, 2).to_json())
    assert main(["simulate", str(path)]) == 0
    text = capsys.readouterr().out
    assert "idle, 30 devices:" in text and "streams compute, 30: busy" in text and len(text.splitlines()) < 12


def test_simulate_predicts_for_a_machine_and_measures(program_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = tmp_path / "machine.json"
    machines.save(replace(preset(), name="mine", workers=1), machine)
    assert main(["simulate", str(program_file), "--machine", str(machine), "--measure", "--steps", "4", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["machine"] == "mine" and facts["workers"] == 1 and facts["measured_seconds"] > 0
    assert facts["error"] == pytest.approx(facts["period_seconds"] / facts["measured_seconds"] - 1)
    assert main(["simulate", str(program_file), "--workers", "2"]) == 0
    assert "predicted for machine reference, 2 workers" in capsys.readouterr().out
    assert main(["simulate", str(program_file), "--machine", "nowhere.json"]) == 1
    assert "run: oflow bench machine -o nowhere.json" in capsys.readouterr().err


def test_bench_machine_stores_what_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    made = machine_tests.measured()
    monkeypatch.setattr("oflow.cli.machine.measure", lambda seconds, report: made)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["bench", "machine", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert machines.load() == made and facts["file"] == str(machines.measured_path()) and facts["message_nanoseconds"] == 1000
    out = tmp_path / "other.json"
    assert main(["bench", "machine", "-o", str(out)]) == 0
    assert machines.load(out) == made and "GF/s" in capsys.readouterr().out
    assert main(["bench", "machine", "word"]) == 2
