"""Convolutions and pooling as users call them: values, gradients and layouts of every variant."""

import numpy as np
import pytest

import oflow as of
from oflow.ops import REGISTRY
from oflow.types import TensorType

SEED = 616
ONE, TWO, FOUR = of.placement("cpu", [0]), of.placement("cpu", [0, 1]), of.placement("cpu", [0, 1, 2, 3])
GRID = of.placement("cpu", [[0, 1], [2, 3]])


def integers(*shape):
    return np.random.default_rng((SEED, *shape)).integers(-4, 5, shape) + 0.0


def run(fn, *arrays):
    with of.compile(fn, *(of.spec(a.shape, a.dtype.name, ONE, of.B) for a in arrays)) as program:
        return program(*arrays)


def convolved(x, w, sides, stride=(1, 1), dilation=(1, 1), groups=1):
    """The direct sum; sides are ((above, below), (left, right))."""
    x = np.pad(x, ((0, 0), (0, 0), *sides))
    n, co, (kh, kw) = len(x), len(w), w.shape[2:]
    high, wide = ((x.shape[2 + i] - dilation[i] * (w.shape[2 + i] - 1) - 1) // stride[i] + 1 for i in (0, 1))
    out = np.zeros((n, co, high, wide))
    for c in range(co):
        group = slice(c // (co // groups) * w.shape[1], (c // (co // groups) + 1) * w.shape[1])
        for i, j, r, s in np.ndindex(high, wide, kh, kw):
            out[:, c, i, j] += x[:, group, i * stride[0] + r * dilation[0], j * stride[1] + s * dilation[1]] @ w[c, :, r, s]
    return out


@pytest.mark.parametrize("kernel, dilation, sides", [((3, 2), (1, 1), ((1, 1), (0, 1))), ((2, 4), (2, 1), ((1, 1), (1, 2)))])
def test_same_padding_keeps_the_size(kernel, dilation, sides):
    x, w, b = integers(2, 3, 6, 5), integers(4, 3, *kernel), integers(4)
    y = run(lambda x, w, b: of.conv2d(x, w, b, padding="same", dilation=dilation), x, w, b)
    assert y.shape == (2, 4, 6, 5)
    np.testing.assert_array_equal(y, convolved(x, w, sides, dilation=dilation) + b[:, None, None])


def test_valid_padding_groups_and_stride():
    x, w = integers(2, 6, 7, 8), integers(4, 3, 3, 3)
    y = run(lambda x, w: of.conv2d(x, w, padding="valid", groups=2, stride=(2, 1)), x, w)
    np.testing.assert_array_equal(y, convolved(x, w, ((0, 0), (0, 0)), (2, 1), groups=2))


def test_one_dimension():
    x, w, b = integers(2, 4, 9), integers(6, 2, 3), integers(6)
    y = run(lambda x, w, b: of.conv1d(x, w, b, stride=2, padding=(1, 2), groups=2), x, w, b)
    wanted = convolved(x[:, :, None], w[:, :, None], ((0, 0), (1, 2)), (1, 2), groups=2)[:, :, 0]
    np.testing.assert_array_equal(y, wanted + b[:, None])
    assert run(lambda x, w: of.conv1d(x, w, padding="same", groups=2), x, w).shape == (2, 6, 9)


@pytest.mark.parametrize(
    "attrs", [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"dilation": 2, "groups": 2}, {"stride": (3, 2), "groups": 2}]
)
def test_the_transposed_convolution_is_the_adjoint(attrs):
    forward = {name: value for name, value in attrs.items() if name != "output_padding"}
    x, w, b = integers(2, 4, 4, 5), integers(4, 6 // attrs.get("groups", 1), 3, 3), integers(6)
    y = run(lambda x, w: of.conv_transpose2d(x, w, **attrs), x, w)
    g = integers(*y.shape)
    np.testing.assert_array_equal(np.sum(y * g), np.sum(x * run(lambda g, w: of.conv2d(g, w, **forward), g, w)))
    np.testing.assert_array_equal(run(lambda x, w, b: of.conv_transpose2d(x, w, b, **attrs), x, w, b), y + b[:, None, None])


# ------------------------------------------------------------ layouts, forward and backward


CASES = [
    {"padding": 1}, {"stride": 2, "padding": ((1, 0), (0, 2))}, {"dilation": 2, "padding": "same"}, {"groups": 4, "padding": 1},
    {"groups": 8, "stride": 2},
]  # fmt: skip
LAYOUTS = [
    (FOUR, of.S(0), of.B), (FOUR, of.B, of.S(0)), (FOUR, of.S(1), of.B), (FOUR, of.B, of.S(1)), (GRID, (of.S(0), of.B), (of.B, of.S(0))),
    (GRID, (of.B, of.S(1)), (of.S(0), of.S(0))),
]  # fmt: skip


def step_of(where, images, weights, attrs):
    """Loss, and the weights after a step of gradient descent on images and weights: all exact, as numbers are whole."""
    x, w = integers(4, 8, 6, 5), integers(8, 8 // attrs.get("groups", 1), 3, 3)

    class Net(of.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = of.nn.Parameter(x.shape, "float64")
            self.w = of.nn.Parameter(w.shape, "float64")

    net = Net()
    net.x.to_global(where, images)
    net.w.to_global(where, weights if w.shape[1] > 1 or weights != of.S(1) else of.B)

    def loss(scale):
        return of.sum(of.square(of.conv2d(net.x, net.w, **attrs))) * scale

    whole = of.B if len(where.mesh) == 1 else (of.B,) * len(where.mesh)
    with of.compile(loss, of.spec((), "float64", where, whole), optimizer=of.optim.SGD(lr=1.0)) as step:
        step.load_state_dict({**step.state_dict(), "x": x, "w": w})
        return step(np.asarray(1.0)), step.state_dict()


@pytest.mark.parametrize("attrs", CASES, ids=str)
@pytest.mark.parametrize("where, images, weights", LAYOUTS)
def test_convolution_and_its_gradients_on_layouts(where, images, weights, attrs):
    found, wanted = step_of(where, images, weights, attrs), step_of(ONE, of.B, of.B, attrs)
    assert found[0] == wanted[0]
    for name in ("x", "w"):
        np.testing.assert_array_equal(found[1][name], wanted[1][name])


def signatures(shapes, attrs, parts):
    return {str(s) for s in REGISTRY["conv2d"].signatures(tuple(map(TensorType, shapes)), attrs, parts)}


def test_groups_split_whole():
    shapes, plain = ((4, 12, 5, 5), (6, 2, 3, 3)), {"B,B -> B", "S(0),B -> S(0)", "P,B -> P", "B,P -> P"}
    assert signatures(shapes, {"groups": 6}, 3) == plain | {"S(1),S(0) -> S(1)"}
    assert signatures(shapes, {"groups": 6}, 4) == plain  # six groups do not make four equal parts
    assert signatures(((4, 7, 5, 5), (7, 1, 3, 3)), {"groups": 7}, 3) == plain | {"S(1),S(0) -> S(1)"}  # one channel a group: uneven parts
    assert signatures(((4, 6, 5, 5), (6, 6, 3, 3)), {}, 4) == plain | {"B,S(0) -> S(1)", "S(1),S(1) -> P"}


# ------------------------------------------------------------ pooling


@pytest.mark.parametrize("included", [True, False])
def test_average_with_padding(included):
    x = integers(2, 3, 7, 6)
    y = run(lambda x: of.avg_pool2d(x, 3, (2, 1), (1, 1), count_include_pad=included), x)
    sides = ((0, 0), (0, 0), (1, 1), (1, 1))
    sums, counts = (
        np.lib.stride_tricks.sliding_window_view(np.pad(a, sides), (3, 3), (2, 3))[:, :, ::2].sum((4, 5)) for a in (x, np.ones_like(x))
    )
    np.testing.assert_allclose(y, sums / (9 if included else counts), rtol=1e-12)


@pytest.mark.parametrize("size", [1, (2, 3), (3, 4), (4, 6), (8, 9)])
def test_adaptive_average(size):
    x = integers(2, 3, 8, 9)
    high, wide = np.broadcast_to(size, 2)
    wanted = np.empty((2, 3, high, wide))
    for i, j in np.ndindex(high, wide):
        part = x[:, :, i * 8 // high : -(-(i + 1) * 8 // high), j * 9 // wide : -(-(j + 1) * 9 // wide)]
        wanted[:, :, i, j] = part.mean((2, 3))
    np.testing.assert_allclose(run(lambda x: of.adaptive_avg_pool2d(x, size), x), wanted, rtol=1e-12, atol=1e-14)


def test_layers_are_their_functions():
    layers = of.nn.Sequential(
        of.nn.Conv2d(3, 6, 3, padding="same", groups=3, dtype="float64"), of.nn.MaxPool2d(3, 2, 1), of.nn.AvgPool2d(2, 1, 1, False),
        of.nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2, dtype="float64"), of.nn.GroupNorm(2, 4, dtype="float64"),
        of.nn.InstanceNorm2d(4, affine=True, dtype="float64"), of.nn.AdaptiveAvgPool2d((2, 1)),
    )  # fmt: skip
    x = integers(2, 3, 8, 6)
    with of.compile(lambda x: layers(x), of.spec(x.shape, "float64", ONE, of.B)) as program:
        y, state = program(x), program.state_dict()

    def functions(x, w0, b0, w3, b3):
        h = of.avg_pool2d(of.max_pool2d(of.conv2d(x, w0, b0, padding="same", groups=3), 3, 2, 1), 2, 1, 1, False)
        h = of.conv_transpose2d(h, w3, b3, stride=2, groups=2)
        return of.adaptive_avg_pool2d(of.instance_norm(of.group_norm(h, 2)), (2, 1))

    names = ("0.weight", "0.bias", "3.weight", "3.bias")
    np.testing.assert_allclose(y, run(functions, x, *(state[name] for name in names)), rtol=1e-9, atol=1e-12)
    assert state["0.weight"].shape == (6, 1, 3, 3) and state["3.weight"].shape == (6, 2, 2, 2)


def test_errors():
    x, w = (of.spec(s, "float32", ONE, of.B) for s in ((2, 6, 5, 5), (4, 3, 3, 3)))
    for wrong, attrs in [("2 groups|groups", {"groups": 3}), ("groups", {}), ("stride of 1", {"groups": 2, "padding": "same", "stride": 2}),
                         ("same", {"groups": 2, "padding": "full"}), ("does not fit", {"groups": 2, "dilation": 3})]:  # fmt: skip
        with pytest.raises(of.ShapeError, match=wrong) as caught:
            of.compile(lambda x, w, attrs=attrs: of.conv2d(x, w, **attrs), x, w)
        assert "test_vision.py" in str(caught.value)
    with pytest.raises(of.ShapeError, match="half of a window"):
        of.compile(lambda x: of.max_pool2d(x, 2, padding=2), x)
    with pytest.raises(of.ShapeError, match="groups do not divide"):
        of.nn.Conv2d(4, 6, 3, groups=4)
