"""The reference: a logical graph evaluated node by node with the NumPy kernels on whole tensors. No plan, no actors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from oflow.graph import Graph, Node
from oflow.ops import REGISTRY


def evaluate(graph: Graph, state: Mapping[str, np.ndarray], inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The named outputs for these inputs; `state` holds every parameter by name and is not changed."""
    values: dict[int, np.ndarray] = dict(zip(graph.inputs, inputs, strict=True))
    values |= {p.value: state[p.name] for p in graph.parameters}
    for node in graph.nodes:
        values.update(zip(node.outs, run_node(graph, node, [values[v] for v in node.ins]), strict=True))
    return {name: values[v] for name, v in graph.outputs}


def run_node(graph: Graph, node: Node, ins: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of one node on whole tensors."""
    op = REGISTRY[node.op]
    types = [graph.values[v].type for v in node.outs]
    outs = [np.empty(t.shape, t.dtype) for t in types]
    if op.lowering != "local":
        outs[0].reshape(-1)[...] = np.asarray(ins[0]).reshape(-1)
        return outs
    for result, operand in op.inplace.items():
        outs[result][...] = ins[operand]
    attrs = node.attributes
    nbytes = op.workspace_nbytes(tuple(graph.values[v].type for v in node.ins), tuple(types), attrs)
    if nbytes:
        attrs["workspace"] = np.empty(nbytes, np.uint8)
    op.call_for("cpu", node.line, outs, [x for i, x in enumerate(ins) if i not in op.inplace.values()], attrs)()
    return outs
