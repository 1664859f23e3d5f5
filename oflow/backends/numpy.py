"""Link a plan to NumPy kernels: each actor row becomes a function (act, slots) that runs its program on views of the arenas.

Calls are bound once for each combination of slots and then only called, so after every slot was used once nothing is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from oflow.backends.arena import Memory
from oflow.errors import NotFiniteError
from oflow.ops import REGISTRY
from oflow.plan import ActorSpec, ActorTemplate, Arg, Call, Plan, Port
from oflow.types import FLOATS

Run = Callable[[], None]
Launcher = Callable[[int, tuple[int, ...]], None]


def link(plan: Plan, memory: Memory, *, checked: bool = False, refuse_nan: bool = False) -> list[Launcher]:
    """One launcher for each actor row. checked: operands are read-only views. refuse_nan: results are tested after each call.

    Raises KernelMissing at the user's line where an operator has no kernel for a device.
    """
    return list(link_numpy(plan, memory, checked=checked, refuse_nan=refuse_nan))


def link_numpy(plan: Plan, memory: Memory, *, checked: bool = False, refuse_nan: bool = False) -> list[ActorCalls]:
    """The calls of each actor row, bound to NumPy kernels; raises like `link`."""
    for device, call in _operators_first(plan):
        REGISTRY[call.op].kernel_for(device.partition(":")[0], call.line)
    return [ActorCalls(plan, memory, actor, checked, refuse_nan) for actor in plan.actors]


def _operators_first(plan: Plan) -> list[tuple[str, Call]]:
    """(device, call) of every template, what the user wrote before the moves that the compiler added."""
    found = [(plan.rank_table[actor.group][0], call) for actor in plan.actor_templates for call in actor.calls]
    return sorted(found, key=lambda pair: REGISTRY[pair[1].op].lowering != "local")


class ActorCalls:
    """The calls of one actor, bound once for each phase of its windows and combination of slots."""

    __slots__ = ("actor", "bound", "checked", "memory", "plan", "positions", "refuse_nan", "template", "window")

    def __init__(self, plan: Plan, memory: Memory, actor: ActorSpec, checked: bool, refuse_nan: bool) -> None:
        self.plan, self.memory, self.actor, self.checked, self.refuse_nan = plan, memory, actor, checked, refuse_nan
        self.template: ActorTemplate = plan.actor_templates[actor.template]
        present = [i for i, p in enumerate(self.template.ports) if not p.peers or p.peers[actor.rank] >= 0]
        self.positions = {index: at for at, index in enumerate(present)}
        self.window = math.lcm(*(p.every for p in actor.ports if p.mode in ("slice", "sum")), 1)
        self.bound: dict[tuple[int, int, tuple[int, ...]], Run] = {}

    def __call__(self, act: int, slots: tuple[int, ...]) -> None:
        self.run(act, slots, range(len(self.template.calls)))

    def run(self, act: int, slots: tuple[int, ...], numbers: Iterable[int]) -> None:
        """Run the calls with these numbers in act `act`, with these slots bound to the ports."""
        phase = act % self.window
        for number in numbers:
            run = self.bound.get((number, phase, slots))
            if run is None:
                run = self.bound[number, phase, slots] = self._bind(self.template.calls[number], phase, slots)
            try:
                run()
            except Exception as e:
                self.noted(e, number, act)
                raise

    def noted(self, error: Exception, number: int, act: int) -> Exception:
        call = self.template.calls[number]
        error.add_note(f"in {call.op} at {call.line or self.actor.name}, actor {self.actor.label}, act {act}")
        return error

    def _bind(self, call: Call, phase: int, slots: tuple[int, ...]) -> Run:
        op = REGISTRY[call.op]
        outs = [self._view(arg, phase, slots, write=True) for arg in call.outs]
        ins = [self._view(arg, phase, slots, write=False) for arg in call.ins if self._present(arg)]
        attrs: dict[str, Any] = call.attrs_of(self.actor.rank)
        if call.workspace >= 0:
            attrs["workspace"] = self._scratch(call.workspace)
        kind = self.actor.device.partition(":")[0]
        if not any(self._port(arg).mode == "sum" and phase % self._port(arg).every for arg in call.outs if arg.kind == "port"):
            run: Run = op.call_for(kind, call.line, outs, ins, attrs)
        elif op.lowering == "accumulate":
            run = partial(np.add, outs[0], ins[0], out=outs[0])
        else:
            part = np.empty_like(outs[0])
            run = partial(_add_part, op.call_for(kind, call.line, (part,), ins, attrs), outs[0], part)
        return partial(_run_finite, run, outs, call) if self.refuse_nan else run

    def _present(self, arg: Arg) -> bool:
        return arg.kind != "port" or arg.index in self.positions

    def _port(self, arg: Arg) -> Port:
        return self.actor.ports[self.positions[arg.index]]

    def _scratch(self, index: int) -> np.ndarray:
        scratch = self.template.scratch[index]
        kind = scratch.types[self.actor.rank if len(scratch.types) > 1 else 0]
        return self.memory.scratch(self.actor.stream, scratch.offset, kind)

    def _view(self, arg: Arg, phase: int, slots: tuple[int, ...], *, write: bool) -> np.ndarray:
        found = self._bytes(arg, phase, slots, write=write)
        return found.reshape(arg.types[self.actor.rank if len(arg.types) > 1 else 0].shape) if arg.types else found

    def _bytes(self, arg: Arg, phase: int, slots: tuple[int, ...], *, write: bool) -> np.ndarray:
        if arg.kind == "scratch":
            return self._scratch(arg.index)
        port = self._port(arg)
        found = self.memory.slot(self.plan.registers[port.register], slots[self.positions[arg.index]])
        if port.mode == "slice":
            rows = found.shape[0] // port.every
            at = phase % port.every
            found = found[at * rows : (at + 1) * rows]
        if self.checked and not write and port.direction == "in":
            found = found.view()
            found.flags.writeable = False
        return found


def _add_part(run: Run, out: np.ndarray, part: np.ndarray) -> None:
    run()
    out += part


def _run_finite(run: Run, outs: list[np.ndarray], call: Call) -> None:
    run()
    for out in outs:
        if out.dtype.name in FLOATS and out.size and not (math.isfinite(out.max()) and math.isfinite(out.min())):
            raise not_finite(call)


def not_finite(call: Call) -> NotFiniteError:
    return NotFiniteError(
        f"{call.op} made NaN or infinity; lower the learning rate, clip gradients, or compile with refuse_nan=False "
        "to let it pass",
        line=call.line,
    )
