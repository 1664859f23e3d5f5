"""differentiate: reverse mode on the logical graph (Linnainmaa 1970). Gradient nodes inherit line, stage and placement.

Layouts are no concern here: the gradient nodes are ordinary nodes whose layouts are inferred like any other.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

from oflow import ops
from oflow.compiler.mixed_precision import scale_of
from oflow.compiler.options import Options
from oflow.compiler.stages import target_layout
from oflow.errors import TraceError
from oflow.graph import Builder, Graph, Node
from oflow.ops.tensor import Tensor


def differentiate(graph: Graph, options: Options) -> Graph:
    if options.optimizer is None:
        return graph
    loss = _loss(graph)
    wanted = {p.value for p in graph.parameters if p.trainable}
    path = _depends_on(graph, wanted)
    builder = Builder(graph)
    producers = graph.producers()
    asked = wanted | {v for node in graph.nodes if target_layout(node) for v in node.outs}
    cotangents: dict[int, Tensor] = {}
    last = producers.get(loss)
    if last is None or loss not in path:
        raise TraceError("the loss does not depend on any trainable parameter", line=last.line if last else "")
    with _at(builder, last):
        cotangents[loss] = _start(builder, loss)
    for node in reversed(graph.nodes):
        g = tuple(cotangents.get(v) for v in node.outs)
        rule = ops.REGISTRY[node.op].gradient
        if all(each is None for each in g) or rule is None or not path.intersection(node.outs):
            continue
        with _at(builder, node):
            y = tuple(Tensor(builder, v) for v in node.outs)
            ins = (Tensor(builder, v) for v in node.ins)
            made = rule(g[0], y[0], *ins, **node.attributes) if len(y) == 1 else rule(g, y, *ins, **node.attributes)
            for v, cotangent in zip(node.ins, made, strict=True):
                if cotangent is not None and v in path:
                    builder.update_value(cotangent.id, gradient_of=_whose(builder, cotangent.id, v, asked))
                    cotangents[v] = ops.add(cotangents[v], cotangent) if v in cotangents else cotangent
                    builder.update_value(cotangents[v].id, gradient_of=_whose(builder, cotangents[v].id, v, asked))
    reaching = _ancestors(graph, loss)
    missing = [p for p in graph.parameters if p.trainable and p.value in reaching and p.value not in cotangents]
    if missing:
        raise _no_gradient(graph, missing[0].value, missing[0].name)
    builder.parameters = [
        replace(p, gradient=cotangents[p.value].id) if p.trainable and p.value in cotangents else p for p in graph.parameters
    ]
    return builder.build()


def _start(builder: Builder, loss: int) -> Tensor:
    """The cotangent of the loss: 1, or the loss scale."""
    scale, kind = scale_of(builder), builder.values[loss].type
    return ops.full_like(Tensor(builder, loss), 1.0) if scale is None else ops.cast(scale, kind.dtype)


def _at(builder: Builder, node: Node) -> AbstractContextManager[None]:
    return builder.at(line=node.line, stage=node.stage, placement=node.placement, phase="B", region=node.region)


def _whose(builder: Builder, cotangent: int, value: int, asked: set[int]) -> int:
    """Whose gradient this is. Of several (operators hand their cotangent on) one whose layout was asked for, else that nearest the loss."""
    before = builder.values[cotangent].gradient_of
    return value if before is None or (value in asked and before not in asked) else before


def _loss(graph: Graph) -> int:
    name, loss = graph.outputs[0]
    kind = graph.values[loss].type
    if kind.shape != () or not kind.is_float:
        node = graph.producers().get(loss)
        raise TraceError(
            f"with an optimizer the first output is the loss, a float scalar; {name} is {kind}. Reduce it with of.mean or of.sum",
            line=node.line if node else "",
        )
    return loss


def _depends_on(graph: Graph, sources: set[int]) -> set[int]:
    """Float values that depend on `sources`, the sources included."""
    found = set(sources)
    for node in graph.nodes:
        if found.intersection(node.ins):
            found.update(v for v in node.outs if graph.values[v].type.is_float)
    return found


def _ancestors(graph: Graph, value: int) -> set[int]:
    found = {value}
    for node in reversed(graph.nodes):
        if found.intersection(node.outs):
            found.update(node.ins)
    return found


def _no_gradient(graph: Graph, value: int, name: str) -> TraceError:
    reached = _depends_on(graph, {value})
    blocking = [n for n in graph.nodes if reached.intersection(n.ins) and ops.REGISTRY[n.op].gradient is None]
    why = f": {blocking[0].op} is not differentiable" if blocking else ""
    return TraceError(
        f"parameter {name} reaches the loss but gets no gradient{why}. Use another operator, or declare it with of.nn.Buffer",
        line=blocking[0].line if blocking else "",
    )
