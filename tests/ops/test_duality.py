"""The duality theorem: for a valid ins -> outs over B, S and P(sum), dual(outs) -> dual(ins) is valid for the gradient.

It describes per-rank differentiation: each rank differentiates its own call, on its own shards with its own attributes, and the
cotangents that the ranks make join to those of the whole. That is what is run here. Where the gradient rule is not written for a
rank's attributes, the nodes of the logical gradient are run on shards instead, by signatures that need no communication.
"""

from __future__ import annotations

import numpy as np
import pytest

from oflow.errors import OflowError
from oflow.ops import REGISTRY
from oflow.ops.meaning import call_on, cut, join, regions, run, type_of, whole
from oflow.ops.op import Shards
from oflow.ops.proof import first_wrong
from oflow.ops.redraw import Case, cases_of, domains, redrawn
from oflow.sbp import B, P, S, Signature
from tests.ops.dual import Gradient, dual, moved
from tests.ops.shards import LOCAL

SEED = 4813
DIFFERENTIABLE = [name for name in LOCAL if REGISTRY[name].gradient is not None]

_OFFSET = "its gradient's rule does not say where a rank's rows begin"
BY_NODES = {
    **dict.fromkeys(("embedding", "embedding_grad", "embedding_bag", "weighted_embedding_bag"), _OFFSET),
    **dict.fromkeys(("take", "take_along_axis", "scatter_sum", "segment_sum", "segment_max"), _OFFSET),
    **dict.fromkeys(("diagonal", "diagonal_matrix"), "its gradient's rule does not say where a rank's part of the diagonal begins"),
    **dict.fromkeys(("conv2d", "conv2d_grad_input", "conv2d_grad_weight"), "its gradient's rule reads the number of all groups"),
}
"""Operators some of whose signatures are verified on the nodes of the logical gradient, and why."""

COMMUNICATES = {
    ("segment_max", "B,B -> S(0)"): "the gradient looks rows of the result up, and the result is split by rows",
}
"""Signatures whose dual holds for the derivative, but neither way runs it: the gradient's rule is not a rank's, and its nodes would
have to communicate."""


def applies(signature):
    """Candidates of a maximum have no dual."""
    return not any(s.is_partial and s.op != "sum" for s in (*signature.ins, *signature.outs))


def in_float64(case):
    operands = tuple(x.astype("float64") if x.dtype.kind == "f" else x for x in case.operands)
    attrs = {key: "float64" if value == "float32" else value for key, value in case.attrs.items()}
    return Case(case.example, case.label, operands, attrs, case.tolerance)


class Dual:
    """One case of an operator: its gradient on whole operands for random cotangents, and the same on ranks."""

    def __init__(self, op, case, random):
        self.op, self.case, self.random = op, case, random
        self.ins = tuple(map(type_of, case.operands))
        self.outs = op.infer(self.ins, case.attrs)
        self.results = whole(op, case.operands, case.attrs)
        self.gradient = Gradient(op, self.ins, self.outs, case.attrs)
        self.g = {i: random.integers(-4, 5, self.outs[i].shape).astype(self.outs[i].dtype) for i in self.gradient.given}
        self.wanted = self.gradient.evaluate(self.g, case.operands, self.results)

    def holds(self, made, signature, parts):
        """Whether the cotangents of the operands, one list of arrays a rank, join by dual(ins) to those of the whole."""
        if made is None:
            return False
        for i, (sbp, wanted) in enumerate(zip(signature.ins, self.wanted, strict=True)):
            if wanted is None:
                continue
            try:
                found = join([results[i] for results in made], (dual(sbp),), (parts,))
            except (OflowError, ValueError):  # copies differ beyond rounding, or do not fit together
                found = _mean_of_copies([results[i] for results in made])
            if found is None or first_wrong(found, wanted, 1e-9) is not None:
                return False
        return True

    def per_rank(self, signature, parts):
        """What each rank makes: it runs its call and differentiates it. None where the gradient's rule does not take its call."""
        try:
            return self._per_rank(signature, parts)
        except (OflowError, ValueError, IndexError):
            return None

    def _per_rank(self, signature, parts):
        case, mesh = self.case, (parts,)
        held = [cut(x, (s,), mesh, self.random) for x, s in zip(case.operands, signature.ins, strict=True)]
        cotangents = {i: cut(g, (dual(signature.outs[i]),), mesh, self.random) for i, g in self.g.items()}
        inner = regions([t.shape for t in self.ins], [(s,) for s in signature.ins], mesh)
        outer = regions([t.shape for t in self.outs], [(s,) for s in signature.outs], mesh)
        made = []
        for rank in range(parts):
            shards = [x[rank] for x in held]
            call = call_on(self.op, shards, self.outs, case.attrs, Shards(inner[rank], outer[rank]))
            results = run(self.op, shards, call.outs, call.attrs, call.nbytes)
            gradient = Gradient(self.op, tuple(map(type_of, shards)), call.outs, call.attrs)
            made.append(gradient.evaluate({i: g[rank] for i, g in cotangents.items()}, shards, results))
        return made

    def by_nodes(self, signature, parts):
        """The nodes of the logical gradient on shards; None where no choice of signatures does without communication."""
        duals = {i: dual(signature.outs[i]) for i in self.g}
        layouts = self.gradient.inputs(duals, signature.ins, signature.outs)
        wanted = {v: dual(s) for v, s in zip(self.gradient.made, signature.ins, strict=True) if v is not None}
        chosen = self.gradient.signatures(layouts, wanted, parts)
        if chosen is None:
            return None
        arrays = self.gradient.inputs(self.g, self.case.operands, self.results)
        shards = {v: (s, cut(arrays[v], (s,), (parts,), self.random)) for v, s in layouts.items()}
        values = self.gradient.on_shards(chosen, shards, parts)
        types = self.gradient.graph.values
        ends = [None if v is None else moved(*values[v], wanted[v], types[v].type, parts) for v in self.gradient.made]
        return [[None if end is None else end[rank] for end in ends] for rank in range(parts)]


def _mean_of_copies(copies):
    """Copies that differ by rounding as one array; None where they differ by more."""
    if any(x.shape != copies[0].shape or first_wrong(x, copies[0], 1e-9) is not None for x in copies):
        return None
    return np.mean(copies, axis=0)


def check(name, parts, draws=0):
    """Verify the theorem on every signature where it applies. Returns those verified by nodes, those by neither, and how many."""
    op = REGISTRY[name]
    random = np.random.default_rng(SEED)
    by_nodes, neither, count = set(), set(), 0
    for example in map(in_float64, cases_of(op)):
        ranges = domains(op, example)
        for case in (example, *(redrawn(example, ranges, random) for _ in range(draws))):
            found = Dual(op, case, random)
            if not found.g:
                continue
            for signature in filter(applies, op.signatures(found.ins, case.attrs, parts)):
                count += 1
                if found.holds(found.per_rank(signature, parts), signature, parts):
                    continue
                made = found.by_nodes(signature, parts)
                (neither if made is None else by_nodes).add(signature)
                assert made is None or found.holds(made, signature, parts), (
                    f"{name}, {case}, {signature} on {parts} ranks: not the cotangents of the whole (seed {SEED})"
                )
    return by_nodes, neither, count


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_dual_of_every_signature_holds_for_the_gradient(name):
    for parts in (2, 3):
        by_nodes, neither, _ = check(name, parts)
        assert not by_nodes or name in BY_NODES, f"{name}: by nodes only: {', '.join(map(str, by_nodes))}"
        assert {(name, str(s)) for s in neither} == {pair for pair in COMMUNICATES if pair[0] == name}


@pytest.mark.slow
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_dual_holds_for_fresh_data(name):
    for parts in (2, 3, 4, 5):
        check(name, parts, draws=3)


@pytest.mark.parametrize("name", BY_NODES)
def test_the_list_is_about_operators_that_need_it(name):
    by_nodes, neither, _ = check(name, 2)
    assert by_nodes or neither


def test_a_wrong_gradient_layout_is_refused():
    """Keeping the forward layout, S -> S, B -> B, P -> P, is wrong for products: the check must see it."""
    op, random = REGISTRY["matmul"], np.random.default_rng(SEED)
    found = Dual(op, in_float64(cases_of(op)[0]), random)
    split_sum = next(s for s in op.signatures(found.ins, found.case.attrs, 2) if str(s) == "S(0),B -> S(0)")
    made = found.per_rank(split_sum, 2)
    assert found.holds(made, split_sum, 2)
    kept = Signature((split_sum.ins[0], P), split_sum.outs)  # would say that the weight's cotangent is the same on both
    assert not found.holds(made, kept, 2)


def test_partial_maxima_have_no_dual():
    assert not applies(Signature.parse("S(0) -> P(max)"))
    assert applies(Signature.parse("S(0),B -> P"))
    assert dual(B) == P and dual(P) == B and dual(S(1)) == S(1)


# ------------------------------------------------------------ operators without a gradient

ZERO = "its derivative is 0 wherever it has one"
WITHOUT_GRADIENT = {
    **dict.fromkeys(("ceil", "floor", "floor_divide", "rint", "sign", "trunc"), ZERO),
    "finite_or_zero": "what it makes is subtracted and added again",
    "fused": "made by the compiler after differentiation",
    **dict.fromkeys(("rand_like", "randn_like"), "reads no values"),
    **dict.fromkeys(("sum_squares", "rows_sum_squares"), "the norm of gradients, part of the update"),
}


def test_operators_without_a_gradient_are_gradients_or_updates_or_listed():
    used = set()
    for name in DIFFERENTIABLE:
        for case in map(in_float64, cases_of(REGISTRY[name])):
            ins = tuple(map(type_of, case.operands))
            outs = REGISTRY[name].infer(ins, case.attrs)
            if any(t.is_float for t in outs):
                used.update(node.op for node in Gradient(REGISTRY[name], ins, outs, case.attrs).graph.nodes)
    bare = {name for name in LOCAL if REGISTRY[name].gradient is None and name not in used and not REGISTRY[name].inplace}
    assert {name for name in bare if _of_floats(REGISTRY[name])} == set(WITHOUT_GRADIENT)


def _of_floats(op):
    """Whether it makes floats from floats."""
    case = cases_of(op)[0]
    ins = tuple(map(type_of, case.operands))
    return any(t.is_float for t in ins) and any(t.is_float for t in op.infer(ins, case.attrs))
