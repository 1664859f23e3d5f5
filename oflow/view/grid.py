"""A schedule as a grid: one row a rank, one column a step of time, every action one step long."""

from __future__ import annotations

from oflow.schedule import Action, Schedule, Times
from oflow.schedule.replay import Graph
from oflow.view import style
from oflow.view.style import label, rect

CELL, ROW, LEFT, TOP, RIGHT = 34.0, 26.0, 70.0, 58.0, 110.0


def steps(schedule: Schedule) -> dict[Action, int]:
    """When each action runs if every action takes one step and transfers take none; actions that can never run are left out.

    An action waits for its rank's previous one and for what it reads: the stage before (F), the stage after and its own
    forward (B, I), its own I (W).
    """
    graph = Graph(schedule, Times())
    graph.seconds = [1.0] * len(graph.actions)
    starts, stops, _ = graph.run(graph.rows)
    return {action: int(start) for action, start, stop in zip(graph.actions, starts, stops, strict=True) if stop >= 0}


def grid(schedule: Schedule) -> str:
    """An SVG of the schedule, with each rank's idle share. Where a schedule blocks, it says at which action."""
    when = steps(schedule)
    length = 1 + max(when.values(), default=-1)
    head = f"schedule {schedule.name}: {len(schedule.stages)} stages, {schedule.micro_batches} micro-batches, {length} steps"
    body = [label(10, 20, head, size=14, more=' font-weight="600"')]
    body += style.legend(10, 42, sorted({action.phase for action in when}))
    for rank, row in enumerate(schedule.rows):
        y, shown = TOP + rank * (ROW + 4), [action for action in row if action in when]
        body += [label(10, y + 17, f"rank {rank}", size=12), rect(LEFT, y, length * CELL, ROW, "of-band")]
        for action in shown:
            x, step = LEFT + when[action] * CELL, when[action]
            title = f"{action}: stage {action.stage}, micro-batch {action.micro_batch}, step {step}"
            body += [rect(x, y, CELL, ROW, f"of-{action.phase} of-gap", title)]
            body += [label(x + CELL / 2, y + 17, str(action), "of-on", 10.5, "middle", ' pointer-events="none"')]
        words = f"bubble {1 - len(shown) / length:.1%}" if length else ""
        words = words if len(shown) == len(row) else f"blocked at {row[len(shown)]}"
        body.append(label(LEFT + length * CELL + 10, y + 17, words, "of-soft", 11))
    bottom = TOP + len(schedule.rows) * (ROW + 4)
    body += [label(LEFT + (i + 0.5) * CELL, bottom + 14, str(i), "of-soft", 10, "middle") for i in range(length)]
    return style.page(max(LEFT + length * CELL + RIGHT, 480), bottom + 26, body, head)
