"""Compiled optimizer updates: random sizes, gradients in parts, scalars of each dtype, NaN, and repeated steps."""

import numpy as np
import pytest

from oflow.native import available
from oflow.ops import REGISTRY
from oflow.types import TensorType
from tests.backends.pairs import build, compiled, plain

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")
SEED = 4711
UPDATES = {"sgd_update": 1, "momentum_update": 2, "adamw_update": 3}
SETTINGS = {
    "sgd_update": [{}, {"weight_decay": 0.1}],
    "momentum_update": [{}, {"momentum": 0.7, "nesterov": True, "weight_decay": 0.1}, {"nesterov": True}],
    "adamw_update": [{}, {"beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "weight_decay": 0.1}],
}


def operands(rng, name, n, dtype, gradients=1, scale=True):
    states = UPDATES[name]
    tensors = [rng.standard_normal(n).astype(dtype) for _ in range(states + gradients)]
    if name == "adamw_update":
        tensors[2] = np.abs(tensors[2])
    scalars = [np.asarray(rng.uniform(0.01, 0.1), "float32")]
    if name == "adamw_update":
        scalars.append(np.asarray(rng.integers(0, 50), rng.choice(["int64", "float32", "float64"])))
    return [*tensors, *scalars, *([np.asarray(rng.uniform(0.2, 2.0), dtype)] if scale else [])]


@pytest.fixture(scope="module", autouse=True)
def built():
    rng = np.random.default_rng(0)
    calls = [(n, a, k, d) for n in UPDATES for a in SETTINGS[n] for k in (1, 2, 3, 4) for d in ("float32", "float64")]
    build([(name, operands(rng, name, 1, dtype, k), attrs | {"gradients": k}) for name, attrs, k, dtype in calls])


def close(got, want, dtype):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_updates_are_those_of_the_numpy_kernels(name, dtype):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    for n in (0, 1, 15, 16, 33, 1000, 20011):
        for settings in SETTINGS[name]:
            for gradients in (1, 3):
                attrs = settings | ({"gradients": gradients} if gradients > 1 else {})
                given = operands(rng, name, n, dtype, gradients, scale=bool(rng.integers(2)))
                status, got = compiled(name, given, attrs)
                assert status == 0
                close(got, plain(name, given, attrs), dtype)


@pytest.mark.parametrize("name", UPDATES)
def test_a_gradient_in_parts_is_its_sum_in_order_to_the_bit(name):
    print(f"seed {SEED}")
    rng, states = np.random.default_rng(SEED), UPDATES[name]
    for count in (2, 4):
        given = operands(rng, name, 1003, "float32", count)
        parts = given[states : states + count]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        whole = [*given[:states], total, *given[states + count :]]
        for run in (lambda *call: compiled(*call)[1], plain):
            for a, b in zip(run(name, given, {"gradients": count}), run(name, whole, {}), strict=True):
                np.testing.assert_array_equal(a, b)


def test_many_steps_of_adamw_stay_beside_float64():
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    state = [rng.standard_normal(500).astype("float32"), np.zeros(500, "float32"), np.zeros(500, "float32")]
    exact = [a.astype("float64") for a in state]
    for step in range(30):
        g, rest = rng.standard_normal(500).astype("float32"), [np.asarray(1e-2), np.asarray(step)]
        state = compiled("adamw_update", [*state, g, *rest], {"weight_decay": 0.1})[1]
        exact = plain("adamw_update", [*exact, g.astype("float64"), *rest], {"weight_decay": 0.1})
    np.testing.assert_allclose(state[0], exact[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", UPDATES)
def test_nan_and_infinity_come_through(name):
    rng = np.random.default_rng(1)
    given = operands(rng, name, 40, "float32")
    given[UPDATES[name]][[3, 17, 39]] = np.nan, np.inf, np.nan
    with np.errstate(invalid="ignore"):
        want = plain(name, given, {})
    for a, b in zip(compiled(name, given, {})[1], want, strict=True):
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sum_of_squares(dtype):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    for n in (0, 1, 17, 100_003):
        for count in (1, 2, 3):
            parts = [rng.standard_normal(n).astype(dtype) for _ in range(count)]
            status, (got,) = compiled("sum_squares", parts, {})
            assert status == 0
            np.testing.assert_allclose(got, np.sum(np.sum(parts, axis=0).astype("float64") ** 2), rtol=2e-7)
    assert compiled("sum_squares", [np.ones(20, dtype), np.full(20, np.inf, dtype)], {})[1][0] == np.inf


def test_assign_and_increment_take_whole_numbers():
    for dtype in ("int64", "int32", "float64", "bool"):
        new = (np.arange(37) % 2).astype(dtype)
        assert (compiled("assign", [np.zeros(37, dtype), new], {})[1][0] == new).all()
    for dtype in ("int64", "int32", "float32"):
        assert (compiled("increment", [np.arange(37).astype(dtype)], {})[1][0] == np.arange(37) + 1).all()


def test_a_gradient_in_parts_is_checked():
    from oflow.errors import ShapeError

    vector, scalar = TensorType((5,)), TensorType(())
    op = REGISTRY["sgd_update"]
    assert op.infer((vector, vector, vector, scalar), {"gradients": 2}) == (vector,)
    for ins, attrs in [
        ((vector, vector, vector, scalar), {}),
        ((vector, vector, scalar), {"gradients": 2}),
        ((vector, vector, TensorType((4,)), scalar), {"gradients": 2}),
        ((vector, scalar), {"gradients": 0}),
    ]:
        with pytest.raises(ShapeError):
            op.infer(ins, attrs)
