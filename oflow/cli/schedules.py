"""check and view of a schedule file: other people's schedules, with nothing but the file and the times of its actions."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from oflow import view
from oflow.cli.files import Options, UsageError, check_known, output, read_schedule, times_of
from oflow.schedule import Links, Listing, Replay, check_links, replay, to_csv
from oflow.view.style import seconds_text

SHOWN = 8
"""Actions of the critical path that a report shows at each end."""


def check_schedule(args: Namespace, options: Options) -> None:
    """Print what a schedule takes and holds. A fault raises PlanError with its line and cell, or DeadlockError with the cycle."""
    file = Path(args.file)
    check_known(options, ("F", "B", "I", "W", "comm", "buffers"), f"{file} (seconds of an action; messages a link holds)")
    buffers = options.get("buffers")
    if buffers is not None and (isinstance(buffers, bool) or not isinstance(buffers, int) or buffers < 0):
        raise UsageError(f"buffers={buffers} is no number of messages")
    times = times_of({name: value for name, value in options.items() if name != "buffers"})
    listing = read_schedule(file)
    links = check_links(listing, buffers)
    made = replay(listing.schedule, times)
    print(json.dumps(_facts(listing, links, made)) if args.json else _text(listing, links, made))


def _facts(listing: Listing, links: Links, made: Replay) -> dict[str, Any]:
    schedule = listing.schedule
    return {
        "schedule": schedule.name, "stages": len(schedule.stages), "ranks": schedule.ranks, "micro_batches": schedule.micro_batches,
        "homes": list(schedule.homes.values()), "splits_backward": schedule.splits_backward, "messages": links.messages,
        "explicit_messages": links.explicit, "least_buffers": links.least_buffers, "one_stream_a_pair": links.together,
        "seconds": made.seconds, "bubble": made.bubble, "bubbles": list(made.bubbles), "peak_stages": made.peak,
        "peaks_stages": list(made.peaks), "critical": [str(action) for action in made.critical],
    }  # fmt: skip


def _text(listing: Listing, links: Links, made: Replay) -> str:
    schedule = listing.schedule
    actions = sum(map(len, schedule.rows))
    listed = "as listed" if links.explicit else "none is listed, each is sent after what makes it"
    lines = [
        f"schedule {schedule.name}: {len(schedule.stages)} stages on {schedule.ranks} ranks, {schedule.micro_batches} micro-batches, "
        f"{actions} actions: complete, in order",
        f"{links.messages} messages ({listed}): no rank waits for ever; with sends that wait, a link needs {_buffers(links.least_buffers)}",
    ]
    if links.explicit:
        shared = "may" if links.together else "must not (they would block)"
        lines.append(f"every link receives in the order of its sends; both directions between two ranks {shared} share one stream")
    lines.append(f"one step: {seconds_text(made.seconds)}, bubble {made.bubble:.1%}, peak {made.peak:g} stages of activations")
    lines += [_rank(made, rank) for rank in range(schedule.ranks)]
    path = [str(action) for action in made.critical]
    shown = [*path[:SHOWN], "..", *path[-SHOWN:]] if len(path) > 2 * SHOWN + 1 else path
    return "\n".join([*lines, f"critical path, {len(path)} actions: {' '.join(shown)}"])


def _buffers(count: int) -> str:
    return f"{count or 'no'} buffer{'s' * (count != 1)}"


def _rank(made: Replay, rank: int) -> str:
    gaps = [gap for gap in made.gaps if gap.rank == rank and gap.before is not None]
    line = f"rank {rank}: bubble {made.bubbles[rank]:.1%}, peak {made.peaks[rank]:g}"
    if not gaps:
        return f"{line}, never waits between its actions"
    worst = max(gaps, key=lambda gap: gap.seconds)
    return f"{line}, longest wait {seconds_text(worst.seconds)} before {worst.before} (for {worst.after})"


def view_schedule(args: Namespace, options: Options) -> None:
    """Draw or write a schedule: .svg with the durations of its actions, .csv, .txt; ``messages=true`` writes SEND and RECV too."""
    file = Path(args.file)
    check_known(options, ("F", "B", "I", "W", "comm", "messages"), f"{file} (seconds of an action; messages=true adds SEND and RECV)")
    messages = options.get("messages", False)
    if not isinstance(messages, bool):
        raise UsageError(f"messages={messages}: say true or false")
    times = times_of({name: value for name, value in options.items() if name != "messages"})
    schedule = read_schedule(file).schedule
    makers: dict[str, Callable[[], str]] = {
        ".txt": partial(view.text, schedule), ".csv": partial(to_csv, schedule, messages),
        ".svg": lambda: view.replay_picture(replay(schedule, times)), ".json": lambda: json.dumps({"csv": to_csv(schedule, messages)}),
    }  # fmt: skip
    suffix = Path(args.output).suffix if args.output else ".json" if args.json else ".txt"
    if suffix not in makers:
        raise UsageError(f"a schedule cannot be written as {suffix or 'a file without suffix'}; it can be {', '.join(sorted(makers))}")
    output(args, makers[suffix]())
    if suffix == ".svg" and not args.json:
        done = replay(schedule, times)
        print(f"{seconds_text(done.seconds)} a step, bubble {done.bubble:.1%}, peak {done.peak:g} stages of activations")
