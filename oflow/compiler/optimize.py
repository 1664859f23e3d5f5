"""optimizer: the update of every parameter as graph nodes: step counter, learning-rate schedule, clipping, update rule.

Global-norm clipping (Pascanu, Mikolov, Bengio 2013): squares are summed a parameter at a time, added in parameter order, and
the scale min(1, clip / norm) goes to every update.
"""

from __future__ import annotations

from dataclasses import replace

from oflow import ops
from oflow.compiler.options import Options
from oflow.errors import TraceError
from oflow.graph import Builder, Graph, Parameter
from oflow.ops.tensor import Tensor
from oflow.sbp import B, Layout
from oflow.types import TensorType

STEP = "optimizer.step"


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
        scale = _clip_scale(builder, weights, optimizer.clip_norm) if optimizer.clip_norm is not None else None
        stages = _first_stages(graph)
        for weight in weights:
            with builder.at(stage=stages.get(weight.value)):
                updates |= _update(builder, kept, optimizer, weight, lr, step, scale)
        updates[STEP] = ops.increment(counter).id
    everything = [replace(p, gradient=None) for p in graph.parameters] + kept
    builder.parameters = [replace(p, update=updates.get(p.name, p.update)) for p in everything]
    return builder.build()


def _state(builder: Builder, kept: list[Parameter], name: str, type: TensorType, like: Parameter) -> Tensor:
    """Declare kept state that lives where the parameter `like` does (in its layout, where the types are equal)."""
    home = _home(builder, like)
    same = type.shape == builder.values[like.value].type.shape
    layout = home if same else Layout(home.placement, (B,) * len(home.placement.mesh))
    value = builder.value(type, name=name, layout=layout, fixed=True)
    kept.append(Parameter(name, value.id, trainable=False))
    return Tensor(builder, value.id)


def _home(builder: Builder, p: Parameter) -> Layout:
    found = builder.values[p.value].layout
    if found is None:
        raise TraceError(f"parameter {p.name} has no home layout")
    return found


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


def _clip_scale(builder: Builder, weights: list[Parameter], clip: float) -> Tensor:
    total: Tensor | None = None
    for weight in weights:
        with builder.at(placement=_home(builder, weight).placement):
            square = ops.sum_squares(Tensor(builder, weight.gradient or 0))
        total = square if total is None else ops.add(total, square)
    assert total is not None
    return ops.minimum(ops.div(clip, ops.add(ops.sqrt(total), 1e-6)), 1.0)  # type: ignore[no-any-return]


def _update(
    builder: Builder, kept: list[Parameter], optimizer: object, weight: Parameter, lr: Tensor, step: Tensor, scale: Tensor | None
) -> dict[str, int]:
    home = builder.values[weight.value]
    tensor = Tensor(builder, weight.value)

    def state(suffix: str) -> Tensor:
        return _state(builder, kept, f"{weight.name}.{suffix}", home.type, weight)

    def of_dtype(t: Tensor | None) -> Tensor | None:
        return t if t is None or t.dtype == home.type.dtype else ops.cast(t, home.type.dtype)

    with builder.at(placement=_home(builder, weight).placement):
        made = optimizer.update(  # type: ignore[attr-defined]
            tensor, Tensor(builder, weight.gradient or 0),
            name=weight.name, lr=of_dtype(lr), step=of_dtype(step), scale=of_dtype(scale), state=state,
        )  # fmt: skip
    return {weight.name + (f".{suffix}" if suffix else ""): t.id for suffix, t in made.items()}
