"""The command line's own help, command by command."""

from __future__ import annotations

from argparse import ArgumentParser, _SubParsersAction

from _ext.markdown import fence
from oflow.cli import COMMANDS, parser


def pages() -> str:
    top = parser()
    made = [fence(top.format_help())]
    for name, (_, words, _) in COMMANDS.items():
        made.append(f"\n## oflow {name}\n\n{words[0].upper()}{words[1:]}.\n{fence(commands(top)[name].format_help())}")
    return "".join(made)


def commands(top: ArgumentParser) -> dict[str, ArgumentParser]:
    found = next(action for action in top._actions if isinstance(action, _SubParsersAction))
    return dict(found.choices)
