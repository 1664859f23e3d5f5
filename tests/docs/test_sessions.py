"""Sessions on pages are what the commands print, and figures of plans on pages are those of the plans.

In a session "..." stands for lines that are left out, and a line may be cut off at its right.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import sys
from functools import partial
from pathlib import Path

import pytest

import oflow as of
from oflow.cli import main
from oflow.compiler.resize import device_nbytes
from tests.compiler.nets import pipeline

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import precision
import stash

ROOT = Path(__file__).parents[2]
SESSION = re.compile(r"```text\n\$ (oflow [^\n]*)\n(.*?)```", re.DOTALL)


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


SLOTS = dict(SESSION.findall(page("slots")))
SLOW = {"oflow view examples/gpt.py slots per=micro-batch"}


def assert_shown(shown: str, printed: str) -> None:
    """Each line is the next that is printed, or after "..." a later one."""
    rest, skips = iter(printed.splitlines()), False
    for line in shown.splitlines():
        if line.strip() == "...":
            skips = True
            continue
        found = next((one for one in rest if not skips or one.startswith(line)), "")
        assert found.startswith(line), f"the page says {line!r}, now comes {found!r} of:\n{printed}"
        skips = False
    assert skips or not any(rest), f"the page leaves out the end of:\n{printed}"


@pytest.mark.parametrize("command", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in SLOTS])
def test_sessions_about_slots(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command)[1:]) == 0
    assert_shown(SLOTS[command], capsys.readouterr().out)


def test_the_sessions_are_found() -> None:
    assert len(SLOTS) == 4 and set(SLOTS) > SLOW


def test_the_period_in_a_limit_of_the_toy() -> None:
    plan, limit = pipeline(4, 16).plan, 20_634
    least, found = plan.least_slots(of="fullest"), plan.least_period(limit)
    words = (
        f"live bytes are {least.nbytes:,} of {device_nbytes(least.plan):,}, and for {limit:,} bytes a period of "
        f"{found.period * 1e3:.4f} ms is found with a bound of {found.fastest * 1e3:.4f} ms, a gap of {100 * found.period_gap:.1f} %."
    )
    assert words in " ".join(page("slots").split())


def test_what_out_of_memory_says_of_the_gpt(monkeypatch: pytest.MonkeyPatch) -> None:
    build = runpy.run_path(str(ROOT / "examples" / "gpt.py"))["build"]
    monkeypatch.setattr(of, "compile", partial(of.compile, memory=8_000_000))
    with pytest.raises(of.OutOfMemory) as failed:
        build()
    told = str(failed.value)
    assert f"```\n{told[told.index('What would make it fit') :]}\n```" in page("memory")


NET = """import oflow as of
cpu = of.placement("cpu", [0])
up, down = of.nn.Linear(8, 32, bias=False), of.nn.Linear(32, 8, bias=False)
def loss(x):
    with of.recompute(): y = down(of.gelu(up(x)))
    return of.mean(of.square(of.gelu(y)))
def build():
    for layer in (up, down):
        layer.to_global(cpu, of.B)
    return of.compile(loss, of.spec((64, 8), "float32", cpu, of.B), optimizer=of.optim.SGD(lr=0.1))
"""
"""The two layers of docs/stash.md."""


def test_what_is_computed_again_of_two_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The graph is shown without the lines of its file."""
    net = tmp_path / "net.py"
    net.write_text(NET)
    main(["explain", str(net)])
    main(["explain", str(net), "--after", "recompute"])
    printed = capsys.readouterr().out.replace("# net.py:5 ", "# ").splitlines()
    shown = page("stash").splitlines()
    graph, table = (next(i for i, line in enumerate(shown) if line.startswith(start)) for start in ("%29: ", "computed again: "))
    for line in shown[graph : graph + 4] + shown[table : table + 4]:
        assert line in printed


def test_bytes_of_mixed_precision() -> None:
    case = precision.Gpt(128, 64, 4, 1024, layers=4)
    for layout in ("one", "data", "tensor"):
        made = [precision.program(case, layout, precision=kind) for kind in precision.PRECISIONS]
        arenas = " / ".join(f"{max(one.plan.arenas.values()) / 1e6:.1f}" for one in made)
        moved = " / ".join(f"{sum(b.nbytes for b in precision.boxings(one.graph, one.plan.machine)) / 1e6:.1f}" for one in made)
        (row,) = re.findall(rf"\| {layout}[ ,].* \| float32 / bfloat16 / float16 \| .*", page("mixed_precision"))
        assert f"| {arenas} | {moved} |" in row


@pytest.mark.parametrize("stages", [1, 4])
def test_bytes_and_periods_of_the_stash(stages: int) -> None:
    """Of the rows without a limit, which need no search; bytes of the host are those that wait there."""
    sizes = argparse.Namespace(layers=4, width=128, window=128, batch=8, micro_batches=8)
    rows = page("stash").split(f"{stages} stage")[-1].splitlines()
    plain = stash.compiled(sizes, stages)
    ways = {"plain": plain, **{f"{way} all": stash.compiled(sizes, stages, **{way: "all"}) for way in ("recompute", "offload")}}
    for way, program in ways.items():
        device = stash.fullest(program)
        nbytes = [stash.bytes_of(one, device) for one in (program, plain)]
        seconds = [one.plan.check().period for one in (program, plain)]
        (row,) = (line.split() for line in rows[2:15] if line.startswith(f"{way}  "))
        shown = [f"{nbytes[0] / 1e6:.1f}", "MB", f"{nbytes[0] / nbytes[1]:.2f}", f"{seconds[0] / seconds[1]:.2f}"]
        assert row[len(way.split()) :][:4] == shown, way
