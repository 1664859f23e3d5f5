"""strict: with `of.compile(..., strict=True)` no layout changes unless the user asked for it.

Asked for are: `to_global`, and what its gradient needs; copies of inputs from and outputs to the caller's memory; micro-batches cut
out of a whole value; and whatever brings a parameter's gradient (or the norm that clips it) to the home of the parameter, since the
annotation says where that is and no line of the user's stands between; and parts of a parameter that nobody annotated, which every
device has whole then. Everything else that inference would insert is refused, also
where it moves no bytes.

Inference knows about it: a boxing that nobody asked for is charged many times over, so what is refused is what the step would be far
slower without.
"""

from __future__ import annotations

from collections.abc import Sequence

from oflow.boxings import READER, Boxing, boxings, folded
from oflow.compiler.options import Options
from oflow.compiler.reasons import named
from oflow.compiler.stages import target_layout
from oflow.errors import SbpError
from oflow.graph import Graph
from oflow.ops import REGISTRY


def strict(graph: Graph, options: Options) -> Graph:
    """The graph, unchanged. Raises SbpError that lists each boxing with its bytes, seconds, route and line, and what to write."""
    if not options.strict:
        return graph
    every = [one for one in boxings(graph, options.machine) if one.why == READER]
    if not every:
        return graph
    found = folded(every)
    nbytes, seconds = sum(one.nbytes for one in found), sum(one.seconds for one in found)
    several = "1 boxing" if len(every) == 1 else f"{len(every)} boxings"
    raise SbpError(
        f"strict=True, and the layouts asked for need {several} that nobody asked for ({nbytes:,} bytes over all links, {_us(seconds)} "
        f"a step); ask for each, or annotate so that it is not needed{''.join(_told(graph, one, found) for one in found)}",
        line=found[0].line, boxings=found,
    )  # fmt: skip


def unasked(graph: Graph) -> frozenset[int]:
    """Values whose boxings nobody asks for: all but gradients of parameters and of what to_global makes, and what updates make."""
    asked = {p.value for p in graph.parameters} | {v for node in graph.nodes if target_layout(node) for v in node.outs}
    updates = {v for node in graph.nodes if node.phase == "update" for v in node.outs}
    free = updates | slices(graph) | unplaced(graph)
    return frozenset(v for v, value in graph.values.items() if v not in free and value.gradient_of not in asked)


def slices(graph: Graph) -> set[int]:
    """Micro-batches of whole values."""
    pulls = [node for node in graph.nodes if REGISTRY[node.op].lowering == "pull"]
    return {node.outs[0] for node in pulls if graph.values[node.outs[0]].time != graph.values[node.ins[0]].time}


def unplaced(graph: Graph) -> set[int]:
    """Parameters without annotation that every device has whole."""
    kept = [graph.values[p.value] for p in graph.parameters]
    return {value.id for value in kept if not value.fixed and value.layout is not None and value.layout.is_broadcast}


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:,.4g} us"


def _told(graph: Graph, one: Boxing, every: Sequence[Boxing]) -> str:
    count = f" ({one.count} times)" if one.count > 1 else ""
    phase = "in the backward pass " if one.phase in ("B", "I", "W") else ""
    return (
        f"\n  {one.line or 'the caller'}: {one.reader} {phase}wants {one.name} {one.type} in another layout{count}, {one.route}: "
        f"{one.nbytes:,} bytes, {_us(one.seconds)} a step\n    {_remedy(graph, one, every)}"
    )


def _remedy(graph: Graph, one: Boxing, every: Sequence[Boxing]) -> str:
    """What to write to ask for it."""
    crosses = one.stage is not None and one.source.placement != one.target.placement
    write = f"write t.to_global({one.target.code}){f' inside of.stage({one.stage})' if crosses else ''}"
    inside = f"; where t is made inside the call at {one.line}, write it for what that call returns, or for its operands"
    maker, forward = graph.producers().get(one.value), graph.values[one.value].gradient_of
    if forward is not None and forward in graph.values:
        layout = graph.values[forward].layout
        assert layout is not None
        what = named(graph, forward)
        if any(other.value == forward for other in every):
            return f"it is the gradient of {what}: the to_global of that asks for this as well"
        return f"it is the gradient of t, {what}: write t.to_global({layout.code}), which asks for this as well{inside}"
    if maker is not None and maker.phase != "F":
        return f"it is made inside the gradient of the call at {maker.line}: write to_global for its operands, or for what it returns"
    if maker is None:
        fixed = graph.values[one.value].fixed
        other = "" if fixed else ", or annotate it so before"
        return f"{write}, where t is {named(graph, one.value)}{other}"
    same_line = inside if maker.line == one.line else ""
    return f"{write}, where t is {named(graph, one.value)}{same_line}"
