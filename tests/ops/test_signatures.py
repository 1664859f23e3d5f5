"""Every operator, every signature, two and three ranks: what ranks make of their shards is the whole result."""

import numpy as np
import pytest

from oflow.ops import REGISTRY
from oflow.sbp import B
from oflow.types import freeze
from tests.ops.shards import LOCAL, sharded, type_of, whole

SEED = 20240
MISFIT = "{op} example {i} {signature} on {parts} ranks (seed {seed})"


def doubled(x):
    return x.astype("float64") if x.dtype.kind == "f" else x


def assert_close(found, wanted, tolerance, where):
    """Within `tolerance` of the float64 evaluation, relative to its largest element."""
    scale = max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)))
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * scale, err_msg=where)


def check(op, i, example, parts):
    attrs = dict(freeze(example.attrs))
    operands = [np.asarray(x) for x in example.operands]
    wanted = whole(op, operands if op.exact else [doubled(x) for x in operands], attrs)
    random = np.random.default_rng(SEED)
    for signature in op.signatures(tuple(map(type_of, operands)), attrs, parts):
        where = MISFIT.format(op=op.name, i=i, signature=signature, parts=parts, seed=SEED)
        try:
            found = sharded(op, operands, attrs, signature, parts, random)
        except Exception as e:
            e.add_note(where)
            raise
        for result, expected in zip(found, wanted, strict=True):
            assert result.shape == expected.shape, where
            if op.exact:
                assert result.dtype == expected.dtype, where
                np.testing.assert_array_equal(result, expected, err_msg=where)
            else:
                assert_close(result, expected, example.tolerance, where)


@pytest.mark.parametrize("parts", [2, 3, pytest.param(4, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LOCAL)
def test_shards_join_to_the_whole(name, parts):
    op = REGISTRY[name]
    examples = op.example()
    assert examples, f"{name} has no example"
    for i, example in enumerate(examples):
        check(op, i, example, parts)


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
        ("softmax_cross_entropy_grad", {"B,B,B,B -> B", "S(0),S(0),S(0),S(0) -> S(0)", "B,B,B,P -> P"}),
        ("embedding", {"B,B -> B", "S(0),B -> S(0)", "S(1),B -> S(1)", "B,S(0) -> P", "B,S(1) -> S(2)", "B,P -> P"}),
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
        ("max_pool2d", {"B -> B", "S(0) -> S(0)", "S(1) -> S(1)"}),
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
