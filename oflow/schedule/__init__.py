"""Schedules as data: the order of actions, what it takes to run them, and PyTorch's files."""

from __future__ import annotations

from oflow.schedule.order import PHASES, Action, Schedule, verify_schedule
from oflow.schedule.pytorch import from_csv, to_csv
from oflow.schedule.times import Times

__all__ = ["PHASES", "Action", "Schedule", "Times", "from_csv", "to_csv", "verify_schedule"]
