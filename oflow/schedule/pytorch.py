"""PyTorch's pipeline schedule files (torch.distributed.pipelining): one line a rank, one cell an action, in the order they run.

    2F0 forward of stage 2, micro-batch 0      3SEND_F1 3RECV_F1 3SEND_B1 3RECV_B1   activation or gradient of a micro-batch
    1B3 full backward                          1UNSHARD 1RESHARD 1REDUCE_GRAD        a stage's parameters and gradients
    1I3 1W3 its two halves                     (1F0;2B0)OVERLAP_F_B                  two actions that a runtime may overlap
    an empty cell: the rank waits

A SEND names the stage that made the message, a RECV the stage that needs it. Older files write B for I and BW for B; a file with
BW, or with W but no I, is read that way.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from oflow.errors import PlanError
from oflow.schedule.order import Action, Schedule, Where, verify_schedule
from oflow.schedule.replay import replay

SENDS = {"F": ("SEND_F", "RECV_F"), "B": ("SEND_B", "RECV_B"), "I": ("SEND_B", "RECV_B")}
"""How the message that a phase makes is sent and received."""
_CELL = re.compile(r"(\d+)(F|BW|B|I|W|SEND_F|RECV_F|SEND_B|RECV_B|UNSHARD|RESHARD|REDUCE_GRAD)(\d*)")
_OVERLAP = re.compile(r"\(([^()]*)\)\s*OVERLAP_F_B")
_WHOLE_STAGE = ("UNSHARD", "RESHARD", "REDUCE_GRAD")


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry of a file: `kind` is a phase or a word of the list above; micro_batch -1: the whole stage. Counted from 1."""

    line: int
    column: int
    text: str
    stage: int
    kind: str
    micro_batch: int = -1

    @property
    def where(self) -> str:
        return f"line {self.line}, cell {self.column} ({self.text})"

    @property
    def is_action(self) -> bool:
        return self.kind in ("F", "B", "I", "W")


@dataclass(frozen=True, slots=True)
class Listing:
    """A file as read: its schedule, and every cell of each rank (idle ones left out), communication too."""

    schedule: Schedule
    cells: tuple[tuple[Cell, ...], ...]

    @property
    def has_messages(self) -> bool:
        """Whether SEND and RECV stand in the file; else they are understood."""
        return any(cell.kind.startswith(("SEND", "RECV")) for row in self.cells for cell in row)


def read_csv(text: str, name: str = "csv") -> Listing:
    """Raises PlanError, with line and cell, for what is no action and for the first fault that `verify_schedule` finds."""
    rows = [list(_cells(number, cells)) for number, cells in _lines(text)]
    if not any(rows):
        raise PlanError(f"schedule {name}: the file has no actions; write one line a rank, with cells like 0F0,0F1,0B0,0B1")
    kinds = {cell.kind for row in rows for cell in row}
    if "BW" in kinds or ("W" in kinds and "I" not in kinds):
        renamed = {"B": "I", "BW": "B"}
        rows = [[replace(cell, kind=renamed.get(cell.kind, cell.kind)) for cell in row] for row in rows]
    acting = [[cell for cell in row if cell.is_action] for row in rows]
    actions = tuple(tuple(Action(cell.stage, cell.kind, cell.micro_batch) for cell in row) for row in acting)
    made = Schedule(name, actions)
    if not made.stages:
        raise PlanError(f"schedule {name}: the file has communication only, and no action such as 0F0")
    places = {(rank, index): cell.where for rank, row in enumerate(acting) for index, cell in enumerate(row)}
    where: Where = lambda rank, index: places[rank, index]  # noqa: E731 - the type is what matters
    verify_schedule(made, where)
    missing = sorted(set(range(made.stages[-1])) - set(made.stages))
    if missing:
        raise PlanError(f"schedule {name}: there is a stage {made.stages[-1]}, but none of the {len(rows)} lines runs stage {missing[0]}")
    return Listing(made, tuple(map(tuple, rows)))


def from_csv(text: str, name: str = "csv") -> Schedule:
    """The schedule in `text`, without its communication. Raises PlanError as `read_csv` does."""
    return read_csv(text, name).schedule


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Non-empty lines with their number in the file."""
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise PlanError("this is no text file of comma-separated cells; save it as CSV (UTF-8)")
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as e:
        raise PlanError(f"line {reader.line_num} is no line of comma-separated cells: {e}") from e


def _cells(line: int, cells: list[str]) -> Iterator[Cell]:
    for column, text in enumerate((cell.strip() for cell in cells), 1):
        overlapped = _OVERLAP.fullmatch(text)
        for part in overlapped[1].split(";") if overlapped else [text] if text else []:
            yield _cell(line, column, part.strip(), text, is_last=column == len(cells))


def _cell(line: int, column: int, part: str, text: str, is_last: bool) -> Cell:
    match, where = _CELL.fullmatch(part), f"line {line}, cell {column}"
    if match and bool(match[3]) != (match[2] in _WHOLE_STAGE):
        return Cell(line, column, text, int(match[1]), match[2], int(match[3] or -1))
    if (";" in text and "(" not in text) or "\t" in text:
        raise PlanError(f"{where}: {text[:40]!r} holds several actions; cells are separated by commas")
    cut = "; the file may be cut off here" if is_last else ""
    raise PlanError(f"{where}: {text[:40]!r} is not a schedule action; write 2F0 for stage 2, forward, micro-batch 0{cut}")


# ---------------------------------------------------------------- writing


def to_csv(schedule: Schedule, messages: bool = False) -> str:
    """One line a rank, one cell an action; `messages` adds SEND and RECV.

    A SEND stands right after what it sends, the RECV where the receiver is at that time (a unit for every action), so messages of
    a pair of ranks are received in the order in which they are sent. Raises DeadlockError where there is no such time.
    """
    rows = _with_messages(schedule) if messages else [[str(a) for a in row] for row in schedule.rows]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _with_messages(schedule: Schedule) -> list[list[str]]:
    done = replay(schedule)
    receivers: dict[Action, list[Action]] = {}
    for row in schedule.rows:
        for action in row:
            for before in schedule.needs(action):
                receivers.setdefault(before, []).append(action)
    timed = sorted(
        (start, rank, action)
        for rank, (row, starts) in enumerate(zip(schedule.rows, done.starts, strict=True))
        for action, start in zip(row, starts, strict=True)
    )
    made: list[list[str]] = [[] for _ in schedule.rows]
    for _, rank, action in timed:
        made[rank].append(str(action))
        for after in receivers.get(action, ()):
            if (home := schedule.homes[after.stage]) != rank:
                send, receive = SENDS[action.phase]
                made[rank].append(f"{action.stage}{send}{action.micro_batch}")
                made[home].append(f"{after.stage}{receive}{action.micro_batch}")
    return made
