"""The compiler: a tuple of passes, each one function in one file, read from top to bottom.

    place           stages and parameters get devices
    mixed_precision products and what follows them in 16 bits, where the user says so
    differentiate   the backward pass, as nodes of the same graph
    optimize        step counter, learning rate, clipping and updates, as nodes
    simplify        common subexpressions once, dead code never
    micro_batches   the time axis: rates, accumulation
    zero            optimizer state, gradients, parameters split over the devices that repeat them
    infer_sbp       a layout for every value, the annotations fixed
    insert_boxing   layouts that differ become pulls
    buckets         gradients that are reduced alike travel together, while the backward pass goes on
    strict          no layout changes that nobody asked for, where the user says so
    host            inputs come from and outputs go to the caller's memory
    split_backward  input and weight gradients apart, where the schedule says so
    fuse            groups of elementwise nodes become one, sums go where they are wanted
    recompute       values of marked regions are made again in the backward pass, not kept
    expand          Graph -> Plan: templates x rank table
    reuse           how far away the bytes that each call touches are
    offload         the stash waits in the host's memory
    chain           what a stream runs back to back becomes one actor
    schedule        slots for every register, the order of the compute streams
    rings           copies of split parameters, and gradients, take turns in rings of bytes

  on one device a role (`oflow.check.fold`), for all that have it:
    order           the order of all other streams
    least_slots     the fewest bytes of slots at the same period, where the user says so
    memory          offsets, and control registers where bytes are shared

Before them `frontend.capture` traces the user's function; after them `check` proves the plan. A verifier runs after each.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from oflow.compiler import schedule_choice
from oflow.compiler.auto import ParameterChoice, parameter_choices
from oflow.compiler.buckets import buckets
from oflow.compiler.chain import chain
from oflow.compiler.differentiate import differentiate
from oflow.compiler.expand import expand
from oflow.compiler.fuse import fuse
from oflow.compiler.host import host
from oflow.compiler.infer_sbp import infer_sbp
from oflow.compiler.insert_boxing import insert_boxing
from oflow.compiler.least_slots import least_slots
from oflow.compiler.memory import memory
from oflow.compiler.micro_batches import micro_batches
from oflow.compiler.mixed_precision import mixed_precision
from oflow.compiler.offload import offload
from oflow.compiler.optimize import optimize
from oflow.compiler.options import AUTO, Options, options
from oflow.compiler.order import order
from oflow.compiler.packing import pack
from oflow.compiler.passes import GraphPass, Made, Passes, PlanPass
from oflow.compiler.place import place
from oflow.compiler.recompute import recompute
from oflow.compiler.recomputed import recomputed
from oflow.compiler.reuse import reuse
from oflow.compiler.rings import rings
from oflow.compiler.schedule import schedule
from oflow.compiler.schedule_choice import ScheduleChoice, best_schedule
from oflow.compiler.signature_choice import signature_choices
from oflow.compiler.simplify import simplify
from oflow.compiler.split_backward import split_backward
from oflow.compiler.strict import strict
from oflow.compiler.variants import best_variant
from oflow.compiler.zero import zero
from oflow.graph import Graph

GRAPH_PASSES: tuple[GraphPass, ...] = (
    place,
    mixed_precision,
    differentiate,
    optimize,
    simplify,
    micro_batches,
    zero,
    infer_sbp,
    insert_boxing,
    buckets,
    strict,
    host,
    split_backward,
    fuse,
    recompute,
)
PLAN_PASSES: tuple[PlanPass, ...] = (
    reuse,
    offload,
    chain,
    schedule,
    rings,
)
FOLDED_PASSES: tuple[PlanPass, ...] = (
    order,
    least_slots,
    memory,
)
PASSES: tuple[str, ...] = ("capture", *(p.__name__ for p in GRAPH_PASSES), "expand", *(p.__name__ for p in (*PLAN_PASSES, *FOLDED_PASSES)))
"""The names that ``oflow explain FILE --after PASS`` takes, in order."""


def compile_graph(captured: Graph, given: Options) -> Made:
    """Run all passes; returns what each one made, by pass name. The last plan is proved by `check`."""
    with _no_collection():
        return best_schedule(captured, given, _variant) if given.schedule == AUTO else _variant(captured, given)


def schedule_choices(captured: Graph, given: Options) -> list[ScheduleChoice]:
    """What each schedule would make of the program, the one that "auto" takes first. All are compiled for it."""
    with _no_collection():
        return schedule_choice.schedule_choices(captured, given, _variant)


def _variant(captured: Graph, given: Options) -> Made:
    return best_variant(Passes(GRAPH_PASSES, expand, PLAN_PASSES, FOLDED_PASSES), captured, given)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Passes make many objects and no cycles: looking for some takes a third of the time of a deep model."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


__all__ = [
    "PASSES", "Options", "ParameterChoice", "ScheduleChoice", "compile_graph", "options", "pack", "parameter_choices", "recomputed",
    "schedule_choices", "signature_choices",
]  # fmt: skip
