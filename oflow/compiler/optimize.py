"""optimizer: the update of every parameter as graph nodes: step counter, learning-rate schedule, clipping, update rule.

Global-norm clipping (Pascanu, Mikolov, Bengio 2013): squares are summed a parameter at a time, added in parameter order, and
the scale min(1, clip / norm) goes to every update.

A gradient may be row-sparse: all that it is the sum of are nodes that only add rows to it (`Op.row_sparse`). Then the update takes
their numbers and rows, one list after the other, and the gradient itself is dead code.
"""

from __future__ import annotations

from dataclasses import replace

from oflow import ops
from oflow.compiler.mixed_precision import next_scale, scale_of
from oflow.compiler.options import Options
from oflow.errors import TraceError
from oflow.graph import Builder, Graph, Node, Parameter
from oflow.ops.random import STEP as DRAWS
from oflow.ops.tensor import Tensor
from oflow.ops.update import SKIP
from oflow.sbp import B, Layout
from oflow.types import TensorType

STEP = "optimizer.step"
Gradient = Tensor | tuple[Tensor, Tensor]
"""A gradient, or the numbers (n,) and the rows (n, d) that it is the sum of."""


def optimize(graph: Graph, options: Options) -> Graph:
    optimizer = options.optimizer
    weights = [p for p in graph.parameters if p.gradient is not None]
    if optimizer is None or not weights:
        return graph
    builder = Builder(graph)
    kept: list[Parameter] = []
    updates: dict[str, int] = {}
    with builder.at(phase="update", line=f"{type(optimizer).__name__}", placement=_home(builder, weights[0]).placement):
        dtype = graph.values[weights[0].value].type.dtype
        counter = _state(builder, kept, STEP, TensorType((), "int64"), weights[0])
        step = ops.cast(counter, dtype)
        lr = _learning_rate(optimizer.lr, step)
        stages, producers = _first_stages(graph), graph.producers()
        gradients: dict[str, Gradient] = {}
        for weight in weights:
            with builder.at(stage=stages.get(weight.value)):
                gradients[weight.name] = _gradient(builder, producers, weight)
        scale, finite = _gradient_scale(builder, weights, gradients, optimizer.clip_norm)
        for weight in weights:
            with builder.at(stage=stages.get(weight.value)):
                updates |= _update(builder, kept, optimizer, weight, gradients[weight.name], lr, step, scale)
        if finite is None:
            updates[STEP] = ops.increment(counter).id
        else:
            updates[STEP] = ops.assign(counter, ops.add(counter, ops.cast(finite, "int64"))).id
            updates |= next_scale(builder, options, finite)
        updates |= _next_draws(builder, graph, stages)
    everything = [*graph.parameters, *kept]
    builder.parameters = [replace(p, update=updates.get(p.name, p.update)) for p in everything]
    return builder.build()


def _state(builder: Builder, kept: list[Parameter], name: str, type: TensorType, like: Parameter) -> Tensor:
    """Declare kept state that lives where the parameter `like` does (in its layout, where the types are equal)."""
    home = _home(builder, like)
    same = type.shape == builder.values[like.value].type.shape
    layout = home if same else Layout(home.placement, (B,) * len(home.placement.mesh))
    value = builder.value(type, name=name, layout=layout, fixed=builder.values[like.value].fixed)
    kept.append(Parameter(name, value.id, trainable=False, state_of=None if name == STEP else like.value))
    return Tensor(builder, value.id)


def _home(builder: Builder, p: Parameter) -> Layout:
    found = builder.values[p.value].layout
    if found is None:
        raise TraceError(f"parameter {p.name} has no home layout")
    return found


def _next_draws(builder: Builder, graph: Graph, stages: dict[int, int | None]) -> dict[str, int]:
    """Random operators count the steps, so that each draws anew."""
    updates = {}
    for p in graph.parameters:
        if p.name == DRAWS:
            with builder.at(placement=_home(builder, p).placement, stage=stages.get(p.value)):
                updates[p.name] = ops.increment(Tensor(builder, p.value)).id
    return updates


def _first_stages(graph: Graph) -> dict[int, int | None]:
    """The stage of the first reader of each value."""
    found: dict[int, int | None] = {}
    for node in graph.nodes:
        for v in node.ins:
            found.setdefault(v, node.stage)
    return found


def _learning_rate(rate: object, step: Tensor) -> Tensor:
    made = rate(step) if callable(rate) else ops.full_like(step, float(rate))  # type: ignore[arg-type]
    if not isinstance(made, Tensor) or made.shape != ():
        raise TraceError(f"a learning-rate schedule returns a scalar tensor made from the step, got {made!r}")
    return made


def _gradient(builder: Builder, producers: dict[int, Node], weight: Parameter) -> Gradient:
    """The gradient of a weight: a tensor, or (numbers, rows) where it is row-sparse."""
    whole = Tensor(builder, weight.gradient or 0)
    nodes = _row_sparse_terms(producers, whole.id)
    if nodes is None:
        return whole
    numbers, rows = [], []
    for node, (ids, g) in nodes:
        with builder.at(line=node.line, stage=node.stage, placement=node.placement, phase=node.phase):
            numbers.append(ops.reshape(Tensor(builder, node.ins[ids]), (-1,)))
            rows.append(ops.reshape(Tensor(builder, node.ins[g]), (-1, whole.shape[1])))
    with builder.at(placement=_home(builder, weight).placement):
        return (numbers[0], rows[0]) if len(nodes) == 1 else (ops.concat(numbers), ops.concat(rows))


def _row_sparse_terms(producers: dict[int, Node], value: int) -> list[tuple[Node, tuple[int, int]]] | None:
    """The nodes whose results a value is the sum of, first to last, if each only adds rows; else None."""
    node = producers.get(value)
    if node is None:
        return None
    op = ops.REGISTRY[node.op]
    if op is ops.add and len(node.ins) == 2:
        parts = [_row_sparse_terms(producers, v) for v in node.ins]
        return None if any(part is None for part in parts) else [term for part in parts for term in part or ()]
    found = op.row_sparse(node.attributes)
    return None if found is None else [(node, found)]


def _gradient_scale(
    builder: Builder, weights: list[Parameter], gradients: dict[str, Gradient], clip: float | None
) -> tuple[Tensor | None, Tensor | None]:
    """What all gradients are multiplied with, for clipping and against the loss scale (None: with nothing); and, where the loss is
    scaled, whether they are finite. Where they are not the scale is SKIP, and updates rewrite nothing."""
    loss_scale = scale_of(builder)
    if loss_scale is None:
        return (None if clip is None else _clipped(ops.sqrt(_sum_squares(builder, weights, gradients)), clip)), None
    squares, back = _sum_squares(builder, weights, gradients), ops.reciprocal(loss_scale)
    finite = ops.isfinite(squares)
    scale = back if clip is None else ops.mul(back, _clipped(ops.mul(ops.sqrt(squares), back), clip))
    return ops.where(finite, scale, SKIP), finite


def _clipped(norm: Tensor, clip: float) -> Tensor:
    return ops.minimum(ops.div(clip, ops.add(norm, 1e-6)), 1.0)  # type: ignore[no-any-return]


def _sum_squares(builder: Builder, weights: list[Parameter], gradients: dict[str, Gradient]) -> Tensor:
    """The sum of the squares of all gradients, added in the order of the weights."""
    total: Tensor | None = None
    for weight in weights:
        gradient = gradients[weight.name]
        with builder.at(placement=_home(builder, weight).placement):
            if isinstance(gradient, Tensor):
                square = ops.sum_squares(gradient)
            else:
                square = ops.rows_sum_squares(*gradient, rows=builder.values[weight.value].type.shape[0])
        total = square if total is None else ops.add(total, square)
    assert total is not None
    return total


def _update(
    builder: Builder, kept: list[Parameter], optimizer: object, weight: Parameter, gradient: Gradient, lr: Tensor, step: Tensor,
    scale: Tensor | None,
) -> dict[str, int]:  # fmt: skip
    home = builder.values[weight.value]
    tensor = Tensor(builder, weight.value)

    def state(suffix: str) -> Tensor:
        return _state(builder, kept, f"{weight.name}.{suffix}", home.type, weight)

    def of_dtype(t: Tensor | None) -> Tensor | None:
        return t if t is None or t.dtype == home.type.dtype else ops.cast(t, home.type.dtype)

    given = {"name": weight.name, "lr": of_dtype(lr), "step": of_dtype(step), "scale": of_dtype(scale), "state": state}
    with builder.at(placement=_home(builder, weight).placement):
        if isinstance(gradient, Tensor):
            made = optimizer.update(tensor, gradient, **given)  # type: ignore[attr-defined]
        elif hasattr(optimizer, "update_rows"):
            made = optimizer.update_rows(tensor, *gradient, **given)
        else:
            kind = type(optimizer).__name__
            raise TraceError(f"{kind} has no update_rows, and the gradient of {weight.name} is row-sparse; look up without sparse=True")
    return {weight.name + (f".{suffix}" if suffix else ""): t.id for suffix, t in made.items()}
