"""Factor rules: shapes and signatures follow from one line."""

from __future__ import annotations

import pytest

import oflow as of
from oflow.ops import REGISTRY
from oflow.sbp import Signature, parse_rule, signatures
from oflow.types import TensorType


def texts(*lines: str) -> set[Signature]:
    return {Signature.parse(line) for line in lines}


def of_op(name: str, *shapes: tuple[int, ...], parts: int = 2, **attrs: object) -> set[Signature]:
    found = REGISTRY[name].signatures(tuple(TensorType(s) for s in shapes), attrs, parts)
    assert len(set(found)) == len(found)
    return set(found)


def test_matmul_has_exactly_six_signatures() -> None:
    assert of_op("matmul", (4, 6), (6, 8), spec="m k, k n -> m n") == texts(
        "S(0),B -> S(0)", "B,S(1) -> S(1)", "S(1),S(0) -> P", "P,B -> P", "B,P -> P", "B,B -> B"
    )


def test_what_is_easy_to_get_wrong() -> None:
    """FACTS section 1: neg passes P and swaps P(max) with P(min) or takes neither; add takes P,P and never P,B; mul the opposite."""
    assert texts("P -> P") <= of_op("neg", (4,))
    assert not texts("P(max) -> P(max)", "P(min) -> P(min)") & of_op("neg", (4,))
    add, mul = of_op("add", (4,), (4,)), of_op("mul", (4,), (4,))
    assert texts("P,P -> P") <= add and not texts("P,B -> P", "B,P -> P") & add
    assert texts("P,B -> P", "B,P -> P") <= mul and not texts("P,P -> P") & mul
    assert texts("S(0) -> P(max)") <= of_op("max", (4, 3), axes=(0,), keepdims=False)
    assert texts("S(0) -> P") <= of_op("sum", (4, 3), axes=(0,), keepdims=False)
    assert texts("P(max) -> P(max)", "P(min) -> P(min)") <= of_op("relu", (4,))
    assert not texts("P -> P") & of_op("relu", (4,))


def test_broadcast_operands_are_whole_on_the_axes_they_lack() -> None:
    assert texts("S(0),B -> S(0)", "S(1),S(0) -> S(1)") <= of_op("add", (4, 6), (6,))
    assert not texts("S(0),S(0) -> S(0)") & of_op("add", (4, 6), (6,))


def test_a_rule_gives_the_shape() -> None:
    rule = parse_rule("m k, k n -> m n")
    assert rule.result_shapes([(4, 6), (6, 8)]) == ((4, 8),)
    with pytest.raises(of.ShapeError, match="factor 'k' is 6 in one operand and 7"):
        rule.result_shapes([(4, 6), (7, 8)])
    with pytest.raises(of.ShapeError, match="operand 0 has 3 axes, the rule wants 2"):
        rule.result_shapes([(4, 6, 1), (6, 8)])
    with pytest.raises(of.ShapeError, match="not a factor rule"):
        parse_rule("m k, k n")


def test_whole_factors_are_not_split_and_scalars_have_no_axes() -> None:
    rule = parse_rule("b c!, b -> b c!")
    assert set(signatures(rule, (("b", 4), ("c", 3)), 2)) == texts("B,B -> B", "S(0),S(0) -> S(0)")
    scalar = parse_rule(", m -> m")
    assert set(signatures(scalar, (("m", 4),), 2)) == texts("B,B -> B", "B,S(0) -> S(0)")
    assert parse_rule("-> ", operands=0).ins == ()


def test_of_a_composed_axis_only_the_outer_factor_is_split_and_only_evenly() -> None:
    """(heads d) -> heads d: a split of the product into equal parts along heads is a split of heads."""
    rule = parse_rule("(h d) -> h d")
    assert set(signatures(rule, (("d", 8), ("h", 4)), 2)) == texts("B -> B", "S(0) -> S(0)")
    assert set(signatures(rule, (("d", 8), ("h", 3)), 2)) == texts("B -> B")
    merged = parse_rule("h d -> (h d)")
    assert set(signatures(merged, (("d", 8), ("h", 4)), 4)) == texts("B -> B", "S(0) -> S(0)")


def test_a_summed_factor_gives_the_partial_of_its_operation() -> None:
    rule = parse_rule("m n -> m")
    sizes = (("m", 4), ("n", 4))
    assert texts("S(1) -> P(max)") <= set(signatures(rule, sizes, 2, reduce="max"))
    assert set(signatures(rule, sizes, 2, reduce=None)) == texts("B -> B", "S(0) -> S(0)")
