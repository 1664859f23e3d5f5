"""Compiled pooling and convolution with their gradients: random images, windows, strides and padding; NaN and ties."""

import numpy as np
import pytest

from oflow.native import available
from oflow.ops import REGISTRY
from oflow.types import TensorType
from tests.backends.pairs import build, compiled, plain

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")
SEED = 60606
POOLS = [((2, 3, 8, 9), 2, None), ((1, 2, 35, 40), 3, 2), ((2, 1, 9, 7), (3, 2), (1, 3)), ((1, 1, 5, 5), 5, None), ((0, 2, 4, 4), 2, 1)]
CONVOLUTIONS = [  # (images, weights), stride, padding
    ((2, 3, 9, 11), (4, 3, 3, 3), 1, 1), ((3, 2, 12, 7), (5, 2, 1, 1), 1, 0), ((1, 4, 8, 8), (2, 4, 1, 1), 2, 0),
    ((2, 1, 6, 13), (3, 1, 5, 2), (2, 3), (3, 1)), ((1, 2, 3, 3), (2, 2, 3, 3), 1, 4), ((2, 40, 30, 30), (3, 40, 5, 5), 1, 2),
]  # fmt: skip

GROUPED = [
    ((3, 6, 9, 8), (4, 3, 3, 3), {"groups": 2, "padding": 1}), ((2, 5, 7, 7), (5, 1, 3, 3), {"groups": 5, "padding": 1, "stride": 2}),
    ((2, 4, 6, 6), (8, 2, 1, 1), {"groups": 2}), ((2, 3, 11, 12), (4, 3, 3, 2), {"dilation": (2, 3), "padding": ((1, 2), (0, 3))}),
    ((1, 8, 30, 30), (4, 4, 5, 5), {"groups": 2, "dilation": 2, "padding": 4}),
]  # fmt: skip


def whole_numbers(rng, shape, dtype, top=9):
    return rng.integers(-top, top + 1, shape).astype(dtype)


def result_shape(name, operands, attrs):
    return REGISTRY[name].infer(tuple(TensorType(a.shape, a.dtype.name) for a in operands), attrs)[0].shape


def pool_calls(rng, shape, size, stride, dtype):
    """(operator, operands, attributes) of each direction; small whole numbers, so that most windows have ties."""
    attrs = {"size": size} if stride is None else {"size": size, "stride": stride}
    x = whole_numbers(rng, shape, dtype, top=3)
    g = whole_numbers(rng, result_shape("max_pool2d", [x], attrs), dtype)
    (y,) = plain("max_pool2d", [x], attrs)
    forward = [("max_pool2d", [x], attrs), ("avg_pool2d", [x], attrs)]
    return forward, [("max_pool2d_grad", [g, x, y], attrs), ("avg_pool2d_grad", [g], attrs | {"image": shape[2:]})]


@pytest.fixture(scope="module", autouse=True)
def built():
    rng = np.random.default_rng(SEED)
    for dtype in ("float32", "float64"):
        build([call for pool in POOLS for some in pool_calls(rng, *pool, dtype) for call in some])


def agree(name, operands, attrs, adds):
    """The form gives what the NumPy kernel gives on whole numbers, and where it `adds`, that and what was there."""
    (want,) = plain(name, operands, attrs)
    status, (got,) = compiled(name, operands, attrs)
    assert status == 0
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6, err_msg=f"{name} {[a.shape for a in operands]} {attrs}")
    more = compiled(name, operands, attrs, accumulate=True)
    assert (more is not None) == adds
    if more is not None:
        np.testing.assert_allclose(more[1][0], want + 77, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape, size, stride", POOLS)
def test_pooling(shape, size, stride, dtype):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    forward, gradients = pool_calls(rng, shape, size, stride, dtype)
    for call in forward:
        agree(*call, adds=False)
    for call in gradients:
        agree(*call, adds=True)


def test_a_nan_is_the_maximum_of_its_windows_and_passes_nothing_on():
    print(f"seed {SEED}")
    rng, attrs = np.random.default_rng(SEED), {"size": 3, "stride": 2}
    x = rng.standard_normal((2, 2, 19, 21)).astype("float32")
    x[rng.random(x.shape) < 0.03] = np.nan
    (y,) = plain("max_pool2d", [x], attrs)
    np.testing.assert_array_equal(compiled("max_pool2d", [x], attrs)[1][0], y)
    g = whole_numbers(rng, y.shape, "float32")
    np.testing.assert_array_equal(compiled("max_pool2d_grad", [g, x, y], attrs)[1][0], plain("max_pool2d_grad", [g, x, y], attrs)[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("image, weight, stride, padding", CONVOLUTIONS)
def test_convolution(image, weight, stride, padding, dtype):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    attrs = {"stride": stride, "padding": padding}
    x, w = whole_numbers(rng, image, dtype), whole_numbers(rng, weight, dtype)
    g = whole_numbers(rng, result_shape("conv2d", [x, w], attrs), dtype)
    agree("conv2d", [x, w], attrs, adds=True)
    agree("conv2d_grad_input", [g, w], attrs | {"image": image[2:]}, adds=True)
    agree("conv2d_grad_weight", [x, g], attrs | {"kernel": weight[2:]}, adds=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("image, weight, attrs", GROUPED)
def test_groups_and_dilation(image, weight, attrs, dtype):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    x, w = whole_numbers(rng, image, dtype), whole_numbers(rng, weight, dtype)
    g = whole_numbers(rng, result_shape("conv2d", [x, w], attrs), dtype)
    agree("conv2d", [x, w], attrs, adds=True)
    agree("conv2d_grad_input", [g, w], attrs | {"image": image[2:]}, adds=True)
    agree("conv2d_grad_weight", [x, g], attrs | {"kernel": weight[2:]}, adds=True)


def test_padded_pooling_is_left_to_numpy():
    x = np.zeros((1, 2, 5, 5), "float32")
    assert compiled("max_pool2d", [x], {"size": 3, "padding": 1}) is None
    assert compiled("avg_pool2d", [x], {"size": 3, "padding": 1}) is None


def test_no_images_are_left_to_numpy():
    assert compiled("conv2d", [np.zeros((0, 2, 5, 5), "float32"), np.zeros((1, 2, 3, 3), "float32")], {}) is None
