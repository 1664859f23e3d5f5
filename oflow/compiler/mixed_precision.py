"""mixed precision: products and what follows them in 16 bits; kept values, and what needs range or precision, in float32.

    y = layer_norm(x) @ w            y = cast(layer_norm(x), f16) @ cast(w, f16)

How an operator takes part is its own declaration (`Op.half`): products (accumulated in float32) take 16 bits; what works in any
precision takes the one that its operands have, a weight following the others; the rest takes float32. Embeddings take 16 bits where
the user says so. A value is converted once, where it is made, so that 16 bits are moved and stashed; a weight once a step, on its shards.
Kept values stay float32: they are the master weights. The pass stands before the backward pass, whose nodes follow. (Micikevicius et al.,
Mixed Precision Training, ICLR 2018.)

With a loss scale the backward pass starts from the scale, which is kept state; the optimizer divides by it, skips a step whose
gradients are not finite, and rewrites it (`optimize`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from oflow import ops
from oflow.compiler.options import Options
from oflow.errors import TraceError
from oflow.graph import Builder, Graph, Node, Parameter
from oflow.ops import REGISTRY
from oflow.ops.half import WIDE
from oflow.ops.op import ANY, PRODUCT
from oflow.ops.tensor import Tensor
from oflow.sbp import B, Layout, Placement
from oflow.types import TensorType, freeze

SCALE, GOOD_STEPS = "loss_scale", "loss_scale.good_steps"
"""Names of the kept loss scale, and of the count of steps since it changed."""



def mixed_precision(graph: Graph, options: Options) -> Graph:
    if options.precision is None:
        return graph
    made = _Conversion(graph, options.precision.dtype, options.precision.embeddings)
    for node in graph.nodes:
        made.visit(node)
    builder = made.builder
    builder.outputs = [(name, made.converted(v, WIDE, made.nodes[v]) if v in made.nodes else v) for name, v in graph.outputs]
    if options.precision.loss_scale is not None and options.optimizer is not None:
        _keep_scale(builder, graph, options.precision.loss_scale.initial)
    return builder.build()


@dataclass(slots=True)
class _Conversion:
    """The walk over the graph. `embeddings`: rows of weights are looked up in 16 bits; `nodes`: who makes each value; `twins`: values
    that were converted already."""

    graph: Graph
    half: str
    embeddings: bool
    builder: Builder = field(init=False)
    nodes: dict[int, Node] = field(default_factory=dict)
    twins: dict[tuple[int, str], int] = field(default_factory=dict)
    weights: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.builder = Builder.without_nodes(self.graph)
        self.weights = frozenset(p.value for p in self.graph.parameters)

    def visit(self, node: Node) -> None:
        wanted = self._precision_of(node)
        ins = tuple(self.converted(v, wanted, node) if wanted else v for v in node.ins)
        types = tuple(self.builder.values[v].type for v in ins)
        for v, kind in zip(node.outs, REGISTRY[node.op].infer(types, node.attributes), strict=True):
            self.builder.update_value(v, type=kind)
        made = replace(node, ins=ins)
        self.builder.nodes.append(made)
        self.nodes.update(dict.fromkeys(node.outs, made))

    def _precision_of(self, node: Node) -> str:
        """The dtype that the operands in question are wanted in ("": as they are)."""
        role = REGISTRY[node.op].half
        if role == PRODUCT or (self.embeddings and self._looks_up(node)):
            return self.half
        dtypes = {self._dtype(v) for v in node.ins if v not in self.weights} & {WIDE, self.half}
        if role == ANY and dtypes == {self.half}:
            return self.half
        return WIDE if self.half in dtypes and (role != ANY or WIDE in dtypes) else ""

    def _looks_up(self, node: Node) -> bool:
        """Whether it moves elements of weights by numbers. A sparse gradient goes to the weight itself, not to a copy of it."""
        dtypes = {self._dtype(v) for v in node.ins}
        rows = WIDE in dtypes and any(dtype.startswith("int") for dtype in dtypes) and not node.attributes.get("sparse")
        return rows and REGISTRY[node.op].moves and all(v in self.weights for v in node.ins if self._dtype(v) == WIDE)

    def _dtype(self, v: int) -> str:
        return self.builder.values[v].type.dtype

    def converted(self, v: int, dtype: str, reader: Node) -> int:
        """The value in `dtype`, through a node where it is made (a weight's: where it lives, in its first reader's stage)."""
        if self._dtype(v) == dtype or self._dtype(v) not in (WIDE, self.half):
            return v
        if (v, dtype) not in self.twins:
            home, maker = self.builder.values[v].layout, self.nodes.get(v, reader)
            placement = home.placement if home is not None and v not in self.nodes else maker.placement
            region = maker.region if v in self.nodes else ()  # what is made again is made again in 16 bits
            with self.builder.at(line=reader.line, stage=maker.stage, placement=placement, region=region):
                made = self.twins[v, dtype] = ops.cast(Tensor(self.builder, v), dtype).id
            if v in self.weights and self.builder.values[v].fixed:  # as dear to move as the weight that the user placed
                self.builder.update_value(made, layout=home, fixed=True)
            self.nodes[made] = self.builder.nodes[-1]
        return self.twins[v, dtype]


# ---------------------------------------------------------------- the loss scale


def _keep_scale(builder: Builder, graph: Graph, initial: float) -> None:
    """Declare the kept scale where the loss is made."""
    loss = next((node for node in graph.nodes if graph.outputs and graph.outputs[0][1] in node.outs), None)
    if loss is None or loss.placement is None:
        return
    clash = [p.name for p in graph.parameters if p.name in (SCALE, GOOD_STEPS)]
    if clash:
        raise TraceError(f"{clash[0]} is the name of the loss scale's state; call the parameter otherwise")
    for name, kind, value in ((SCALE, TensorType(()), initial), (GOOD_STEPS, TensorType((), "int64"), 0)):
        made = builder.value(kind, name=name, layout=_everywhere(loss.placement), fixed=True)
        builder.parameters.append(Parameter(name, made.id, "constant", freeze({"value": value}), trainable=False))


def _everywhere(where: Placement) -> Layout:
    return Layout(where, (B,) * len(where.mesh))


def scale_of(builder: Builder) -> Tensor | None:
    """The kept loss scale of a graph that has one."""
    return next((Tensor(builder, p.value) for p in builder.parameters if p.name == SCALE), None)


def next_scale(builder: Builder, options: Options, finite: Tensor) -> Mapping[str, int]:
    """New values of the scale's state by name, once it is known whether all gradients were finite (a bool scalar)."""
    kept = {p.name: Tensor(builder, p.value) for p in builder.parameters if p.name in (SCALE, GOOD_STEPS)}
    rule = options.precision.loss_scale if options.precision is not None else None
    assert rule is not None
    scale, good = kept[SCALE], kept[GOOD_STEPS]
    home = builder.values[scale.id].layout
    with builder.at(placement=home.placement if home is not None else None):
        counted = ops.add(good, 1)
        grown = ops.greater_equal(counted, rule.interval)
        raised = ops.where(grown, ops.mul(scale, rule.growth), scale)
        # a scale that grew beyond float32 would never come back
        raised = ops.where(ops.isfinite(raised), raised, scale)
        after = ops.where(finite, raised, ops.mul(scale, rule.backoff))
        count = ops.where(finite, ops.where(grown, ops.mul(counted, 0), counted), ops.mul(counted, 0))
        return {SCALE: ops.assign(scale, after).id, GOOD_STEPS: ops.assign(good, count).id}
