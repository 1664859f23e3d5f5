"""Every error oflow raises.

The class says whose fault it is; the fields hold the facts; the message says what, where and what to do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

_PACKAGE = str(Path(__file__).resolve().parent)
_COMMAND_LINE = ("oflow.cli", "main")
"""Who calls this function wrote no program: a script that pip made, or runpy."""


def user_line() -> str:
    """``file:line`` of the innermost frame outside the package: the line of the user's program that is to blame."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if (module, frame.f_code.co_name) == _COMMAND_LINE:
            break
        ours = frame.f_code.co_filename.startswith(_PACKAGE) or module.startswith("oflow.")
        if not ours:  # the second test knows generated code: the __init__ of our dataclasses
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


class OflowError(Exception):
    """Base of all errors of oflow. `line` is the user's ``file:line`` where one is known."""

    def __init__(self, message: str, *, line: str = "", **facts: object) -> None:
        self.line = line
        self.facts = facts
        super().__init__(f"{line}: {message}" if line else message)


class TraceError(OflowError):
    """The traced function did something a static graph cannot hold (the user's fault)."""


class ShapeError(OflowError):
    """A shape or dtype does not fit (the user's fault)."""


class SbpError(OflowError):
    """No signature, or no boxing, fits the layouts asked for (the user's fault)."""


class PlacementError(OflowError):
    """Devices that do not exist, or operands that live on different devices (the user's fault)."""


class KernelMissing(OflowError):
    """An operator has no kernel for this device kind (the user's fault)."""


class PlanError(OflowError):
    """A plan that contradicts itself: unbalanced rates, bad ports, a schedule that does not fit."""


class DeadlockError(PlanError):
    """A plan, or a run, in which nobody can act any more; `cycle` names who waits for whom."""

    def __init__(self, message: str, *, cycle: tuple[str, ...] = (), **facts: object) -> None:
        self.cycle = cycle
        super().__init__(message, **facts)  # type: ignore[arg-type]


class OutOfMemory(PlanError):
    """A device's arena does not fit in its memory."""


class ProtocolError(OflowError):
    """A rule of slot ownership was broken (our fault); `story` is the slot's history, oldest first."""

    def __init__(self, message: str, *, story: tuple[str, ...] = (), **facts: object) -> None:
        self.story = story
        lines = "".join(f"\n    {event}" for event in story)
        super().__init__(message + (f"\n  the slot's story:{lines}" if story else ""), **facts)  # type: ignore[arg-type]


class NotFiniteError(OflowError):
    """A kernel produced NaN or infinity where the program refuses them."""


class ProgramFailed(OflowError):
    """The program failed after an update of its state began; load a state before running it again."""


class WorkerLost(OflowError):
    """A worker process was killed, or ended by itself, while it had work to do."""
