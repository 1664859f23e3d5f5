"""The actor state machine (no clock, no thread, no array) and its drivers, one a file."""

from __future__ import annotations

from oflow.actors.actor import ACK, REQ, Actor, Launch, Message
from oflow.actors.native import Compiled, native, processes, rehearse, shared_bytes
from oflow.actors.session import Launcher, Session, SlotCall
from oflow.actors.simulate import simulate
from oflow.actors.simulator import simulator
from oflow.actors.threads import threads

__all__ = [
    "ACK", "REQ", "Actor", "Compiled", "Launch", "Launcher", "Message", "Session", "SlotCall", "native", "processes",
    "rehearse", "shared_bytes", "simulate", "simulator", "threads",
]  # fmt: skip
