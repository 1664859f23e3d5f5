"""What the user leaves open: several variants are compiled, and the one with the shortest proved period that fits in memory is taken.

Layouts of inputs and parameters (layout="auto"), what is computed again or waits on the host (recompute="auto", offload="auto"), and the
sizes of buckets (bucket_nbytes="auto"). Schedules: `schedule_choice`, which compiles a variant of this kind for each.
"""

from __future__ import annotations

from dataclasses import replace

from oflow.check import check
from oflow.check.memory import devices_hold
from oflow.compiler.buckets import buckets, trial_sizes
from oflow.compiler.fit import Saved, fit, missing
from oflow.compiler.insert_boxing import insert_boxing
from oflow.compiler.options import AUTO, Options, saving
from oflow.compiler.passes import Made, Passes, before, plan_of
from oflow.compiler.recompute import recompute
from oflow.compiler.stash import stashes
from oflow.graph import Graph
from oflow.plan import Plan
from oflow.sbp import Layout, S

HIDDEN = (0.0, 0.5)
"""Automatic layouts are looked for as if these shares of the gradients' boxings ran beside the backward pass; the plan with the least
period is taken."""
FITTINGS = 6
"""How often automatic layouts are looked for again in less memory."""


def best_variant(passes: Passes, captured: Graph, given: Options) -> Made:
    """What the passes made, the last plan proved. Where something is left open ("auto"), that of the variant with the shortest period
    that fits in memory. Raises what `check` finds of the first where none fits."""
    if given.layout != AUTO:
        made = _saved(passes, _passes(passes, captured, given), given)
        devices_hold(plan_of(made), saving(given))
        check(plan_of(made))
        return made
    trials = [(captured, replace(given, hidden=hidden)) for hidden in HIDDEN] + _batch_everywhere(captured, given)
    found: list[Made] = []
    for graph, trial in trials:
        graphs = passes.graphs({"capture": graph}, trial)
        if not any(graphs["infer_sbp"] == one["infer_sbp"] for one in found):
            made = _with_buckets(passes, graphs, trial)
            found.append(_fitted(passes, graph, trial, made))
            if AUTO in (given.recompute, given.offload) and missing(plan_of(made)):
                found.append(_saved(passes, made, trial))
    if all(missing(plan_of(one)) for one in found):
        devices_hold(plan_of(found[0]), saving(given))
    return min((one for one in found if not missing(plan_of(one))), key=lambda one: check(plan_of(one)).period)


def _batch_everywhere(captured: Graph, given: Options) -> list[tuple[Graph, Options]]:
    """What one would try first: inputs whose layout is open split along the batch over all devices, weights as annotated."""
    values = dict(captured.values)
    for v in captured.inputs:
        layout = values[v].layout
        if layout is not None and not values[v].fixed and values[v].type.shape:
            values[v] = replace(values[v], layout=Layout(layout.placement, (S(0),) * len(layout.sbp)))
    return [(replace(captured, values=values), replace(given, layout=None))] if values != captured.values else []


def _fitted(passes: Passes, captured: Graph, given: Options, made: Made) -> Made:
    """Automatic layouts, looked for again until they fit in memory."""
    for _ in range(FITTINGS if given.layout == AUTO else 0):
        lack = max(missing(plan_of(made)).values(), default=0)
        if not lack:
            break
        given = replace(given, saved_nbytes=given.saved_nbytes + lack)
        made = _passes(passes, captured, given)
    return made


def _saved(passes: Passes, made: Made, given: Options) -> Made:
    """With recompute="auto" or offload="auto", what does not fit is computed again or waits on the host."""
    graph, expanded = made["recompute"], made["expand"]
    assert isinstance(graph, Graph) and isinstance(expanded, Plan)
    if AUTO not in (given.recompute, given.offload) or not missing(plan_of(made)):
        return made
    whole = before(recompute, made)
    tried: dict[Saved, Made] = {}

    def compiled(saved: Saved) -> Plan:
        if saved not in tried:
            trial = replace(given, dropped=saved.dropped, offloaded=saved.offloaded)
            tried[saved] = passes.plans(passes.graphs(whole, trial), trial)
        return plan_of(tried[saved])

    return tried[fit(plan_of(made), expanded, stashes(graph, given), given, compiled)]


def _passes(passes: Passes, captured: Graph, given: Options) -> Made:
    return _with_buckets(passes, passes.graphs({"capture": captured}, given), given)


def _with_buckets(passes: Passes, graphs: dict[str, Graph], given: Options) -> Made:
    """All that was made, graphs first. Where buckets are left open, those of the plan with the shortest period that fits; where none
    does, of the one that lacks least, from which others may go on saving."""
    made = passes.plans(graphs, given)
    if given.bucket_nbytes != AUTO:
        return made
    boxed = before(buckets, graphs)
    trials = [made]
    for nbytes in trial_sizes(boxed[insert_boxing.__name__], given.planner):
        trial = replace(given, bucket_nbytes=nbytes)
        trials.append(passes.plans(passes.graphs(boxed, trial), trial))
    fitting = [one for one in trials if not missing(plan_of(one))]
    if not fitting:
        return min(trials, key=lambda one: sum(missing(plan_of(one)).values()))
    return min(fitting, key=lambda one: check(plan_of(one)).period)
