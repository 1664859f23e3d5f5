"""Two ways to run a gradient on ranks: each rank differentiates its own call, or the logical gradient's nodes run on shards."""

from __future__ import annotations

import numpy as np

from oflow.backends.reference import run_node
from oflow.errors import TraceError
from oflow.graph import Builder
from oflow.ops import REGISTRY, Tensor
from oflow.ops.meaning import boxes, call_on, regions, run
from oflow.ops.op import Shards
from oflow.sbp import B, P


def dual(sbp):
    """The dual of S is S, that of B is P, that of P is B."""
    return {"S": sbp, "B": P, "P": B}[sbp.kind]


class Gradient:
    """The gradient of one call as a graph. Inputs: operands, results, and a cotangent for each result in `given`.

    `made`: for each operand the value of its cotangent, or None.
    """

    def __init__(self, op, ins, outs, attrs):
        floats = [i for i, t in enumerate(outs) if t.is_float]
        try:
            self._build(op, ins, outs, attrs, floats)
        except TraceError:  # only the first result has a cotangent
            self._build(op, ins, outs, attrs, floats[:1])

    def _build(self, op, ins, outs, attrs, given):
        self.given = given
        builder = Builder()

        def made(t):
            tensor = Tensor(builder, builder.value(t).id)
            builder.inputs.append(tensor.id)
            return tensor

        self.ins, self.outs = [made(t) for t in ins], [made(t) for t in outs]
        self.cotangents = {i: made(outs[i]) for i in given}
        g = tuple(self.cotangents.get(i) for i in range(len(outs)))
        single = len(outs) == 1
        found = op.gradient(g[0] if single else g, self.outs[0] if single else tuple(self.outs), *self.ins, **attrs)
        self.made = [None if t is None else t.id for t in found]
        self.graph = builder.build()

    def inputs(self, cotangents, ins, outs):
        """Things for the graph's inputs, by value: cotangents by result, operands, results."""
        found = {t.id: x for t, x in zip((*self.ins, *self.outs), (*ins, *outs), strict=True)}
        return found | {self.cotangents[i].id: cotangents[i] for i in self.given}

    def evaluate(self, cotangents, ins, outs):
        """The cotangents of the operands (None where there is none), every node run on whole arrays."""
        values = self.inputs(cotangents, ins, outs)
        for node in self.graph.nodes:
            values.update(zip(node.outs, run_node(self.graph, node, [values[v] for v in node.ins]), strict=True))
        return [None if v is None else values[v] for v in self.made]

    # -------------------------------------------------------- on shards

    def signatures(self, layouts, wanted, parts):
        """One signature for each node so that no node needs a communication, from the inputs' layouts to those wanted; or None."""
        return _assign(self.graph, list(self.graph.nodes), dict(layouts), wanted, parts)

    def on_shards(self, chosen, shards, parts):
        """Shards and layout of every value, node by node; shards: (layout, one array a rank) of the inputs by value."""
        values = dict(shards)
        for node, signature in zip(self.graph.nodes, chosen, strict=True):
            types = [self.graph.values[v].type for v in node.ins]
            held = [moved(*values[v], want, t, parts) for v, want, t in zip(node.ins, signature.ins, types, strict=True)]
            made = run_on_shards(node, types, [self.graph.values[v].type for v in node.outs], signature, held, parts)
            for i, (v, sbp) in enumerate(zip(node.outs, signature.outs, strict=True)):
                values[v] = (sbp, [results[i] for results in made])
        return values


def run_on_shards(node, ins, outs, signature, held, parts):
    """What each rank makes of its shards in one node of the logical gradient."""
    op = REGISTRY[node.op]
    inner = regions([t.shape for t in ins], [(s,) for s in signature.ins], (parts,))
    outer = regions([t.shape for t in outs], [(s,) for s in signature.outs], (parts,))
    made = []
    for rank in range(parts):
        shards = [x[rank] for x in held]
        call = call_on(op, shards, outs, node.attributes, Shards(inner[rank], outer[rank]))
        made.append(run(op, shards, call.outs, call.attrs, call.nbytes))
    return made


def free(have, want):
    """Whether a rank can change the layout of what it holds without a message: a slice, or zeros in place of what others hold."""
    return have == want or (have == B and not (want.is_partial and want.op != "sum")) or (have.is_split and want == P)


def moved(have, shards, want, t, parts):
    """Shards in another layout, as `free` allows."""
    if have == want:
        return shards
    held = boxes(t.shape, (want if have == B else have,), (parts,))
    if have == B and want.is_split:
        return [x[tuple(slice(*span) for span in box)].copy() for x, box in zip(shards, held, strict=True)]
    if have == B:
        return [x if rank == 0 else np.zeros_like(x) for rank, x in enumerate(shards)]
    found = [np.zeros(t.shape, t.dtype) for _ in shards]
    for full, x, box in zip(found, shards, held, strict=True):
        full[tuple(slice(*span) for span in box)] = x
    return found


def _assign(graph, nodes, layouts, wanted, parts):
    if not nodes:
        return [] if all(free(layouts[v], sbp) for v, sbp in wanted.items()) else None
    node, *rest = nodes
    types = tuple(graph.values[v].type for v in node.ins)
    options = [
        s
        for s in REGISTRY[node.op].signatures(types, node.attributes, parts)
        if all(free(layouts[v], want) for v, want in zip(node.ins, s.ins, strict=True))
    ]
    options.sort(key=lambda s: sum(layouts[v] != want for v, want in zip(node.ins, s.ins, strict=True)))
    for signature in options:
        found = _assign(graph, rest, layouts | dict(zip(node.outs, signature.outs, strict=True)), wanted, parts)
        if found is not None:
            return [signature, *found]
    return None
