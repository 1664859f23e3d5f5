"""What a plan could be with other slots, links or operators: the least bytes for a period, and what would make it faster.

    size(plan) -> Sizing                 the least bytes of slots for a period, with a lower bound
    trade_off(plan) -> TradeOff          the curve of period against bytes
    what_if(plan, ...) -> Forecast       the exact period with faster operators, other links or other slots
    what_would_help(plan)                changes on the critical cycle, ranked; sensitivities(plan): derivatives and slack
"""

from __future__ import annotations

from oflow.sizing.bottleneck import Sensitivities, sensitivities, what_would_help
from oflow.sizing.curve import RESOLUTION, Point
from oflow.sizing.loads import FULLEST, MEASURES, TOTAL, devices_of
from oflow.sizing.sizing import VIEWS, Problem, Sizing, SlotRow, TradeOff, in_seconds, problem_of, size, trade_off, with_slots
from oflow.sizing.what_if import Forecast, what_if

__all__ = [
    "FULLEST", "MEASURES", "RESOLUTION", "TOTAL", "VIEWS", "Forecast", "Point", "Problem", "Sensitivities", "Sizing", "SlotRow",
    "TradeOff", "devices_of", "in_seconds", "problem_of", "sensitivities", "size", "trade_off", "what_if", "what_would_help",
    "with_slots",
]  # fmt: skip
