"""Event files for TensorBoard: of the graph (`oflow view FILE tensorboard`) and of each step too (`oflow train FILE --tensorboard`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from oflow.cli.files import Given, UsageError
from oflow.live import Progress
from oflow.view.tensorboard import Scalars, graph_events, scalar_events

TAGS = ("loss", "steps_per_second", "samples_per_second", "tokens_per_second", "slots_in_use")


def event_file(given: Given, folder: str | None, as_json: bool) -> None:
    """Write the logical graph into an event file in `folder`. Raises UsageError where there is no graph or no folder."""
    if given.graph is None:
        raise UsageError(f"{given.path} has no logical graph for TensorBoard; give the .py file")
    if folder is None:
        raise UsageError("TensorBoard reads folders; say which with -o FOLDER")
    graph_events(given.graph, folder)
    print(json.dumps({"folder": folder}) if as_json else f"wrote the graph; see it with: tensorboard --logdir {folder}")


@contextmanager
def recorded(given: Given, folder: str | None) -> Iterator[Scalars | None]:
    """What writes scalars of a step into `folder`, beside the graph; None where no folder is asked for."""
    if folder is None:
        yield None
        return
    if given.graph is not None:
        graph_events(given.graph, folder)
    with scalar_events(folder) as write:
        yield write


def scalars(now: Progress) -> dict[str, float]:
    """What is known of a step, by tag; the busy share of each device under ``busy/``."""
    found = {tag: value for tag in TAGS if (value := getattr(now, tag)) is not None}
    return found | {f"busy/{device}": share for device, share in now.busy.items()}
