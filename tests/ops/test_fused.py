"""Programs of several results: parsing, dtypes, the NumPy runner, the operator made from them."""

import numpy as np
import pytest

from oflow.errors import ShapeError, TraceError
from oflow.ops import REGISTRY, fused_attrs
from oflow.ops.expression import bind, parse_program, rename
from oflow.types import TensorType
from tests.ops.shards import whole

FUSED = REGISTRY["fused"]
SEED = 77


def numbers(*shape, dtype="float64"):
    return np.random.default_rng(SEED).standard_normal(shape).astype(dtype)


def test_equal_subexpressions_are_one_step_and_unneeded_ones_none():
    program = parse_program("u = a + b; y = (a + b) * tanh(u); unused = exp(a); z = u", ("y", "z"))
    assert [s.function for s in program.steps] == ["add", "tanh", "multiply"]
    assert program.operands == ("a", "b")
    assert program.results == (program.steps[2].name, program.steps[0].name)


def test_a_name_may_be_defined_again():
    program = parse_program("x = a + 1; x = x * x", ("x",))
    assert [s.function for s in program.steps] == ["add", "multiply"]


@pytest.mark.parametrize("text", ["a + b", "x, y = a", "x += a", "import os", "x = a if b else c"])
def test_other_statements_are_errors(text):
    with pytest.raises(TraceError):
        parse_program(text, ("x",))


def test_unknown_names_are_errors():
    with pytest.raises(TraceError, match="defines no y"):
        fused_attrs("x = a", ("a",), ("y",))
    with pytest.raises(TraceError, match="reads b"):
        fused_attrs("x = a + b", ("a",), ("x",))
    with pytest.raises(TraceError, match="2 sums for 1 results"):
        fused_attrs("x = a", ("a",), ("x",), (0, 1))


def test_names_are_replaced_but_not_functions():
    assert rename("exp(a) + where(b > 0, a, -a)", {"a": "u", "b": "w", "exp": "no"}) == "exp(u) + where(w > 0, u, -u)"
    assert rename("u = a * a; y = u", {"a": "x", "u": "v"}) == "v = x * x; y = v"


def test_a_number_has_the_dtype_of_what_it_is_combined_with():
    text = "c = ids > 3; y = where(c, x * 0.5, 0); n = ids + k; m = where(c, 1, 0) * x"
    bound = bind(text, ("ids", "x"), ("int64", "float32"), (("k", 2),), ("c", "y", "n", "m"))
    assert bound.dtypes[:3] == ("bool", "float32", "int64")
    assert {type(n).__name__ for n in bound.numbers} == {"int64", "float32"}


def test_values_of_sums_and_broadcasts_over_many_blocks():
    x, b, g = numbers(3, 70, 500), numbers(500) + 1, numbers(70, 1) * 2
    text = "u = x * b + k * g; y = u; v = u * u; r = v; s = v"
    attrs = fused_attrs(text, ("x", "b", "g"), ("y", "v", "r", "s"), (0, 1, 2, 3), {"k": 2.5})
    y, v, r, s = whole(FUSED, [x, b, g], attrs)
    u = x * b + 2.5 * g
    np.testing.assert_array_equal(y, u)
    for found, axes in ((v, (0,)), (r, (0, 1)), (s, (0, 1, 2))):
        np.testing.assert_allclose(found, (u * u).sum(axis=axes), rtol=1e-12)


def test_results_that_are_equal_or_read_again():
    x = numbers(40, 1000)
    y, z, w = whole(FUSED, [x], fused_attrs("y = x + 1; z = y; w = y * y", ("x",), ("y", "z", "w")))
    np.testing.assert_array_equal(y, x + 1)
    np.testing.assert_array_equal(z, y)
    np.testing.assert_array_equal(w, y * y)


def test_a_result_may_lie_in_an_operands_memory():
    x, b = numbers(40, 1000), numbers(1000)
    wanted = [x + b, x * 3.0, (x + b).sum(0)]
    attrs = fused_attrs("y = x + b; z = x * 3; s = y", ("x", "b"), ("y", "z", "s"), (0, 0, 1), inplace=((0, 0),))
    z, s = np.empty_like(x), np.empty_like(b)
    FUSED.run(x, z, s, x, b, **attrs)
    for found, value in zip((x, z, s), wanted, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-12)


def test_signatures_split_every_axis_and_make_sums_partial():
    attrs = fused_attrs("y = x + b; s = y", ("x", "b"), ("y", "s"), (0, 1))
    found = {str(s) for s in FUSED.signatures((TensorType((6, 4)), TensorType((4,))), attrs, 2)}
    assert found == {"B,B -> B,B", "S(0),B -> S(0),P", "S(1),S(0) -> S(1),S(0)"}


def test_wrong_types_are_errors():
    x, row = TensorType((6, 4)), TensorType((4,))
    with pytest.raises(ShapeError, match="want more axes"):
        FUSED.infer((row,), fused_attrs("y = x", ("x",), ("y",), (2,)))
    with pytest.raises(ShapeError, match="cannot be summed"):
        FUSED.infer((row,), fused_attrs("y = x > 0", ("x",), ("y",), (1,)))
    with pytest.raises(ShapeError, match="memory of operand b"):
        FUSED.infer((x, row), fused_attrs("y = x + b", ("x", "b"), ("y",), inplace=((0, 1),)))


def test_cost_counts_steps_at_every_point():
    attrs = fused_attrs("u = x + b; y = u * u; s = u", ("x", "b"), ("y", "s"), (0, 1))
    ins = (TensorType((6, 4)), TensorType((4,)))
    cost = FUSED.estimate(ins, FUSED.infer(ins, attrs), attrs)
    assert (cost.flops, cost.nbytes) == (24 * 3, 4 * (24 + 4 + 24 + 4))
