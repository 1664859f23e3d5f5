"""What the actions of a schedule take, in seconds or in any other unit of time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from oflow.errors import PlanError

Seconds = float | tuple[float, ...]
"""One number for all stages, or one for each stage 0..S-1."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of an action by phase, for all stages alike or stage by stage; a full backward takes I + W.

    communication: seconds from the end of an action to the arrival of its message on another rank; one number, or one for
    activations (forward) and one for gradients (backward). Inside a rank a message takes no time. Messages travel beside the
    work of both ranks and beside each other.
    """

    F: Seconds = 1.0
    I: Seconds = 1.0
    W: Seconds = 1.0
    communication: float | tuple[float, float] = 0.0

    def __post_init__(self) -> None:
        for name in ("F", "I", "W", "communication"):
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not numbers or not all(isinstance(x, int | float) and math.isfinite(x) and x >= 0 for x in numbers):
                raise PlanError(f"{name}={value!r} is no number of seconds, or one for each stage")
        if isinstance(self.communication, tuple) and len(self.communication) != 2:
            raise PlanError(f"communication={self.communication!r}: give one number, or one forward and one backward")

    def of(self, phase: str, stage: int) -> float:
        """Seconds of an action of `phase` on `stage`. Raises PlanError where times stage by stage have no entry for it."""
        if phase == "B":
            return self.of("I", stage) + self.of("W", stage)
        value = {"F": self.F, "I": self.I, "W": self.W}[phase]
        if not isinstance(value, tuple):
            return float(value)
        if stage >= len(value):
            raise PlanError(
                f"{phase}={value!r} has times for {len(value)} stages; there is a stage {stage}: give one number, or one for each stage"
            )
        return float(value[stage])

    @property
    def forward(self) -> float:
        """Seconds that an activation is under way between two ranks."""
        return float(self.communication[0] if isinstance(self.communication, tuple) else self.communication)

    @property
    def backward(self) -> float:
        """Seconds that a gradient is under way between two ranks."""
        return float(self.communication[1] if isinstance(self.communication, tuple) else self.communication)
