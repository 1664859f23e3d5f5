"""Row-wise kernels and attention where examples do not reach: many rows, odd widths, NaN and infinity, labels out of range."""

import numpy as np
import pytest

import oflow.backends.compiled  # noqa: F401 (registers the forms)
from oflow.backends.compiled import direct
from oflow.backends.compiled.form import OUT_OF_RANGE
from oflow.native import available
from oflow.ops import REGISTRY
from oflow.types import TensorType

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")
SEED = 90210
TOLERANCE = {"float32": 3e-5, "float64": 1e-12}


def results(op, operands, attrs):
    types = tuple(TensorType(a.shape, a.dtype.name) for a in operands)
    return [np.full(t.shape, 77, t.dtype) for t in REGISTRY[op].infer(types, attrs)]


def compiled(op, operands, attrs, status=0):
    outs = results(op, operands, attrs)
    assert direct.run(op, outs, operands, attrs) == status
    return outs


def reference(op, operands, attrs):
    """The NumPy kernel in float64."""
    operands = [a.astype("float64") if a.dtype.kind == "f" else a for a in operands]
    outs = results(op, operands, attrs)
    nbytes = direct.call_of(op, outs, operands, attrs).workspace_nbytes
    with np.errstate(all="ignore"):
        REGISTRY[op].run(*outs, *operands, **attrs, **({"workspace": np.empty(nbytes, "uint8")} if nbytes else {}))
    return outs


def compare(op, operands, attrs, dtype):
    operands = [np.ascontiguousarray(a.astype(dtype) if a.dtype.kind == "f" else a) for a in operands]
    for found, wanted in zip(compiled(op, operands, attrs), reference(op, operands, attrs), strict=True):
        scale = max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)))
        np.testing.assert_allclose(found, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale, err_msg=f"{op} (seed {SEED})")


def softmax_of(x):
    y = np.exp(x - x.max(-1, keepdims=True))
    return y / y.sum(-1, keepdims=True)


def statistics_of(logits):
    largest = logits.max(-1, keepdims=True)
    return np.concatenate([largest, np.exp(logits - largest).sum(-1, keepdims=True)], -1)


def row_calls(rows, width):
    random = np.random.default_rng((SEED, rows, width))
    x, g, gamma, beta = (random.standard_normal(s) for s in ((rows, width), (rows, width), width, width))
    labels = random.integers(0, width, rows)
    return [
        ("softmax", [3 * x], {}),
        ("softmax_grad", [g, softmax_of(x)], {}),
        ("layer_norm", [5 * x + 7, gamma, beta], {"eps": 1e-3}),
        ("layer_norm_grad", [g, 5 * x + 7, gamma], {}),
        ("rms_norm", [x, gamma], {"eps": 1e-3}),
        ("rms_norm_grad", [g, x, gamma], {}),
        ("softmax_cross_entropy", [4 * x, labels], {}),
        ("softmax_cross_entropy_grad", [4 * x, labels, statistics_of(4 * x), g[:, 0]], {}),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (5, 16), (17, 33), (3, 257), (300, 1000), (0, 8)])
def test_rows_of_any_width(rows, width, dtype):
    for op, operands, attrs in row_calls(rows, width):
        compare(op, operands, attrs, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("t", "s"), [(1, 1), (64, 64), (65, 65), (130, 130), (33, 200), (200, 33), (3, 0), (0, 3)])
def test_attention_of_any_length(t, s, dtype):
    random = np.random.default_rng((SEED, t, s))
    q, k, v, g = (random.standard_normal((2, n, 3, d)) for n, d in ((t, 8), (s, 8), (s, 5), (t, 5)))
    compare("causal_attention", [q, k, v], {"scale": 0.3}, dtype)
    out, logsumexp = reference("causal_attention", [q, k, v], {"scale": 0.3})
    compare("causal_attention_grad", [g, q, k, v, out, logsumexp], {"scale": 0.3}, dtype)
    if s:
        scores = random.standard_normal((2, 3, t, s))
        compare("causal_softmax", [scores], {"scale": -0.7}, dtype)
        (y,) = reference("causal_softmax", [scores], {})
        compare("causal_softmax_grad", [scores[::-1].copy(), y], {"scale": -0.7}, dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_shows(value, dtype):
    """What is not finite in the NumPy kernels' results is not finite here; infinities may become NaN and the reverse."""
    for op, operands, attrs in row_calls(7, 40):
        for i, operand in enumerate(operands):
            if operand.dtype.kind == "f" and not (op.endswith("grad") and op.startswith("softmax_cross") and i == 2):
                spoiled = operand.copy()
                spoiled.reshape(-1)[spoiled.size // 2] = value
                given = [*operands[:i], spoiled, *operands[i + 1 :]]
                check_finite(op, [a.astype(dtype) if a.dtype.kind == "f" else a for a in given], attrs, i)


def check_finite(op, operands, attrs, i):
    with np.errstate(all="ignore"):
        if op == "softmax_cross_entropy_grad":
            operands[2] = statistics_of(operands[0])
        found, wanted = compiled(op, operands, attrs), reference(op, operands, attrs)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b), err_msg=f"{op}, operand {i} (seed {SEED})")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("spoiled", [0, 1])
def test_attention_spoils_only_what_sees_it(spoiled, value):
    operands = [np.random.default_rng(SEED).standard_normal((1, 70, 2, 8)).astype("float32") for _ in range(3)]
    operands[spoiled][0, 40, 1, 3] = value
    out, logsumexp = compiled("causal_attention", operands, {})
    expected, totals = reference("causal_attention", operands, {})
    for found, wanted in ((out, expected), (logsumexp, totals)):
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted), err_msg=f"seed {SEED}")
    finite = np.isfinite(out).all(axis=(0, 3))
    assert finite[:, 0].all() and finite[:40, 1].all() and not finite[40, 1]


@pytest.mark.parametrize("wrong", [-1, 5])
def test_labels_out_of_range_come_first(wrong):
    logits, labels = np.zeros((3, 5), "float32"), np.array([0, 1, wrong])
    for loss in compiled("softmax_cross_entropy", [logits, labels], {}, OUT_OF_RANGE):
        assert (loss == 77).all()
    operands = [logits, labels, np.ones((3, 2), "float32"), np.ones(3, "float32")]
    (slope,) = compiled("softmax_cross_entropy_grad", operands, {}, OUT_OF_RANGE)
    assert (slope == 77).all()


def test_large_scores_do_not_overflow():
    logits, labels = np.array([[1e4, -1e4, 9.999e3]], "float32"), np.array([1])
    loss, statistics = compiled("softmax_cross_entropy", [logits, labels], {})
    np.testing.assert_allclose(loss, [2e4 + np.log1p(np.exp(-1.0))], rtol=1e-6)
    (slope,) = compiled("softmax_cross_entropy_grad", [logits, labels, statistics, np.ones(1, "float32")], {})
    np.testing.assert_allclose(slope, softmax_of(logits.astype("float64")) - [[0, 1, 0]], atol=1e-6)
    q, k, v = np.full((1, 3, 1, 4), 100, "float32"), np.full((1, 3, 1, 4), 100, "float32"), np.eye(3, dtype="float32").reshape(1, 3, 1, 3)
    out, logsumexp = compiled("causal_attention", [q, k, v], {})
    np.testing.assert_allclose(out[0, :, 0], np.tri(3) / [[1], [2], [3]], rtol=1e-6)
    np.testing.assert_allclose(logsumexp[0, 0], 4e4, rtol=1e-4)


def test_the_same_bits_every_time():
    for op, operands, attrs in row_calls(40, 130):
        operands = [a.astype("float32") if a.dtype.kind == "f" else a for a in operands]
        first, second = compiled(op, operands, attrs), compiled(op, operands, attrs)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
