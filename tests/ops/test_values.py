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


@definition("softmax_cross_entropy")
def _(logits, labels):
    return -np.log(np.take_along_axis(EXPECTED["softmax"](logits), labels[..., None], -1)[..., 0])


@definition("embedding")
def _(ids, table, rows):
    return table[ids]


@definition("embedding_grad")
def _(ids, g, rows):
    out = np.zeros((rows, g.shape[-1]))
    np.add.at(out, ids, g)
    return out


@definition("conv2d")
def _(x, w, stride=1, padding=0):
    (down, right), (top, left) = np.broadcast_to(stride, 2), np.broadcast_to(padding, 2)
    x = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
    seen = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::down, ::right]
    return np.einsum("nchwij,ocij->nohw", seen, w)


def pooled(x, size, stride, reduce):
    size = tuple(np.broadcast_to(size, 2))
    down, right = size if stride is None else np.broadcast_to(stride, 2)
    return reduce(np.lib.stride_tricks.sliding_window_view(x, size, (2, 3))[:, :, ::down, ::right], axis=(4, 5))


@definition("max_pool2d")
def _(x, size, stride=None):
    return pooled(x, size, stride, np.max)


@definition("avg_pool2d")
def _(x, size, stride=None):
    return pooled(x, size, stride, np.mean)


@definition("sgd_update")
def _(w, g, lr, scale=1.0, weight_decay=0.0):
    return w - lr * (scale * g + weight_decay * w)


@definition("momentum_update")
def _(w, v, g, lr, scale=1.0, momentum=0.9, nesterov=False, weight_decay=0.0):
    d = scale * g + weight_decay * w
    v = momentum * v + d
    return w - lr * (d + momentum * v if nesterov else v), v


@definition("adamw_update")
def _(w, m, v, g, lr, step, scale=1.0, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    w, g = w - lr * weight_decay * w, g * scale
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    mean, square = m / (1 - beta1 ** (step + 1)), v / (1 - beta2 ** (step + 1))
    return w - lr * mean / (np.sqrt(square) + eps), m, v


@definition("sum_squares")
def _(x):
    return np.sum(x * x)


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


def test_more_rows_than_a_block():
    random = np.random.default_rng(8)
    x, gamma, beta = random.standard_normal((1500, 96)), random.standard_normal(96), random.standard_normal(96)
    ids, g = random.integers(0, 40, 9000), random.integers(-9, 9, (9000, 64)).astype("float64")
    labels = random.integers(0, 96, 1500)
    for name, operands, attrs in [
        ("softmax", [x], {}),
        ("layer_norm", [x, gamma, beta], {}),
        ("softmax_cross_entropy", [x, labels], {}),
        ("causal_softmax", [random.standard_normal((9, 100, 70))], {}),
        ("causal_softmax", [random.standard_normal((9, 70, 100))], {"scale": 0.1}),
        ("embedding_grad", [ids, g], {"rows": 40}),
        ("embedding", [ids, g], {"rows": 9000}),
        ("sgd_update", [x, 2 * x, np.asarray(0.5)], {}),
    ]:
        (found,) = whole(REGISTRY[name], operands, attrs)
        np.testing.assert_allclose(found, EXPECTED[name](*operands, **attrs), rtol=1e-12, atol=1e-13, err_msg=name)


def test_large_numbers_do_not_overflow():
    x, labels = np.array([[1e4, -1e4, 9.999e3]], "float32"), np.array([1])
    (y,) = whole(REGISTRY["softmax"], [x], {})
    np.testing.assert_allclose(y, [[1.0, 0.0, np.exp(-1.0)] / (1 + np.exp(-1.0))], rtol=1e-5)
    (loss,) = whole(REGISTRY["softmax_cross_entropy"], [x, labels], {})
    np.testing.assert_allclose(loss, [2e4 + np.log1p(np.exp(-1.0))], rtol=1e-6)


@pytest.mark.parametrize("wrong", [-1, 5])
def test_numbers_out_of_range_are_errors(wrong):
    with pytest.raises(IndexError, match=r"range\(5\)"):
        whole(REGISTRY["embedding"], [np.array([0, wrong]), np.zeros((5, 2))], {"rows": 5})
    with pytest.raises(IndexError, match=r"range\(5\)"):
        whole(REGISTRY["softmax_cross_entropy"], [np.zeros((2, 5)), np.array([0, wrong])], {})
