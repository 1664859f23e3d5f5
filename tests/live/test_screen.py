"""What is written: a bar on a terminal, nothing but results in a pipe, lines for machines; and the end after Ctrl-C."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from oflow.cli import main
from oflow.live import PhaseProgress, Progress, form
from oflow.live.bar import frame
from oflow.live.screen import json_line
from oflow.native import available

PROGRAM = '''
import itertools
import numpy as np
import oflow as of

def build(executor="threads", **_):
    two = of.placement("cpu", [0, 1])
    layer = of.nn.Linear(4, 1)
    def loss(x):
        return of.mean(layer(x) ** 2)
    return of.compile(loss, of.spec((8, 4), "float32", two, of.S(0)), optimizer=of.optim.SGD(lr=0.1), executor=executor, kernels="numpy")

def batches(count=20, bad=-1, **_):
    x = np.ones((8, 4), "float32")
    for number in itertools.count() if count is None else range(count):
        if number == bad:
            raise ValueError("no more data")
        yield (x,)

def evaluate(program):
    return {"checked": 1}
'''
KEYS = {
    "step", "steps", "loss", "seconds", "seconds_left", "steps_per_second", "samples_per_second", "tokens_per_second", "busy",
    "slots_in_use", "slots",
}  # fmt: skip


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "live_program.py"
    path.write_text(PROGRAM)
    return str(path)


def text_of(found: Progress | PhaseProgress, width: int) -> list[str]:
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(frame(found, width))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_lines_for_machines_count_the_steps(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", program, "--json"]) == 0
    out, err = capsys.readouterr()
    *steps, last = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [found["step"] for found in steps] == list(range(1, 21))
    assert all(set(found) == KEYS for found in steps)
    assert all(0.0 <= share <= 1.0 for found in steps for share in found["busy"].values())
    assert steps[-1]["samples_per_second"] == pytest.approx(8 * steps[-1]["steps_per_second"])
    assert last["steps"] == 20 and last["interrupted"] is False and last["metrics"] == {"checked": 1}
    assert set(last["busy"]) == {"cpu:0", "cpu:1"} and last["loss"] == steps[-1]["loss"]


def test_a_failure_in_the_middle_ends_the_lines_with_the_error(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", program, "bad=7", "--json"]) == 1
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [found["step"] for found in lines[:-1]] == list(range(1, 8))
    assert "no more data" in lines[-1]["error"]["message"] and "no more data" in err and "\x1b" not in err


@pytest.mark.parametrize("flag", [[], ["--quiet"]])
def test_a_pipe_hears_of_results_only(program: str, flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", program, *flag]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3 and out.startswith("20 steps in") and "\x1b" not in out + err
    assert len(err.splitlines()) <= 1, "a line when half a second has passed, the next after a quarter of a minute"


def test_where_no_bar_can_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert form() == "bar" and form(quiet=True) == "none" and form(as_json=True) == "json"
    monkeypatch.setenv("TERM", "dumb")
    assert form() == "lines"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert form() == "lines"


def test_what_is_no_number_is_null() -> None:
    assert json.loads(json_line(Progress(1, None, float("nan"), 0.5)))["loss"] is None


def test_frames_fit_their_terminal() -> None:
    shares = {f"cpu:{n}": n / 10 for n in range(8)}
    found = Progress(12, 48, 0.25, 9.0, 27.0, 4.0, 64.0, 8192.0, shares, 17, 32)
    first, second = text_of(found, 120)
    assert re.match(r"step 12/48 [━╸╺ ]{24} loss 0.25 0:27 left 4 steps/s 64 samples/s 8,192 tokens/s$", first)
    assert second.startswith("slots 17 of 32 in use, busy cpu:0 0%, cpu:1 10%")
    assert all(len(line) <= 60 for line in text_of(found, 60))
    assert "mean" not in second and "on 64 devices" in text_of(Progress(1, 2, None, 1.0, busy={f"cpu:{n}": 0.5 for n in range(64)}), 120)[1]
    inner = PhaseProgress(("build gpt.py", "compile", "pass memory (24 of 24)", "pack 900 buffers into 123,456,789 bytes"), 0.5, 61.0, 61.0)
    assert text_of(inner, 200)[0].startswith("build gpt.py > compile > pass memory")
    assert text_of(inner, 80)[0].startswith("pack 900 buffers")


# ---------------------------------------------------------------- a terminal


def in_terminal(words: list[str], until: str) -> tuple[int, str, int]:
    """Run a command in a terminal of its own and press Ctrl-C when the screen has shown `until`: (exit code, all that was written,
    its session's number)."""
    screen, ours = pty.openpty()
    call = f"import sys; from oflow.cli import main; sys.exit(main({words!r}))"
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100", "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [sys.executable, "-c", call], stdin=ours, stdout=ours, stderr=ours, env=environment, start_new_session=True
    )  # fmt: skip
    os.close(ours)
    written, pressed = "", False
    try:
        while part := _read(screen):
            written += part
            if until in written and not pressed:
                pressed = True
                process.send_signal(signal.SIGINT)
        return process.wait(), written, process.pid
    finally:
        os.close(screen)
        process.kill()
        process.wait()


def _read(screen: int) -> str:
    try:
        return os.read(screen, 1 << 16).decode(errors="replace")
    except OSError:  # nobody has the terminal any more
        return ""


def test_ctrl_c_leaves_the_terminal_whole_and_no_process_behind(program: str, tmp_path: Path) -> None:
    """The run has no end; it is stopped when its bar is there. NO_COLOR: there are no colours."""
    executor, kept = "processes" if available() else "threads", tmp_path / "kept"
    code, written, session = in_terminal(["train", program, f"executor={executor}", "count=none", "--save", str(kept)], "steps/s")
    assert code == 130, written
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert "loss" in plain and "slots" in plain and "busy cpu:0" in plain
    assert re.search(r"\d+ steps in .*loss", plain) and "interrupted" in plain and "checked" not in plain
    assert "Traceback" not in plain
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") > 0, "the cursor is back"
    assert not re.search(r"\x1b\[(3[0-7]|38|9[0-7])[;m]", written), "NO_COLOR"
    assert kept.exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(session, 0)
