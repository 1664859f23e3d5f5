"""Values that are another value's bytes in another shape: `expand` makes no register and no call for them.

A shard is contiguous, and where an operator only changes the shape its result has the operand's bytes on every rank. Whoever reads
the result then reads the operand's register as the result's type. It stays a copy where the bytes are moved as the result
(boxings and outputs cut it up by its own shape), and where the operand is kept state, which an update may rewrite meanwhile.
"""

from __future__ import annotations

from oflow.graph import Graph, Node
from oflow.ops import REGISTRY


def views(graph: Graph) -> dict[int, int]:
    """The value whose register each view reads."""
    readers, kept = graph.consumers(), {*graph.inputs, *graph.sinks(), *(p.value for p in graph.parameters)}
    found: dict[int, int] = {}
    for node in graph.nodes:
        if not REGISTRY[node.op].view:
            continue
        (source,), (v,) = node.ins, node.outs
        same_time = graph.values[source].time == graph.values[v].time
        if same_time and source not in kept and v not in kept and all(_reads_only(graph, r, v) for r in readers.get(v, [])):
            found[v] = found.get(source, source)
    return found


def _reads_only(graph: Graph, node: Node, v: int) -> bool:
    op, layout = REGISTRY[node.op], graph.values[v].layout
    partial = layout is not None and layout.is_partial
    shared = [i for i, _ in node.attributes.get("pieces", ())] + (list(op.parts) if partial else [])
    peers_read_it = v in {node.ins[i] for i in shared if i < len(node.ins)}
    return op.lowering != "pull" and not peers_read_it and v not in {node.ins[i] for i in op.inplace.values()}
