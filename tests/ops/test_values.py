"""The kernels against their definitions, written out in float64."""

import numpy as np
import pytest

from oflow.ops import REGISTRY
from tests.ops.shards import whole

EXPECTED = {}


def definition(name):
    """Register the written-out definition of an operator."""

    def register(function):
        EXPECTED[name] = function
        return function

    return register


@definition("softmax")
def _(x):
    y = np.exp(x - x.max(-1, keepdims=True))
    return y / y.sum(-1, keepdims=True)


@definition("causal_softmax")
def _(scores, scale=1.0):
    t, s = scores.shape[-2:]
    seen = np.arange(s) <= np.arange(t)[:, None] + s - t
    y = np.where(seen, np.exp(scale * scores), 0.0)
    return y / np.maximum(y.sum(-1, keepdims=True), 1e-300)


@definition("layer_norm")
def _(x, gamma, beta, eps=1e-5):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * gamma + beta


@definition("layer_norm_grad")
def _(g, x, gamma, eps=1e-5):
    inverse = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    h, w = (x - x.mean(-1, keepdims=True)) * inverse, g * gamma
    lead = tuple(range(x.ndim - 1))
    return inverse * (w - w.mean(-1, keepdims=True) - h * (w * h).mean(-1, keepdims=True)), (g * h).sum(lead), g.sum(lead)


@definition("rms_norm")
def _(x, gamma, eps=1e-6):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gamma


@definition("rms_norm_grad")
def _(g, x, gamma, eps=1e-6):
    inverse = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    h, w = x * inverse, g * gamma
    return inverse * (w - h * (w * h).mean(-1, keepdims=True)), (g * h).sum(tuple(range(x.ndim - 1)))


@definition("softmax_cross_entropy")
def _(logits, labels):
    loss = -np.log(np.take_along_axis(EXPECTED["softmax"](logits), labels[..., None], -1)[..., 0])
    largest = logits.max(-1, keepdims=True)
    return loss, np.concatenate([largest, np.exp(logits - largest).sum(-1, keepdims=True)], -1)


@definition("softmax_cross_entropy_grad")
def _(logits, labels, statistics, g, classes=None):
    one_hot = np.arange(logits.shape[-1]) == labels[..., None]
    return g[..., None] * (EXPECTED["softmax"](logits) - one_hot)


@definition("class_sums")
def _(logits, labels, largest, classes):
    chosen = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    return np.exp(logits - largest[..., None]).sum(-1), chosen


@definition("class_sums_grad")
def _(logits, labels, largest, g, h, classes):
    one_hot = np.arange(classes) == labels[..., None]
    return g[..., None] * np.exp(logits - largest[..., None]) + h[..., None] * one_hot


@definition("causal_attention")
def _(q, k, v, scale=1.0):
    scores = np.einsum("bthd,bshd->bhts", q, k)
    t, s = scores.shape[-2:]
    seen = np.arange(s) <= np.arange(t)[:, None] + s - t
    with np.errstate(divide="ignore"):
        logsumexp = np.log(np.where(seen, np.exp(scale * scores), 0.0).sum(-1))
    return np.einsum("bhts,bshe->bthe", EXPECTED["causal_softmax"](scores, scale), v), logsumexp


@definition("causal_attention_grad")
def _(g, q, k, v, out, logsumexp, scale=1.0):
    weights = EXPECTED["causal_softmax"](np.einsum("bthd,bshd->bhts", q, k), scale)
    slopes = np.einsum("bthe,bshe->bhts", g, v)
    slopes = scale * weights * (slopes - (slopes * weights).sum(-1, keepdims=True))
    to_q, to_k = np.einsum("bhts,bshd->bthd", slopes, k), np.einsum("bhts,bthd->bshd", slopes, q)
    return to_q, to_k, np.einsum("bhts,bthe->bshe", weights, g)


@definition("embedding")
def _(ids, table, rows):
    return table[ids]


@definition("embedding_grad")
def _(ids, g, rows):
    out = np.zeros((rows, g.shape[-1]))
    np.add.at(out, ids, g)
    return out


@definition("conv2d")
def _(x, w, stride=1, padding=0, dilation=1, groups=1):
    (down, right), (apart_h, apart_w) = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)
    x = np.pad(x, ((0, 0), (0, 0), *np.broadcast_to(np.array(padding).T, (2, 2)).T))
    reach = tuple((k - 1) * apart + 1 for k, apart in zip(w.shape[2:], (apart_h, apart_w), strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, (2, 3))[:, :, ::down, ::right, ::apart_h, ::apart_w]
    parts = zip(np.split(seen, groups, 1), np.split(w, groups, 0), strict=True)
    return np.concatenate([np.einsum("nchwij,ocij->nohw", *part) for part in parts], 1)


def pooled(x, size, stride, padding, reduce, outside):
    size, padding = tuple(np.broadcast_to(size, 2)), np.broadcast_to(padding, 2)
    down, right = size if stride is None else np.broadcast_to(stride, 2)
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=outside)
    return reduce(np.lib.stride_tricks.sliding_window_view(x, size, (2, 3))[:, :, ::down, ::right], axis=(4, 5))


@definition("max_pool2d")
def _(x, size, stride=None, padding=0):
    return pooled(x, size, stride, padding, np.max, -np.inf)


@definition("avg_pool2d")
def _(x, size, stride=None, padding=0):
    return pooled(x, size, stride, padding, np.mean, 0.0)


def gradient_in_parts(states):
    """The update of `states` tensors whose gradient, the operand after them, is the sum of `gradients` operands."""

    def whole_gradient(update):
        def defined(*operands, gradients=1, **attrs):
            rest = operands[states:]
            return update(*operands[:states], sum(rest[:gradients]), *rest[gradients:], **attrs)

        return defined

    return whole_gradient


@definition("sgd_update")
@gradient_in_parts(1)
def _(w, g, lr, scale=1.0, weight_decay=0.0):
    return w - lr * (scale * g + weight_decay * w)


@definition("momentum_update")
@gradient_in_parts(2)
def _(w, v, g, lr, scale=1.0, momentum=0.9, nesterov=False, weight_decay=0.0):
    d = scale * g + weight_decay * w
    v = momentum * v + d
    return w - lr * (d + momentum * v if nesterov else v), v


@definition("adamw_update")
@gradient_in_parts(3)
def _(w, m, v, g, lr, step, scale=1.0, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    w, g = w - lr * weight_decay * w, g * scale
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    mean, square = m / (1 - beta1 ** (step + 1)), v / (1 - beta2 ** (step + 1))
    return w - lr * mean / (np.sqrt(square) + eps), m, v


@definition("sum_squares")
def _(*parts):
    return np.sum(sum(parts) ** 2)


@pytest.mark.parametrize("name", EXPECTED)
def test_kernel_is_the_definition(name):
    op = REGISTRY[name]
    for example in op.example():
        operands = [np.asarray(x) for x in example.operands]
        exactly = [x.astype("float64") if x.dtype.kind == "f" else x for x in operands]
        wanted = EXPECTED[name](*exactly, **example.attrs)
        results = wanted if isinstance(wanted, tuple) else (wanted,)
        for found, expected in zip(whole(op, operands, example.attrs), results, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def heads(positions, d):
    """Random float64 (2, positions, 3, d)."""
    return np.random.default_rng((positions, d)).standard_normal((2, positions, 3, d))


def test_more_rows_than_a_block():
    random = np.random.default_rng(8)
    x, gamma, beta = random.standard_normal((1500, 96)), random.standard_normal(96), random.standard_normal(96)
    ids, g = random.integers(0, 40, 9000), random.integers(-9, 9, (9000, 64)).astype("float64")
    labels = random.integers(0, 96, 1500)
    for name, operands, attrs in [
        ("softmax", [x], {}),
        ("layer_norm", [x, gamma, beta], {}),
        ("layer_norm_grad", [x[::-1].copy(), x, gamma], {}),
        ("rms_norm", [x, gamma], {}),
        ("rms_norm_grad", [x[::-1].copy(), x, gamma], {}),
        ("softmax_cross_entropy", [x, labels], {}),
        ("causal_softmax", [random.standard_normal((9, 100, 70))], {}),
        ("causal_softmax", [random.standard_normal((9, 70, 100))], {"scale": 0.1}),
        ("causal_attention", [heads(150, 8), heads(150, 8), heads(150, 6)], {"scale": 0.3}),
        ("causal_attention", [heads(90, 8), heads(400, 8), heads(400, 6)], {}),
        ("causal_attention", [heads(150, 8), heads(90, 8), heads(90, 6)], {}),
        ("embedding_grad", [ids, g], {"rows": 40}),
        ("embedding", [ids, g], {"rows": 9000}),
        ("sgd_update", [x, 2 * x, np.asarray(0.5)], {}),
    ]:
        wanted = EXPECTED[name](*operands, **attrs)
        for found, expected in zip(whole(REGISTRY[name], operands, attrs), wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12, err_msg=name)


def test_gradient_of_attention_over_many_blocks():
    for t, s in [(150, 150), (90, 400), (150, 90)]:
        q, k, v, g = heads(t, 8), heads(s, 8), heads(s, 6), heads(t, 6)
        results = whole(REGISTRY["causal_attention"], [q, k, v], {"scale": 0.3})
        operands = [g, q, k, v, *results]
        wanted = EXPECTED["causal_attention_grad"](*operands, scale=0.3)
        for found, expected in zip(whole(REGISTRY["causal_attention_grad"], operands, {"scale": 0.3}), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_composed_attention_is_the_fused_one():
    q, k, v = heads(70, 8), heads(70, 8), heads(70, 6)
    out, _ = whole(REGISTRY["causal_attention"], [q, k, v], {"scale": 0.3})
    (weights,) = whole(REGISTRY["causal_softmax"], [np.einsum("bthd,bshd->bhts", q, k)], {"scale": 0.3})
    np.testing.assert_allclose(out, np.einsum("bhts,bshd->bthd", weights, v), rtol=1e-10, atol=1e-12)


def test_large_numbers_do_not_overflow():
    x, labels = np.array([[1e4, -1e4, 9.999e3]], "float32"), np.array([1])
    (y,) = whole(REGISTRY["softmax"], [x], {})
    np.testing.assert_allclose(y, [[1.0, 0.0, np.exp(-1.0)] / (1 + np.exp(-1.0))], rtol=1e-5)
    loss, statistics = whole(REGISTRY["softmax_cross_entropy"], [x, labels], {})
    np.testing.assert_allclose(loss, [2e4 + np.log1p(np.exp(-1.0))], rtol=1e-6)
    (slope,) = whole(REGISTRY["softmax_cross_entropy_grad"], [x, labels, statistics, np.ones(1, "float32")], {})
    np.testing.assert_allclose(slope, y - np.array([[0.0, 1.0, 0.0]]), rtol=1e-6)


@pytest.mark.parametrize("wrong", [-1, 5])
def test_numbers_out_of_range_are_errors(wrong):
    with pytest.raises(IndexError, match=r"range\(5\)"):
        whole(REGISTRY["embedding"], [np.array([0, wrong]), np.zeros((5, 2))], {"rows": 5})
    with pytest.raises(IndexError, match=r"range\(5\)"):
        whole(REGISTRY["softmax_cross_entropy"], [np.zeros((2, 5)), np.array([0, wrong])], {})
