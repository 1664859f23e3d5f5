"""Layers compute what their docstrings say, on what PyTorch's initial distributions give."""

import numpy as np
import pytest

import oflow as of

CPU = of.placement("cpu", [0])


def run(model, x):
    """(result, state by name) of a forward program."""
    with of.compile(lambda x: model(x), of.spec(x.shape, x.dtype.name, CPU, of.B)) as program:
        return program(x), program.state_dict()


def normal(*shape):
    return np.random.default_rng(2).standard_normal(shape)


@pytest.mark.parametrize("std", [None, 0.02])
def test_linear(std):
    x = normal(2, 3, 50)
    y, state = run(of.nn.Linear(50, 40, dtype="float64", std=std), x)
    np.testing.assert_allclose(y, x @ state["weight"].T + state["bias"], rtol=1e-12, atol=1e-12)
    if std is None:
        assert 0.9 / np.sqrt(50) < np.abs(state["weight"]).max() <= 1 / np.sqrt(50)
        assert np.abs(state["bias"]).max() > 0
    else:
        assert abs(state["weight"].std() / std - 1) < 0.1 and not state["bias"].any()


def test_linear_without_bias():
    assert set(run(of.nn.Linear(5, 4, bias=False, dtype="float64"), normal(2, 5))[1]) == {"weight"}


def test_embedding_and_sequence():
    model = of.nn.Sequential(of.nn.Embedding(7, 4, dtype="float64"), of.nn.LayerNorm(4, dtype="float64"), of.nn.ReLU())
    ids = np.array([[1, 6, 1]])
    y, state = run(model, ids)
    rows = state["0.weight"][ids]
    centred = rows - rows.mean(-1, keepdims=True)
    expected = np.maximum(centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5), 0)
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)


def test_rms_norm():
    x = normal(3, 2, 8)
    y, state = run(of.nn.RMSNorm(8, eps=1e-3, dtype="float64"), x)
    np.testing.assert_allclose(y, x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3) * state["weight"], rtol=1e-12)


def test_conv2d():
    x = normal(2, 3, 6, 5)
    y, state = run(of.nn.Conv2d(3, 4, (3, 2), stride=2, padding=(1, 0), dtype="float64"), x)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), axis=(2, 3))[:, :, ::2, ::2]
    expected = np.einsum("ncxyij,ocij->noxy", views, state["weight"]) + state["bias"][:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)


def test_a_buffer_keeps_what_a_step_assigns():
    class Counter(of.nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = of.nn.Buffer((3,), "float64")

        def forward(self, x):
            self.seen = self.seen + x
            return x * 2.0

    counter = Counter()
    x = np.arange(3.0)
    with of.compile(lambda x: counter(x), of.spec((3,), "float64", CPU, of.B)) as program:
        for _ in range(4):
            program(x)
        assert program.state_dict()["seen"].tolist() == [0.0, 4.0, 8.0]
