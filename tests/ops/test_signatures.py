"""Every operator, every signature, one mesh axis: what ranks make of their shards is the whole result. And the lists themselves."""

import numpy as np
import pytest

from oflow.ops import REGISTRY
from oflow.ops.proof import prove_signatures
from oflow.sbp import B
from oflow.types import freeze
from tests.ops.shards import LOCAL, LOWERED, type_of

SEED = 20240


@pytest.mark.parametrize("name", LOCAL)
def test_shards_join_to_the_whole(name):
    """All signatures on the examples as they stand, a sample of them on fresh data and on other sizes."""
    prove_signatures(REGISTRY[name], [(2,), (3,), (4,)], sample=3, draws=0, seed=SEED)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCAL)
def test_shards_of_fresh_data_join_to_the_whole(name):
    proof = prove_signatures(REGISTRY[name], [(2,), (3,), (4,), (5,), (7,)], draws=3, seed=SEED + 1)
    print(proof)


def test_the_whole_registry_is_proven():
    lowered = {name for name, op in REGISTRY.items() if op.lowering != "local"}
    assert lowered == set(LOWERED), "an operator that is not lowered to a local kernel needs a proof of its own"
    assert {*LOCAL, *LOWERED} == {name for name in REGISTRY if not name.startswith("test_")}, "tests declare some of their own"


@pytest.mark.parametrize("name", LOCAL)
def test_first_signature_repeats_everything(name):
    op = REGISTRY[name]
    for example in op.example():
        first = op.signatures(tuple(map(type_of, map(np.asarray, example.operands))), dict(freeze(example.attrs)), 2)[0]
        assert all(s == B for s in (*first.ins, *first.outs))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softmax_cross_entropy", {"B,B -> B,B", "S(0),S(0) -> S(0),S(0)"}),
        (
            "softmax_cross_entropy_grad",
            {"B,B,B,B -> B", "S(0),S(0),S(0),S(0) -> S(0)", "S(1),B,B,B -> S(1)", "B,B,B,P -> P"},
        ),
        (
            "class_sums",
            {
                "B,B,B -> B,B", "S(0),S(0),S(0) -> S(0),S(0)", "S(1),B,B -> P,P", "B,B,P(min) -> P(max),B", "B,B,P(max) -> P(min),B",
            },
        ),
        (
            "embedding",
            {
                "B,B -> B", "S(0),B -> S(0)", "S(1),B -> S(1)", "B,S(0) -> P", "B,S(1) -> S(2)", "B,P -> P", "B,P(max) -> P(max)",
                "B,P(min) -> P(min)",
            },
        ),
        (
            "embedding_grad",
            {"B,B -> B", "S(0),S(0) -> P", "S(1),S(1) -> P", "B,S(2) -> S(1)", "B,B -> S(0)", "B,P -> P"},
        ),
        ("conv2d", {"B,B -> B", "S(0),B -> S(0)", "S(1),S(1) -> P", "B,S(0) -> S(1)", "P,B -> P", "B,P -> P"}),
        (
            "conv2d_grad_weight",
            {"B,B -> B", "S(0),S(0) -> P", "S(1),B -> S(1)", "B,S(1) -> S(0)", "P,B -> P", "B,P -> P"},
        ),
        ("layer_norm", {"B,B,B -> B", "S(0),B,B -> S(0)", "B,P,P -> P"}),
        ("layer_norm_grad", {"B,B,B -> B,B,B", "S(0),S(0),B -> S(0),P,P", "P,B,B -> P,P,P"}),
        ("rms_norm", {"B,B -> B", "S(0),B -> S(0)", "B,P -> P"}),
        ("rms_norm_grad", {"B,B,B -> B,B", "S(0),S(0),B -> S(0),P", "P,B,B -> P,P"}),
        ("causal_attention", {"B,B,B -> B,B", "S(0),S(0),S(0) -> S(0),S(0)", "S(2),S(2),S(2) -> S(2),S(1)"}),
        (
            "causal_attention_grad",
            {
                "B,B,B,B,B,B -> B,B,B",
                "S(0),S(0),S(0),S(0),S(0),S(0) -> S(0),S(0),S(0)",
                "S(2),S(2),S(2),S(2),S(2),S(1) -> S(2),S(2),S(2)",
                "P,B,B,B,B,B -> P,P,P",
            },
        ),
        ("causal_softmax", {"B -> B", "S(0) -> S(0)", "S(1) -> S(1)"}),
        ("max_pool2d", {"B -> B", "S(0) -> S(0)", "S(1) -> S(1)", "P(max) -> P(max)"}),
        ("sum_squares", {"B -> B", "S(0) -> P", "S(1) -> P"}),
        ("sgd_update", {"B,B,B -> B", "S(0),S(0),B -> S(0)", "S(1),S(1),B -> S(1)"}),
        ("increment", {"B -> B"}),
    ],
)
def test_signatures_are_these(name, expected):
    op = REGISTRY[name]
    example = op.example()[0]
    found = op.signatures(tuple(map(type_of, map(np.asarray, example.operands))), dict(freeze(example.attrs)), 2)
    assert {str(s) for s in found} == expected
