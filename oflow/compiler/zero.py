"""zero: optimizer state, accumulated gradients and parameters live split over the devices that repeat them (ZeRO stages 1 to 3).

Rajbhandari, Rasley, Ruwase, He 2020, "ZeRO: memory optimizations toward training trillion parameter models" (SC20). Here it is a
change of annotations, and all else follows from inference and boxing:

    stage 1   the optimizer's state gets the home S(i) where its parameter w is B. The update reads w and the gradient as S(i), a
              part of what the device has and a reduce-scatter P -> S(i); its result goes home by an all-gather S(i) -> B
    stage 2   the gradient is asked for as S(i) before it is added over micro-batches, so the sum is kept as a shard
    stage 3   w's home is S(i) too; forward and backward ask for w as it was, by a boxing each, so no copy is kept in between.
              What is made of w alone, part by part and once a step, is made of the shard where w would be gathered once a step:
              a 16-bit copy is gathered in 16 bits

The devices that repeat a parameter are those along mesh axes on which it is B and its gradient P, or an input's batch split:
inference is asked once without these annotations to know. A norm that clips is a sum over shards, P(sum) like any other: each
element counts once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from oflow.boxings import SHARDED
from oflow.compiler.auto import best_layouts
from oflow.compiler.options import Options
from oflow.compiler.question import Question
from oflow.compiler.sharding import Zero, named_axes, shard
from oflow.errors import PlanError, user_line
from oflow.graph import Builder, Graph, Node, Parameter, rate_of
from oflow.ops import REGISTRY
from oflow.sbp import Layout, Placement, S
from oflow.types import freeze


def zero(graph: Graph, options: Options) -> Graph:
    """Raises PlanError where the mesh axis that the user named is on no placement of a parameter."""
    if options.zero.stage:
        answered = _answered(graph, options)
        graph = _homes_of(graph, answered)
        cut = _cut(graph, answered, options.zero)
        graph = _Split(graph, cut, options.zero).graph()
    return replace(graph, parameters=tuple(replace(p, gradient=None) for p in graph.parameters))


def _answered(graph: Graph, options: Options) -> Graph:
    """Layouts without these annotations: the best homes where they are open, else no more than a good guess at the rest."""
    if options.layout == "auto":
        return best_layouts(graph, options)
    question = Question(graph, options.machine, strict=options.strict, planner=options.planner)
    return question.answered(question.best(0))


def _homes_of(graph: Graph, answered: Graph) -> Graph:
    """The homes that inference chose, where they were open."""
    given = (*graph.inputs, *(p.value for p in graph.parameters))
    return replace(graph, values={**graph.values, **{v: replace(graph.values[v], layout=answered.values[v].layout) for v in given}})


# ---------------------------------------------------------------- where


def _cut(graph: Graph, answered: Graph, zero: Zero) -> dict[int, Layout]:
    """The layout of the shards of each trained parameter that is cut."""
    trained = [p for p in graph.parameters if p.trainable and p.update is not None]
    axes = _repeated(answered, trained, zero)
    found = {}
    for p in trained:
        home = _layout(graph, p.value)
        made = shard(home, graph.values[p.value].type, axes.get(home.placement, ()))
        if made != home:
            found[p.value] = made
    return found


def _repeated(answered: Graph, trained: Iterable[Parameter], zero: Zero) -> dict[Placement, tuple[int, ...]]:
    """By placement, the mesh axes along which devices repeat parameters."""
    found: dict[Placement, set[int]] = {}
    for p in trained:
        home = _layout(answered, p.value)
        axes = found.setdefault(home.placement, set())
        if zero.axis is not None:
            axes.update(named_axes(zero, home))
            continue
        axes.update(k for v in answered.inputs for k in _batch_axes(answered, v, home.placement))
        if p.gradient is not None and (made := _layout(answered, p.gradient)).placement == home.placement:
            axes.update(k for k, s in enumerate(made.sbp) if s.is_partial and home.sbp[k].kind == "B")
    if zero.axis is not None and found and not any(found.values()):
        places = ", ".join(map(str, found))
        asked = f"zero is asked for along the mesh axis {zero.axis!r}, and parameters live on {places}"
        raise PlanError(f"{asked}; name one of their axes (of.placement(..., names=)), or leave it out", line=user_line())
    return {placement: tuple(sorted(axes)) for placement, axes in found.items()}


def _batch_axes(graph: Graph, v: int, placement: Placement) -> list[int]:
    """The mesh axes of the placement along which an input's batch is split."""
    layout = graph.values[v].layout
    return [k for k, s in enumerate(layout.sbp) if s == S(0)] if layout is not None and layout.placement == placement else []


# ---------------------------------------------------------------- the annotations


class _Split:
    """The walk over the graph, with the boxings that are asked for."""

    def __init__(self, source: Graph, cut: dict[int, Layout], zero: Zero) -> None:
        self.source, self.zero = source, zero
        self.builder = Builder.without_nodes(source)
        self.homes = {v: _layout(source, v) for v in cut}
        self.cut = cut | (self._made_of_shards(cut) if zero.stage == 3 and zero.gather == "step" else {})
        self.results = {p.update: p.value for p in source.parameters if p.value in cut}
        self.makers = source.producers()
        self.gradients = self._gradients()
        self.made: dict[tuple[object, ...], int] = {}

    def _made_of_shards(self, cut: dict[int, Layout]) -> dict[int, Layout]:
        """The layouts of what is made of split parameters alone, part by part and once a step; its home is theirs."""
        found: dict[int, Layout] = {}
        for node in self.source.nodes:
            layout = cut.get(node.ins[0]) if len(node.ins) == len(node.outs) == 1 and node.phase == "F" else None
            if layout is not None and rate_of(self.source, node.outs[0]) == 1 and _part_by_part(self.source, node, layout):
                found[node.outs[0]], self.homes[node.outs[0]] = layout, self.homes[node.ins[0]]
        return found

    def _gradients(self) -> dict[int, int]:
        """Values to be cut and the weight each is the gradient of: from stage 2 on before micro-batches are added."""
        owners = {p.gradient: p.value for p in self.source.parameters if p.value in self.cut and p.gradient is not None}
        if self.zero.stage >= 2:
            return owners
        sums = {n.ins[0]: n.outs[0] for n in self.source.nodes if _adds_up(n)}
        return {sums.get(g, g): w for g, w in owners.items()}

    def graph(self) -> Graph:
        kept = {p.value: self.cut[p.state_of] for p in self.source.parameters if p.state_of in self.cut and self._like(p)}
        homes = {**kept, **self.cut} if self.zero.stage == 3 else kept
        for v, layout in homes.items():
            self.builder.update_value(v, layout=layout, fixed=True)
        for node in sorted(self.source.nodes, key=lambda node: not self._makes_shards(node)):
            self.builder.nodes.append(replace(node, ins=tuple(self._read(v, node) for v in node.ins)))
            for v in node.outs:
                self._bring_home(v, node)
        return self.builder.build()

    def _like(self, p: Parameter) -> bool:
        return self.source.values[p.value].type.shape == self.source.values[p.state_of or 0].type.shape

    def _read(self, v: int, reader: Node) -> int:
        """What the reader reads in place of `v`."""
        if v in self.cut and reader.phase == "update":
            return v if self.zero.stage == 3 else self._asked(v, self.cut[v], reader, "update")
        if v in self.cut and self.zero.stage == 3 and reader.placement == self.homes[v].placement and not self._makes_shards(reader):
            return self._whole(v, reader)
        if v in self.gradients and (reader.phase == "update" or _adds_up(reader)):
            like = replace(self.makers[v], rate=rate_of(self.source, v))
            return self._asked(v, self.cut[self.gradients[v]], like, "gradient")
        return v

    def _makes_shards(self, node: Node) -> bool:
        return not self.cut.keys().isdisjoint(node.outs)

    def _whole(self, v: int, reader: Node) -> int:
        """A copy of a split parameter as it was, one for the forward and one for the backward unless once a step is enough.

        What is computed again in the backward pass gathers again: the copy stands in the reader's region.
        """
        if self.zero.gather == "step":
            return self._asked(v, self.homes[v], replace(reader, rate=1, phase="F", region=()), "step")
        direction = "F" if reader.phase == "F" else "B"
        return self._asked(v, self.homes[v], replace(reader, phase=direction), direction, reader.stage, reader.rate, reader.region)

    def _bring_home(self, v: int, maker: Node) -> None:
        """The boxing of a parameter's new value from shards to where it lives."""
        if v in self.results and self.zero.stage < 3:
            w = self.results[v]
            home = self._asked(v, self.homes[w], maker, "home")
            self.builder.parameters = [replace(p, update=home) if p.value == w else p for p in self.builder.parameters]

    def _asked(self, v: int, layout: Layout, like: Node, *why: Any) -> int:
        """`v` in a layout, by a boxing with this node's stage, phase and rate; made once for each reason."""
        key = (v, *why)
        if key not in self.made:
            value = self.builder.values[v]
            attrs = {"to": str(layout), "why": SHARDED, "copy": " ".join(map(str, why))}
            node = self.builder.node(
                "boxing", (v,), (value.type,), freeze(attrs), line=like.line, stage=like.stage, phase=like.phase, rate=like.rate,
                placement=layout.placement, region=like.region,
            )  # fmt: skip
            again = like.rate > rate_of(self.builder, v)
            self.builder.update_value(node.outs[0], name=value.name, time=value.time, gradient_of=value.gradient_of, again=again)
            self.made[key] = node.outs[0]
        return self.made[key]


def _layout(graph: Graph, v: int) -> Layout:
    found = graph.values[v].layout
    assert found is not None
    return found


def _part_by_part(graph: Graph, node: Node, layout: Layout) -> bool:
    """Whether a shard of the result is made of the same shard of the operand."""
    made, given = (graph.values[v].type for v in (node.outs[0], node.ins[0]))
    ways = [REGISTRY[node.op].signatures((given,), node.attributes, parts) for parts in layout.placement.mesh]
    split = all(any(w.ins == (s,) and w.outs == (s,) for w in some) for some, s in zip(ways, layout.sbp, strict=True))
    return split and made.shape == given.shape and node.placement == layout.placement


def _adds_up(node: Node) -> bool:
    """Whether the node adds micro-batches."""
    return REGISTRY[node.op].lowering == "accumulate"
