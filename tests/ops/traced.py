"""User functions on arrays: the graph they trace to, evaluated node by node, and its gradient by the operators' own rules."""

from __future__ import annotations

import numpy as np

from oflow.backends.reference import run_node
from oflow.graph import Builder
from oflow.ops import REGISTRY, Tensor, add
from tests.ops.shards import type_of


def _trace(function, arrays):
    builder = Builder()
    tensors = [Tensor(builder, builder.value(type_of(x)).id) for x in arrays]
    builder.inputs.extend(t.id for t in tensors)
    return builder, tensors, function(*tensors)


def _values(builder, arrays):
    graph = builder.build()
    values = dict(zip(graph.inputs, arrays, strict=True))
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            values.update(zip(node.outs, run_node(graph, node, [values[v] for v in node.ins]), strict=True))
    return values


def value(function, *arrays):
    """The result (a tuple of results) of a user function on arrays."""
    arrays = [np.asarray(x) for x in arrays]
    builder, _, made = _trace(function, arrays)
    values = _values(builder, arrays)
    return tuple(values[t.id] for t in made) if isinstance(made, tuple) else values[made.id]


def pullback(function, g, *arrays):
    """The cotangent of each operand for the cotangent g of the (first) result; None where nothing arrives."""
    arrays = [np.asarray(x) for x in (*arrays, g)]
    builder, tensors, made = _trace(lambda *ts: function(*ts[:-1]), arrays)
    found = {(made[0] if isinstance(made, tuple) else made).id: tensors[-1]}
    for node in reversed(builder.build().nodes):
        given, rule = tuple(found.get(v) for v in node.outs), REGISTRY[node.op].gradient
        if rule is None or all(each is None for each in given):
            continue
        y, ins = tuple(Tensor(builder, v) for v in node.outs), [Tensor(builder, v) for v in node.ins]
        single = len(y) == 1
        for v, cotangent in zip(node.ins, rule(given[0] if single else given, y[0] if single else y, *ins, **node.attributes), strict=True):
            if cotangent is not None:
                found[v] = add(found[v], cotangent) if v in found else cotangent
    values = _values(builder, arrays)
    return [values[found[t.id].id] if t.id in found else None for t in tensors[:-1]]


def numeric(function, g, *arrays, step=1e-6):
    """The same by central differences in float64."""
    made = []
    for i, x in enumerate(arrays):
        slopes = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            ends = []
            for sign in (1, -1):
                moved = x.copy()
                moved[at] += sign * step
                ends.append(np.sum(g * value(function, *arrays[:i], moved, *arrays[i + 1 :])))
            slopes[at] = (ends[0] - ends[1]) / (2 * step)
        made.append(slopes)
    return made
