"""What a plan could be with other slots, links or operators: the least bytes for a period, and what would make it faster.

    size(plan) -> Sizing            the least bytes of slots for a period, with a lower bound
    trade_off(plan) -> TradeOff     the curve of period against bytes
"""

from __future__ import annotations

from oflow.sizing.sizing import Sizing, SlotRow, TradeOff, size, trade_off, with_slots

__all__ = ["Sizing", "SlotRow", "TradeOff", "size", "trade_off", "with_slots"]
