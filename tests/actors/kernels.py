"""Kernels for hand-made plans: slots as NumPy arrays, and one function per actor that gets the act's views."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from oflow.actors import Launcher, Session, native, simulator, threads
from oflow.native import available
from oflow.plan import Plan
from tests.plans import PlanBuilder

Kernel = Callable[..., None]
SESSIONS: dict[str, Callable[..., Session]] = {
    "simulator": simulator,
    "caller": lambda plan, launch, **options: threads(plan, launch, workers=0, **options),
    "1 thread": lambda plan, launch, **options: threads(plan, launch, workers=1, **options),
    "3 threads": lambda plan, launch, **options: threads(plan, launch, workers=3, **options),
}
if available():
    SESSIONS["native caller"] = lambda plan, launch, **options: native(plan, launch, workers=0, **options)
    SESSIONS["native 3"] = lambda plan, launch, **options: native(plan, launch, workers=3, **options)


class Slots:
    """Arrays for every register; `launchers` calls kernels as ``kernel(act, first of window, *views)``."""

    def __init__(self, plan: Plan, shapes: Mapping[int, tuple[int, ...]]) -> None:
        self.plan = plan
        self.arrays = [[np.zeros(shapes.get(r.id, ())) for _ in range(r.slots)] for r in plan.registers]

    def poison(self, register: int, slot: int) -> None:
        self.arrays[register][slot].fill(np.nan)

    def launchers(self, kernels: Mapping[str, Kernel]) -> list[Launcher]:
        return [self._launcher(row, kernels[actor.name]) for row, actor in enumerate(self.plan.actors)]

    def _launcher(self, row: int, kernel: Kernel) -> Launcher:
        ports = self.plan.actors[row].ports

        def launch(act: int, slots: tuple[int, ...]) -> None:
            views = []
            for port, slot in zip(ports, slots, strict=True):
                array = self.arrays[port.register][slot]
                if port.mode == "slice":
                    part = len(array) // port.every
                    array = array[act % port.every * part :][:part]
                views.append(array)
                if port.mode == "sum" and act % port.every == 0:
                    array[...] = 0
            kernel(act, *views)

        return launch


def training(micro_batches: int, slots: int = 2) -> tuple[Plan, dict[int, tuple[int, ...]]]:
    """feed x (M values) -> forward y = w x, one micro-batch an act -> gradient sum, result slices -> update of w; fetch.

    Rows: feed 0, forward 1, grad 2, update 3, fetch 4. Registers: x, y, w, dw, constant.
    """
    b, m = PlanBuilder(), micro_batches
    x, y = b.register("x", "host:0", slots), b.register("y", "cpu:0", slots)
    w, dw = b.register("w", "cpu:0", 1, 1, state="w"), b.register("dw", "cpu:0", 1)
    rate, z = b.register("rate", "cpu:0", 1, 1), b.register("z", "cpu:0", slots)
    b.actor("feed", "host:0", [], [(x, 1, "whole")], stream="feed")
    b.actor("forward", "cpu:0", [(x, m, "slice"), (w, m, "whole")], [(y, m, "slice"), (z, 1, "whole")], acts=m)
    b.actor("grad", "cpu:1", [(z, 1, "whole")], [(dw, m, "sum")], acts=m)
    b.actor("update", "cpu:1", [(dw, 1, "whole"), (rate, 0, "whole")], [(w, 1, "keep")], stream="update")
    b.actor("fetch", "host:0", [(y, 1, "whole")], [], stream="fetch")
    return b.plan(), {x: (m,), y: (m,), z: (1,)}
