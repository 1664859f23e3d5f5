"""Attention, softmax and gated units against definitions written out in float64, and in parts along the sequence."""

from __future__ import annotations

from copy import copy

import numpy as np
import pytest

import oflow as of
from oflow.ops import REGISTRY, Example
from oflow.ops.proof import prove_signatures
from oflow.types import freeze
from tests.ops.shards import type_of, whole
from tests.ops.test_gradients import check as check_gradient

SEED = 77


def floats(*shape, seed=SEED):
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


def defined(q, k, v, mask=None, causal=False, scale=None):
    """scaled_dot_product_attention with all scores at once; rows without keys are zero."""
    (_, t, h, d), (_, s, g, _) = q.shape, k.shape
    k, v = (np.repeat(x, h // g, axis=2) for x in (k, v))
    scores = np.einsum("bthd,bshd->bhts", q, k) * (d**-0.5 if scale is None else scale)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        scores = np.where(np.tri(t, s, s - t, dtype=bool), scores, -np.inf)
    largest = scores.max(-1, keepdims=True, initial=-1e300)
    weights = np.exp(scores - largest)
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    return np.einsum("bhts,bshe->bthe", weights, v)


CASES = {
    # name: (batch, t, s, heads, kv heads, shape of the mask or None, kind of mask, causal)
    "full": (2, 5, 7, 3, 3, None, "", False),
    "many blocks": (2, 150, 130, 2, 2, None, "", False),
    "grouped": (2, 70, 80, 6, 2, None, "", False),
    "one head of keys": (1, 9, 9, 4, 1, None, "", True),
    "padding": (3, 70, 90, 2, 2, (3, 1, 1, 90), "bool", False),
    "bool by head": (2, 6, 8, 4, 2, (4, 6, 8), "bool", True),
    "bias": (2, 70, 70, 2, 2, (2, 70, 70), "bias", True),
    "bias of keys": (2, 7, 9, 4, 4, (9,), "bias", False),
    "causal, more keys": (2, 70, 130, 4, 2, None, "", True),
    "causal, fewer keys": (2, 9, 5, 4, 2, None, "", True),
    "causal, equal heads": (2, 9, 9, 4, 4, None, "", True),
}


@pytest.mark.parametrize("case", CASES)
def test_attention_is_the_definition(case):
    b, t, s, h, g, shape, kind, causal = CASES[case]
    q, k, v = floats(b, t, h, 8), floats(b, s, g, 8), floats(b, s, g, 6, seed=1)
    arrays = [q, k, v]
    if shape:
        arrays.append(floats(*shape) > 0.3 if kind == "bool" else floats(*shape))
    f = of.compile(lambda *x: of.attention(*x, causal=causal), *(of.spec(x.shape, x.dtype) for x in arrays), kernels="numpy")
    np.testing.assert_allclose(f(*arrays), defined(*arrays, causal=causal), rtol=1e-10, atol=1e-12)


def test_rows_that_see_no_key_are_zero_and_pass_no_gradient():
    q, k, v = (floats(2, 5, 3, 4, seed=i) for i in range(3))
    mask = np.ones((2, 1, 5, 5), bool)
    mask[1, 0, 2] = False
    out, logsumexp = whole(REGISTRY["attention"], [q, k, v, mask], {"scale": 0.5})
    assert (out[1, 2] == 0).all() and (logsumexp[1, :, 2] == -np.inf).all() and (out[0] != 0).all()
    cotangents = whole(REGISTRY["attention_grad"], [np.ones_like(out), q, k, v, out, logsumexp, mask], {"scale": 0.5})
    assert all(np.isfinite(x).all() for x in cotangents) and (cotangents[0][1, 2] == 0).all()


def test_large_scores_do_not_overflow():
    q, k = np.full((1, 3, 1, 4), 200.0, "float32"), np.full((1, 5, 1, 4), 200.0, "float32")
    v = floats(1, 5, 1, 4).astype("float32")
    out, _ = whole(REGISTRY["attention"], [q, k, v], {"scale": 1.0})
    np.testing.assert_allclose(out, np.broadcast_to(v.mean(1, keepdims=True), out.shape), rtol=1e-5)


def test_a_mask_of_bools_is_a_bias_of_minus_infinity():
    q, k, v = (floats(2, 9, 2, 4, seed=i) for i in range(3))
    mask = floats(2, 1, 9, 9) > 0.5
    one = whole(REGISTRY["attention"], [q, k, v, mask], {"scale": 0.5})
    other = whole(REGISTRY["attention"], [q, k, v, np.where(mask, 0.0, -np.inf)], {"scale": 0.5})
    np.testing.assert_array_equal(one[0], other[0])


@pytest.mark.parametrize("t, s", [(70, 70), (66, 130), (7, 5)])
def test_causal_queries_in_parts(t, s):
    """Sequence parallel: the parts of queries that ranks hold, with their offsets, join to the whole; gradients too."""
    operands = [floats(2, n, 2, 4, seed=i).astype("float32") for i, n in enumerate((t, s, s))]
    attrs = {"scale": 0.5, "past": s - t}
    example = Example(tuple(operands), attrs)
    op, grad = REGISTRY["causal_attention"], REGISTRY["causal_attention_grad"]
    found = {str(one) for one in op.signatures(tuple(map(type_of, operands)), dict(freeze(attrs)), 2)}
    assert "S(1),B,B -> S(1),S(2)" in found
    out, logsumexp = whole(op, operands, attrs)
    doubled = whole(op, [x.astype("float64") for x in operands], attrs)
    np.testing.assert_allclose(doubled[0], defined(*(x.astype("float64") for x in operands), causal=True, scale=0.5), atol=1e-12)
    backward = Example((floats(*out.shape, seed=9).astype("float32"), *operands, out, logsumexp), attrs)
    # redrawn with other sizes the rows that see nothing would be others than their logarithms say
    for one, given in ((op, example), (grad, backward)) if t <= s else ((op, example),):
        with_past = copy(one)
        with_past.example = lambda given=given: [given]
        prove_signatures(with_past, ((2,), (3,), (2, 2)))


@pytest.mark.parametrize("name", ["attention", "causal_attention"])
def test_gradients_under_an_offset(name):
    """With `past` below what the last rank has: queries that see nothing, keys that nobody sees."""
    random = np.random.default_rng(SEED)
    for past in (-2, 0, 1):
        operands = [floats(1, n, 2, 4, seed=i) for i, n in enumerate((4, 6, 6))]
        check_gradient(REGISTRY[name], operands, {"scale": 0.5, "past": past}, random, f"{name}, past {past} (seed {SEED})")


@pytest.mark.parametrize(("shapes", "expected"), [
    (((2, 4, 4, 2), (2, 6, 4, 2)), {"B,B,B -> B,B", "S(0),S(0),S(0) -> S(0),S(0)", "S(1),B,B -> S(1),S(2)", "S(2),S(2),S(2) -> S(2),S(1)"}),
    (((2, 4, 4, 2), (2, 6, 1, 2)), {"B,B,B -> B,B", "S(0),S(0),S(0) -> S(0),S(0)", "S(1),B,B -> S(1),S(2)", "S(2),B,B -> S(2),S(1)"}),
    (((2, 4, 6, 2), (2, 6, 3, 2)), {"B,B,B -> B,B", "S(0),S(0),S(0) -> S(0),S(0)", "S(1),B,B -> S(1),S(2)"}),
])  # fmt: skip
def test_signatures_of_shared_heads(shapes, expected):
    """Heads of keys that two ranks cannot halve stay whole; a single one is shared by all."""
    q, k = (type_of(np.zeros(shape)) for shape in shapes)
    assert {str(s) for s in REGISTRY["attention"].signatures((q, k, k), {"scale": 1.0}, 2)} == expected


@pytest.mark.parametrize(("mask", "message"), [
    (((2, 5), "bool"), r"does not repeat to .*\(2, 2, 3, 4\)"), (((4,), "int64"), "bool, or a bias"), (((1, 1, 1, 1, 4), "bool"), "repeat"),
])  # fmt: skip
def test_masks_that_do_not_fit_are_errors_at_the_line(mask, message):
    q, k = of.spec((2, 3, 2, 4)), of.spec((2, 4, 2, 4))
    with pytest.raises(of.ShapeError, match=r"test_attention\.py:\d+.*" + message):
        of.compile(lambda q, k, v, m: of.attention(q, k, v, m), q, k, k, of.spec(*mask))


def test_heads_that_cannot_be_shared_are_an_error():
    with pytest.raises(of.ShapeError, match="3 heads of queries cannot share 2"):
        of.compile(lambda q, k: of.attention(q, k, k), of.spec((1, 5, 3, 4)), of.spec((1, 5, 2, 4)))


# ------------------------------------------------------------ softmax


def soft(x, axis, where=True):
    y = np.where(where, np.exp(x - x.max(axis, keepdims=True)), 0)
    total = y.sum(axis, keepdims=True)
    return y / np.where(total, total, 1)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
@pytest.mark.parametrize("fused", [True, False])
def test_softmax_over_any_axis(axis, fused):
    x = 30 * floats(4, 5, 6)
    spec = of.spec(x.shape, "float64")
    y, logarithm = of.compile(lambda x: (of.softmax(x, axis, fused=fused), of.log_softmax(x, axis, fused=fused)), spec)(x)
    np.testing.assert_allclose(y, soft(x, axis), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(logarithm, np.log(soft(x, axis)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_masked_softmax(axis):
    x, where = floats(4, 5, 6), floats(5, 1, seed=2) > 0
    y = of.compile(lambda x, w: of.softmax(x, axis, w), of.spec(x.shape, "float64"), of.spec(where.shape, "bool"))(x, where)
    np.testing.assert_allclose(y, soft(x, axis, where), rtol=1e-12, atol=1e-15)


def test_composed_softmax_keeps_its_axis_split():
    """Class-split logits: no boxing between the devices is larger than one number a row."""
    two = of.placement("cpu", [0, 1])
    x = floats(64, 8192)

    def f(x):
        return of.log_softmax(x, fused=False).to_global(two, of.S(1))

    program = of.compile(f, of.spec(x.shape, "float64", two, of.S(1)))
    np.testing.assert_allclose(program(x), np.log(soft(x, -1)), rtol=1e-12, atol=1e-12)
    graph = program.graph
    moved = [graph.values[n.outs[0]].type.shape for n in graph.nodes
             if n.op == "boxing" and n.placement == graph.values[n.ins[0]].layout.placement]
    assert moved and all(shape == (64, 1) for shape in moved), moved


def test_softmax_errors():
    with pytest.raises(of.ShapeError, match="axis 2"):
        of.compile(lambda x: of.softmax(x, 2), of.spec((3, 4)))
    with pytest.raises(of.ShapeError, match="fused=False"):
        of.compile(lambda x, w: of.softmax(x, where=w, fused=False), of.spec((3, 4)), of.spec((4,), "bool"))


def test_norms_without_weights():
    x = floats(3, 5, 8)
    y, z = of.compile(lambda x: (of.layer_norm(x), of.rms_norm(x)), of.spec(x.shape, "float64"))(x)
    np.testing.assert_allclose(y, (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5), rtol=1e-12)
    np.testing.assert_allclose(z, x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6), rtol=1e-12)


def test_gated_units():
    a, b = floats(4, 5), floats(4, 5, seed=3)
    spec = of.spec(a.shape, "float64")
    y, z = of.compile(lambda a, b: (of.swiglu(a, b), of.geglu(a, b)), spec, spec)(a, b)
    np.testing.assert_allclose(y, a / (1 + np.exp(-a)) * b, rtol=1e-12)
    gelu = 0.5 * a * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))
    np.testing.assert_allclose(z, gelu * b, rtol=1e-10, atol=1e-14)
