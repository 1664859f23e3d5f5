"""Schedules as data: the order of actions, what it takes to run them, and PyTorch's files."""

from __future__ import annotations

from oflow.schedule.links import Links, check_links
from oflow.schedule.order import PHASES, Action, Schedule, verify_schedule
from oflow.schedule.pytorch import Cell, Listing, from_csv, read_csv, to_csv
from oflow.schedule.replay import Gap, Replay, replay, stash_peaks
from oflow.schedule.times import Times

__all__ = [
    "PHASES", "Action", "Cell", "Gap", "Links", "Listing", "Replay", "Schedule", "Times", "check_links", "from_csv", "read_csv",
    "replay", "stash_peaks", "to_csv", "verify_schedule",
]  # fmt: skip
