"""Every operator that has a gradient: its directional derivatives against central differences in float64."""

import numpy as np
import pytest

from oflow.backends.reference import run_node
from oflow.graph import Builder
from oflow.ops import REGISTRY, Tensor
from oflow.types import FLOATS, freeze
from tests.ops.shards import LOCAL, type_of

SEED = 4711
STEP = 1e-6
DIFFERENTIABLE = [name for name in LOCAL if REGISTRY[name].gradient is not None]


def smooth(x, random):
    """A float64 operand without ties, so that it is no kink of a maximum; whole numbers stay."""
    return x + random.uniform(0.05, 0.35, x.shape) if x.dtype.name in FLOATS else x


def values_of(builder, operands):
    """Every value of the graph under construction, by id, for these operands in its inputs."""
    graph = builder.build()
    values = dict(zip(graph.inputs, operands, strict=True))
    for node in graph.nodes:
        values.update(zip(node.outs, run_node(graph, node, [values[v] for v in node.ins]), strict=True))
    return values


def inputs(builder, operands):
    """One graph input for each operand."""
    tensors = [Tensor(builder, builder.value(type_of(x)).id) for x in operands]
    builder.inputs.extend(t.id for t in tensors)
    return tensors


def first(y):
    """The result that is differentiated: the first of several."""
    return y[0] if isinstance(y, tuple) else y


def evaluated(op, operands, attrs):
    builder = Builder()
    y = first(op.append(inputs(builder, operands), attrs, builder))
    return values_of(builder, operands)[y.id]


def cotangents(op, operands, g, attrs):
    """What the gradient rule gives for each operand: an array, or None."""
    builder = Builder()
    (cotangent, *tensors) = inputs(builder, [g, *operands])
    y = op.append(tensors, attrs, builder)
    given = (cotangent, *[None] * (len(y) - 1)) if isinstance(y, tuple) else cotangent
    made = op.gradient(given, y, *tensors, **attrs)
    assert len(made) == len(operands)
    values = values_of(builder, [g, *operands])
    return [None if t is None else values[t.id] for t in made]


def check(op, operands, attrs, random, where):
    y = evaluated(op, operands, attrs)
    if y.dtype.name not in ("float32", "float64"):  # rounding to 16 bits is a staircase
        return
    g = random.standard_normal(y.shape)
    found = cotangents(op, operands, g, attrs)
    for i, (x, cotangent) in enumerate(zip(operands, found, strict=True)):
        if cotangent is None:
            assert x.dtype.name not in FLOATS, f"{where}: no cotangent for the float operand {i}"
            continue
        assert (cotangent.shape, cotangent.dtype) == (x.shape, x.dtype), f"{where}, operand {i}"
        for _ in range(3):
            direction = random.standard_normal(x.shape)
            ends = [
                evaluated(op, [*operands[:i], x + sign * STEP * direction, *operands[i + 1 :]], attrs) for sign in (1, -1)
            ]
            wanted = float(np.sum(g * (ends[0] - ends[1]))) / (2 * STEP)
            got = float(np.sum(cotangent * direction))
            scale = float(np.linalg.norm(cotangent) * np.linalg.norm(direction))
            assert abs(got - wanted) <= 1e-6 * max(1.0, scale, abs(wanted)), f"{where}, operand {i}: {got} != {wanted}"


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_is_the_derivative(name):
    op = REGISTRY[name]
    random = np.random.default_rng(SEED)
    for i, example in enumerate(op.example()):
        operands = [np.asarray(x) for x in example.operands]
        operands = [smooth(x.astype("float64") if x.dtype.kind == "f" else x, random) for x in operands]
        attrs = {key: "float64" if value == "float32" else value for key, value in freeze(example.attrs)}  # cast, full
        check(op, operands, attrs, random, f"{name} example {i} (seed {SEED})")
