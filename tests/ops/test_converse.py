"""The converse of the proof: an exhaustive search over all layouts finds no signature that the rules miss, but those listed."""

from pathlib import Path

import numpy as np
import pytest

import oflow as of
from oflow.ops import REGISTRY, missed_signatures
from oflow.ops.elementwise import elementwise
from oflow.ops.op import Example, op
from tests.ops.omissions import MISSING, explained, of_one_element, of_one_number, reasons
from tests.ops.shards import LOCAL, type_of

SEED = 20260


def unexplained(name, **search):
    return [str(m) for m in missed_signatures(REGISTRY[name], seed=SEED, **search) if not explained(m)]


@pytest.mark.parametrize("name", LOCAL)
def test_no_signature_is_missed(name):
    """In the default run on two examples, and of the choices of partial operands those of one, and a sample of the others."""
    assert not unexplained(name, limit=20, examples=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCAL)
def test_no_signature_is_missed_among_all(name):
    """All layouts on all examples; of operators with more than four operands on two examples, and of the choices of partial
    operands for each way to split those of one operand and a sample of the others."""
    many = max(len(example.operands) for example in REGISTRY[name].example()) > 4
    assert not unexplained(name, limit=800 if many else None, draws=20, examples=2 if many else None)


@pytest.mark.slow
def test_every_omission_is_one():
    used = set()
    for name in LOCAL:
        many = max(len(example.operands) for example in REGISTRY[name].example()) > 5
        for missed in missed_signatures(REGISTRY[name], limit=20 if many else None, seed=SEED):
            if not of_one_number(missed) and not of_one_element(missed):
                used.update(reasons(missed))
    assert [entry for i, entry in enumerate(MISSING) if i not in used] == []


def test_the_docs_list_every_omission():
    text = (Path(__file__).resolve().parents[2] / "docs" / "signatures.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}` | `{signature}` | {reason} |" for name, signature, reason in MISSING]


@pytest.fixture
def declared():
    """The registry as it was before when the test ends."""
    before = set(REGISTRY)
    yield
    for name in set(REGISTRY) - before:
        del REGISTRY[name]


def found(operator):
    return {str(m.signature) for m in of.missed_signatures(operator)}


def test_it_finds_what_a_rule_leaves_out(declared):
    numbers = np.arange(30.0).reshape(5, 6) * 7 % 11 - 5
    bare = elementwise("test.max", "max(a, b)", operands="a b")
    assert found(bare) >= {"P(max),B -> P(max)", "B,P(min) -> P(min)", "P(max),P(max) -> P(max)"}
    assert "P(min),P(min) -> P(min)" not in found(bare)
    whole = op("test.copy", rule="a! b! -> a! b!", exact=True, example=lambda: [Example((numbers,))])
    whole.kernel(lambda out, x: np.copyto(out, x))
    assert found(whole) == {"S(0) -> S(0)", "S(1) -> S(1)", "P -> P", "P(max) -> P(max)", "P(min) -> P(min)"}
    total = op("test.total", rule="a b -> b", reduce=None, exact=True, example=lambda: [Example((numbers,))])
    total.kernel(lambda out, x: np.sum(x, axis=0, out=out))
    assert found(total) == {"S(0) -> P", "P -> P"}


def test_matmul_has_exactly_six_signatures_and_misses_none():
    example = REGISTRY["matmul"].example()[0]
    types = tuple(type_of(x) for x in example.operands)
    own = {str(s) for s in REGISTRY["matmul"].signatures(types, example.attrs, 2)}
    assert own == {"B,B -> B", "S(0),B -> S(0)", "B,S(1) -> S(1)", "S(1),S(0) -> P", "P,B -> P", "B,P -> P"}
    assert not of.missed_signatures(REGISTRY["matmul"])


def test_coincidences_of_data_are_not_reported():
    """The square of a partial sum is no partial sum, and sign(P) only looks like one while all numbers have one sign."""
    for name in ("square", "abs", "sign", "cos", "softmax"):
        assert not found(REGISTRY[name])
