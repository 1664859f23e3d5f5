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
    order           the order of all other streams
    least_slots     the fewest bytes of slots at the same period, where the user says so
    memory          offsets, and control registers where bytes are shared

Before them `frontend.capture` traces the user's function; after them `check` proves the plan. A verifier runs after each.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from oflow.check import check
from oflow.check.references import check_references
from oflow.compiler import schedule_choice
from oflow.compiler.auto import ParameterChoice, parameter_choices
from oflow.compiler.buckets import buckets, trial_sizes
from oflow.compiler.chain import chain
from oflow.compiler.differentiate import differentiate
from oflow.compiler.expand import expand
from oflow.compiler.fit import Saved, fit, missing
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
from oflow.compiler.place import place
from oflow.compiler.recompute import recompute
from oflow.compiler.recomputed import recomputed
from oflow.compiler.reuse import reuse
from oflow.compiler.rings import rings
from oflow.compiler.schedule import schedule
from oflow.compiler.schedule_choice import ScheduleChoice, best_schedule
from oflow.compiler.simplify import simplify
from oflow.compiler.split_backward import split_backward
from oflow.compiler.stash import stashes
from oflow.compiler.strict import strict
from oflow.compiler.zero import zero
from oflow.graph import Graph, verify
from oflow.plan import Plan
from oflow.sbp import Layout, S

GraphPass = Callable[[Graph, Options], Graph]
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
PLAN_PASSES: tuple[Callable[[Plan, Options], Plan], ...] = (
    reuse,
    offload,
    chain,
    schedule,
    rings,
    order,
    least_slots,
    memory,
)
PASSES: tuple[str, ...] = ("capture", *(p.__name__ for p in GRAPH_PASSES), "expand", *(p.__name__ for p in PLAN_PASSES))
"""The names that ``oflow explain FILE --after PASS`` takes, in order."""


HIDDEN = (0.0, 0.5)
"""Automatic layouts are looked for as if these shares of the gradients' boxings ran beside the backward pass; the plan with the least
period is taken."""
FITTINGS = 6
"""How often automatic layouts are looked for again in less memory."""


def compile_graph(captured: Graph, given: Options) -> dict[str, Graph | Plan]:
    """Run all passes; returns what each one made, by pass name. The last plan is proved by `check`."""
    with _no_collection():
        return best_schedule(captured, given, _run) if given.schedule == AUTO else _run(captured, given)


def schedule_choices(captured: Graph, given: Options) -> list[ScheduleChoice]:
    """What each schedule would make of the program, the one that "auto" takes first. All are compiled for it."""
    with _no_collection():
        return schedule_choice.schedule_choices(captured, given, _run)


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


def _run(captured: Graph, given: Options) -> dict[str, Graph | Plan]:
    if given.layout != "auto":
        made = _saved(_passes(captured, given), given)
        check(_plan(made))
        return made
    trials = [(captured, replace(given, hidden=hidden)) for hidden in HIDDEN] + _batch_everywhere(captured, given)
    found: list[dict[str, Graph | Plan]] = []
    for graph, trial in trials:
        graphs = _graph_passes({"capture": graph}, trial)
        if not any(graphs["infer_sbp"] == one["infer_sbp"] for one in found):
            made = _plan_passes(graphs, trial)
            found.append(_fitted(graph, trial, made))
            if AUTO in (given.recompute, given.offload) and missing(_plan(made)):
                found.append(_saved(made, trial))
    if all(missing(_plan(one)) for one in found):
        check(_plan(found[0]))  # says what does not fit
    return min((one for one in found if not missing(_plan(one))), key=lambda one: check(_plan(one)).period)


def _batch_everywhere(captured: Graph, given: Options) -> list[tuple[Graph, Options]]:
    """What one would try first: inputs whose layout is open split along the batch over all devices, weights as annotated."""
    values = dict(captured.values)
    for v in captured.inputs:
        layout = values[v].layout
        if layout is not None and not values[v].fixed and values[v].type.shape:
            values[v] = replace(values[v], layout=Layout(layout.placement, (S(0),) * len(layout.sbp)))
    return [(replace(captured, values=values), replace(given, layout=None))] if values != captured.values else []


def _fitted(captured: Graph, given: Options, made: dict[str, Graph | Plan]) -> dict[str, Graph | Plan]:
    """Automatic layouts, looked for again until they fit in memory."""
    for _ in range(FITTINGS if given.layout == "auto" else 0):
        lack = max(missing(_plan(made)).values(), default=0)
        if not lack:
            break
        given = replace(given, saved_nbytes=given.saved_nbytes + lack)
        made = _passes(captured, given)
    return made


def _saved(made: dict[str, Graph | Plan], given: Options) -> dict[str, Graph | Plan]:
    """With recompute="auto" or offload="auto", what does not fit is computed again or waits on the host."""
    graph, expanded = made["recompute"], made["expand"]
    assert isinstance(graph, Graph) and isinstance(expanded, Plan)
    if AUTO not in (given.recompute, given.offload) or not missing(_plan(made)):
        return made
    before = _before(recompute, made)
    tried: dict[Saved, dict[str, Graph | Plan]] = {}

    def compiled(saved: Saved) -> Plan:
        if saved not in tried:
            trial = replace(given, dropped=saved.dropped, offloaded=saved.offloaded)
            tried[saved] = _planned(_graph_passes(before, trial), trial)
        return _plan(tried[saved])

    return tried[fit(_plan(made), expanded, stashes(graph, given), given, compiled)]


def _plan(made: dict[str, Graph | Plan]) -> Plan:
    found = made["memory"]
    assert isinstance(found, Plan)
    return found


def _passes(captured: Graph, given: Options) -> dict[str, Graph | Plan]:
    return _plan_passes(_graph_passes({"capture": captured}, given), given)


def _graph_passes(made: dict[str, Graph], given: Options) -> dict[str, Graph]:
    """What each graph pass makes. made: what the first ones made already."""
    made = dict(made)
    graph = list(made.values())[-1]
    verify(graph)
    for graph_pass in GRAPH_PASSES[len(made) - 1 :]:
        graph = graph_pass(graph, given)
        verify(graph)
        made[graph_pass.__name__] = graph
    return made


def _before(graph_pass: GraphPass, made: Mapping[str, Graph | Plan]) -> dict[str, Graph]:
    """What the passes before this one made."""
    earlier = itertools.takewhile(lambda one: one[0] != graph_pass.__name__, made.items())
    return {name: one for name, one in earlier if isinstance(one, Graph)}


def _plan_passes(graphs: dict[str, Graph], given: Options) -> dict[str, Graph | Plan]:
    """All that was made, graphs first. Where buckets are left open, those of the plan with the shortest period that fits."""
    made = _planned(graphs, given)
    if given.bucket_nbytes != AUTO:
        return made
    before = _before(buckets, graphs)
    trials = [made]
    for nbytes in trial_sizes(before[insert_boxing.__name__], given.planner):
        trial = replace(given, bucket_nbytes=nbytes)
        trials.append(_planned(_graph_passes(before, trial), trial))
    fitting = [one for one in trials if not missing(_plan(one))]
    return min(fitting, key=lambda one: check(_plan(one)).period, default=made)


def _planned(graphs: dict[str, Graph], given: Options) -> dict[str, Graph | Plan]:
    plan = expand(graphs[GRAPH_PASSES[-1].__name__], given)
    check_references(plan)
    made: dict[str, Graph | Plan] = {**graphs, "expand": plan}
    for plan_pass in PLAN_PASSES:
        plan = plan_pass(plan, given)
        check_references(plan)
        made[plan_pass.__name__] = plan
    return made


__all__ = [
    "PASSES", "Options", "ParameterChoice", "ScheduleChoice", "compile_graph", "options", "pack", "parameter_choices", "recomputed",
    "schedule_choices",
]  # fmt: skip
