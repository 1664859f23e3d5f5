"""The command line: ``oflow explain|check|simulate|view|diff|train|bench FILE [words] [key=value ...]``.

Exit codes: 0 all is well, 1 the program or plan is at fault (the message says how), 2 the command was called wrongly.
"""

from __future__ import annotations

import json
import sys
import traceback
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill

from oflow.cli.diff import diff
from oflow.cli.draw import view_file
from oflow.cli.files import Options, UsageError, parse_words
from oflow.cli.look import check, explain
from oflow.cli.simulate import simulate
from oflow.cli.train import bench, train
from oflow.errors import OflowError
from oflow.live import form, shown
from oflow.native import builders

Command = Callable[[Namespace, list[str], Options], int | None]
"""Returns the exit code, where it is not 0."""

COMMANDS: dict[str, tuple[Command, str, tuple[str, ...]]] = {
    "explain": (
        explain,
        "print the plan, every change of layout (or only these: boxings) and the proof, or the graph or plan after a pass; slots: the "
        "fewest bytes for a period or a memory limit; period: what would shorten it; tensor NAME, actor NAME, register NAME: all about one",
        ("oflow explain examples/digits.py layout=tensor", "oflow explain examples/digits.py boxings layout=tensor",
         "oflow explain examples/digits.py --after infer_sbp", "oflow explain examples/digits.py --after fuse --diff",
         "oflow explain examples/gpt.py slots", "oflow explain examples/gpt.py slots of=fullest",
         "oflow explain examples/gpt.py slots memory=16e6", "oflow explain examples/gpt.py period",
         "oflow explain examples/digits.py tensor up.weight", "oflow explain examples/digits.py tensor digits.py:31",
         "oflow explain examples/digits.py actor 'matmul*'", "oflow explain plan.json register stash0"),
    ),
    "check": (
        check, "prove a plan: deadlock-free, bytes of every device, steady period; or a pipeline schedule: order, links, bubble",
        ("oflow check examples/digits.py layout=pipeline", "oflow check plan.json",
         "oflow check schedule.csv F=1 I=1 W=0.8 comm=0.1 buffers=2"),
    ),
    "simulate": (
        simulate, "run a plan in virtual time: period, bubble, busy shares",
        (
            "oflow simulate plan.json steps=5", "oflow simulate schedule.csv -o timeline.svg",
            "oflow simulate examples/digits.py layout=pipeline -o trace.json",
            "oflow simulate examples/digits.py --machine measured --measure",
        ),
    ),
    "view": (
        view_file, "draw the plan, graph, timeline, memory or schedule; -o FILE.(svg|dot|html|json|trace|txt|csv) chooses the form",
        (
            "oflow view examples/digits.py -o report.html", "oflow view examples/digits.py --measured run -o report.html",
            "oflow view examples/digits.py timeline --measured run -o steps.trace", "oflow view plan.json memory -o memory.svg",
            "oflow view examples/gpt.py slots per=micro-batch -o curve.svg",
            "oflow view examples/gpt.py tensorboard -o runs/gpt",
            "oflow view schedule.csv -o schedule.svg F=1 I=1 W=1 comm=0.1", "oflow view schedule.csv -o with_messages.csv messages=true",
        ),
    ),
    "diff": (
        diff, "what changed between two plans, in seconds, bytes and structure",
        ("oflow diff before.json after.json", "oflow diff before.json after.json --exit-code",
         "oflow diff examples/digits.py examples/digits.py a.layout=data b.layout=tensor",
         "oflow diff examples/gpt.py examples/gpt.py a.schedule=gpipe b.schedule=1f1b --all"),
    ),
    "train": (
        train, "run a program over the batches of its file, then its evaluate",
        ("oflow train examples/digits.py", "oflow train examples/digits.py layout=pipeline epochs=10 --save checkpoint",
         "oflow train examples/gpt.py --tensorboard runs/gpt"),
    ),
    "bench": (
        bench, "time steps of a program, or this machine, which plans can then be predicted for",
        ("oflow bench examples/digits.py layout=tensor --steps 200", "oflow bench machine", "oflow bench machine -o machine.json"),
    ),
}  # fmt: skip

PROGRAM = "a .py file that defines build(**options) -> of.Program"
FILE_HELP = {
    "train": f"{PROGRAM}, batches(...) of its inputs and, if there is one, evaluate(program) -> metrics",
    "bench": f"{PROGRAM}, or the word machine: this computer itself",
    "diff": f"{PROGRAM}, or a .json or .safetensors plan",
}
ANY_FILE_HELP = f"{PROGRAM}, a .json or .safetensors plan, or a .csv schedule"


def parser() -> ArgumentParser:
    top = ArgumentParser(
        prog="oflow", description="Compile, prove, draw and run programs of SBP-annotated tensors.",
        epilog="key=value options go to the file's functions. oflow COMMAND --help shows examples.",
    )  # fmt: skip
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, words, examples) in COMMANDS.items():
        epilog = "examples:\n" + "\n".join(f"  {example}" for example in examples)
        made = commands.add_parser(
            name, help=words, description=_lines(words), epilog=epilog, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
        )
        made.add_argument("file", metavar="FILE", help=FILE_HELP.get(name, ANY_FILE_HELP))
        made.add_argument("words", nargs="*", metavar="WORD | key=value", help="what to show, a second file, or options")
        made.add_argument("--json", action="store_true", help="print for machines: one JSON object a line (docs/live.md lists the keys)")
        made.add_argument("--quiet", action="store_true", help="show no progress")
        made.add_argument("--debug", action="store_true", help="show the traceback of an error")
        _add_flags(name, made)
    return top


def _lines(words: str) -> str:
    """What a command does, a line for each part, as wide as argparse makes the rest."""
    width = max(get_terminal_size().columns - 2, 40)
    return "\n".join(fill(part, width) for part in words.split("; "))


def _add_flags(name: str, made: ArgumentParser) -> None:
    if name == "explain":
        made.add_argument("--after", metavar="PASS", help="show what this pass made; an unknown name lists the passes")
        made.add_argument("--diff", action="store_true", help="with --after: what the pass changed, line by line, with counts")
    if name == "diff":
        made.add_argument("--all", action="store_true", help="show every change, not the largest of each section")
        made.add_argument("--exit-code", action="store_true", help="end with 1 where the plans differ (else with 0), as git diff does")
    if name in ("simulate", "view"):
        made.add_argument("-o", "--output", metavar="OUT", help="write to this file; its suffix chooses the form")
        made.add_argument("--steps", type=int, help="steps to simulate (default 3, for a report 2)")
    if name == "view":
        made.add_argument(
            "--measured", metavar="TRACE", help="lay this recording (a .trace file) over the simulated run; run: of steps that are run now"
        )
    if name == "simulate":
        made.add_argument("--machine", metavar="NAME", help="predict for a preset or a machine file; default: the plan's machine")
        made.add_argument("--workers", type=_positive, metavar="W", help="cores that the devices share (default: the machine's)")
        made.add_argument("--measure", action="store_true", help="run the program too, and compare its step with the prediction")
    if name == "train":
        made.add_argument("--save", metavar="FOLDER", help="write a checkpoint at the end")
        made.add_argument("--tensorboard", metavar="FOLDER", help="write the graph, and loss and rates of every step, for TensorBoard")
    if name == "bench":
        made.add_argument("--steps", type=_positive, default=50, help="steps to time (default 50)")
        made.add_argument("-o", "--output", metavar="OUT", help="bench machine: write to this file instead of this machine's own")
        made.add_argument("--seconds", type=float, default=45.0, help="bench machine: about how long (default 45)")
        made.add_argument("--warm-up", type=_positive, default=5, help="steps before them (default 5)")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    try:
        args, more = parser().parse_known_args(argv)
    except SystemExit as e:
        return int(e.code or 0)
    flags = [word for word in more if word.startswith("-")]
    try:
        if flags:
            raise UsageError(f"there is no flag {flags[0]}; oflow {args.command} --help lists them")
        words, options = parse_words([*args.words, *more])
        with shown(form(quiet=args.quiet, as_json=args.json)):
            return COMMANDS[args.command][0](args, words, options) or 0
    except KeyboardInterrupt:
        builders.end()
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as e:
        return _failed(args, e)


def _failed(args: Namespace, error: Exception) -> int:
    """Say what went wrong, on stderr, and with --json on stdout too. Returns the exit code."""
    if args.debug:
        traceback.print_exception(error)
    wrong_use = isinstance(error, UsageError)
    message = str(error) if isinstance(error, UsageError | OflowError) else _users_error(error)
    print(f"error: {message}", file=sys.stderr)
    if args.json:
        print(json.dumps({"error": {"type": type(error).__name__, "message": message, "line": getattr(error, "line", "")}}))
    return 2 if wrong_use else 1


def _users_error(error: Exception) -> str:
    """Any other exception with the innermost line outside this package, most likely the user's file."""
    package = str(Path(__file__).resolve().parent.parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((package, "<"))]
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}: {error} (--debug shows the traceback)"


__all__ = ["COMMANDS", "main", "parser"]
