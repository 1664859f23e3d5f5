"""Initial values depend on (seed, name) alone."""

import hashlib

import numpy as np
import pytest

from oflow.errors import ShapeError
from oflow.frontend.init import RULES, initial_value
from oflow.types import TensorType

W = TensorType((300, 70), "float32")


def make(seed=0, name="a.weight", rule="normal", args=None, type=W):
    return initial_value(seed, name, rule, args or {}, type)


def test_same_seed_and_name_give_the_same_bits_and_others_do_not():
    assert make().tobytes() == make().tobytes()
    assert make().tobytes() != make(seed=1).tobytes()
    assert make().tobytes() != make(name="b.weight").tobytes()


def test_value_of_an_element_is_fixed_for_ever():
    """A checkpoint-free rerun of an old program must start from the same weights: the words of Philox are pinned here."""
    words = np.random.Philox(key=np.frombuffer(hashlib.sha256(b"7\0x").digest()[:16], "<u8").astype(np.uint64)).random_raw(2)
    found = initial_value(7, "x", "uniform", {"low": 0.0, "high": 1.0}, TensorType((1,), "float64"))
    assert found[0] == (int(words[1]) >> 11) * 2.0**-53


def test_a_longer_tensor_begins_with_the_shorter_one():
    """Element i depends on i alone, across the seam of chunks too."""
    short, long = (make(type=TensorType((n,), "float64")) for n in (1000, (1 << 18) + 1000))
    assert np.array_equal(short, long[:1000])
    tail = np.random.default_rng(0).integers(0, len(long), 10)
    assert np.isfinite(long[tail]).all()


def test_moments():
    normal = make(args={"std": 0.02}).astype(np.float64)
    assert abs(normal.mean()) < 0.02 * 5 / np.sqrt(normal.size)
    assert abs(normal.std() / 0.02 - 1) < 0.02
    uniform = make(rule="uniform", args={"low": -0.5, "high": 0.25}).astype(np.float64)
    assert uniform.min() >= -0.5 and uniform.max() <= 0.25
    assert abs(uniform.mean() + 0.125) < 5 * 0.75 / np.sqrt(12 * uniform.size)


def test_constants_and_whole_numbers():
    assert (make(rule="zeros") == 0).all() and (make(rule="ones") == 1).all()
    assert (make(rule="constant", args={"value": 3}, type=TensorType((), "int64")) == 3).all()
    whole = make(rule="integers", args={"low": -2, "high": 3})
    assert set(np.unique(whole)) == {-2, -1, 0, 1, 2}


def test_float64_and_float32_start_from_the_same_numbers():
    assert np.array_equal(make(), make(type=TensorType(W.shape, "float64")).astype(np.float32))


@pytest.mark.parametrize(
    ("rule", "args", "dtype", "says"),
    [
        ("xavier", {}, "float32", "no init rule"),
        ("normal", {"sd": 1.0}, "float32", "does not take"),
        ("constant", {}, "float32", "does not take"),
        ("uniform", {}, "int64", "fractions"),
    ],
)
def test_bad_rules_say_why(rule, args, dtype, says):
    with pytest.raises(ShapeError, match=says):
        make(rule=rule, args=args, type=TensorType((2,), dtype))


def test_every_rule_fills_every_element():
    args = {"constant": {"value": 2.0}, "integers": {"low": 1, "high": 2}}
    for rule in RULES:
        assert np.isfinite(make(rule=rule, args=args.get(rule, {}))).all(), rule
