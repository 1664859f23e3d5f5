"""The sessions of docs/questions.md are what the commands print; ``--update-golden`` writes them anew."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from oflow.cli import main

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "questions.md"
SESSION = re.compile(r"```text\n(\$ .*?)```", re.DOTALL)


def test_sessions_are_what_the_commands_print(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = PAGE.read_text(encoding="utf-8")

    def printed(session: re.Match[str]) -> str:
        lines = []
        for command in re.findall(r"^\$ (oflow .*)$", session[1], re.MULTILINE):
            main(shlex.split(command)[1:])
            told = capsys.readouterr()
            lines += [f"$ {command}", f"{told.out}{told.err}".rstrip("\n")]
        return "```text\n" + "\n".join(lines) + "\n```"

    made = SESSION.sub(printed, text)
    assert made.count("\n$ oflow ") == 7
    if request.config.getoption("--update-golden"):
        PAGE.write_text(made, encoding="utf-8")
    assert made == PAGE.read_text(encoding="utf-8"), "run pytest --update-golden and read the difference"
