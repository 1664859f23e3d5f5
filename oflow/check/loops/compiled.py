"""Machine code of the loops: the same functions, over pointers. Imported by numba's process only."""

from __future__ import annotations

from collections.abc import Callable

from oflow.check.loops.play import play_step
from oflow.check.loops.potentials import raised_cycles, rounds, sweep
from oflow.check.loops.turns import clock, takeovers
from oflow.check.loops.twin import twin

LOOPS = {loop.__name__: loop for loop in (play_step, sweep, raised_cycles, rounds, takeovers, clock)}


def kernel(name: str) -> Callable[[int], int]:
    return twin(LOOPS[name])
