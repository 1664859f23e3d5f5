"""The proof itself: it kills wrong operators and says where they are wrong; what cannot be proven cannot pass."""

import numpy as np
import pytest

import oflow as of
from oflow.errors import SbpError, TraceError
from oflow.ops import REGISTRY
from oflow.ops.elementwise import elementwise
from oflow.ops.meaning import Replicas, cut, join
from oflow.ops.op import Example, op
from oflow.sbp import B, P, S, Signature, split_range
from tests.ops.shards import LOCAL

X = (np.arange(30.0).reshape(5, 6) * 7) % 11 - 5


@pytest.fixture(autouse=True)
def registry():
    """The registry as it was before when the test ends."""
    before = set(REGISTRY)
    yield
    for name in set(REGISTRY) - before:
        del REGISTRY[name]


def declare(rule, kernel, *operands, attrs=None, exact=True, local=None, **parts):
    made = op("test.wrong", rule=rule, exact=exact, example=lambda: [Example(operands or (X,), attrs or {})], **parts)
    made.kernel(kernel)
    if local:
        made.local(local)
    return made


def refused(operator, where):
    with pytest.raises(SbpError, match=where) as found:
        of.prove_signatures(operator)
    return found.value


# ------------------------------------------------------------ wrong rules and kernels


def test_a_split_of_what_is_worked_on_whole():
    wrong = declare("m d -> m d", lambda out, x: np.cumsum(x, axis=1, out=out))
    message = r"^test.wrong, example 0, signature S\(1\) -> S\(1\) on a mesh \(2,\): element \[0, 3\] of result 0: rank 1 makes"
    error = refused(wrong, message)
    assert (error.facts["rank"], error.facts["element"], error.facts["mesh"]) == (1, (0, 3), (2,))
    assert error.facts["way"] == (Signature.parse("S(1) -> S(1)"),)
    assert error.facts["case"].example == 0


def test_a_linear_operator_that_is_not():
    refused(elementwise("test.square", "a * a", linear=[{0}]), r"signature P -> P on a mesh \(2,\): .* the ranks' parts join to")


def test_a_sum_that_is_a_maximum():
    refused(declare("m d -> d", lambda out, x: np.max(x, axis=0, out=out, initial=-99)), r"signature S\(0\) -> P on")


def test_a_rising_operator_that_falls():
    refused(elementwise("test.neg", "-a", monotone=[{0}]), r"signature P\(max\) -> P\(max\) on")


def test_a_rising_operator_without_values_for_small_numbers():
    """Ranks without a candidate hold -inf, of which the logarithm is NaN."""
    refused(elementwise("test.log", "log(a)", monotone=[{0}], floats=True, domain=(0.5, 4)), r"signature P\(max\) -> P\(max\) on")


def test_whole_numbers_wrap():
    increase = declare("m d -> m d", lambda out, x: np.subtract(x, 1, out=out), X.astype("int64"), monotone=[{0}])
    refused(increase, r"signature P\(max\) -> P\(max\) on")


def test_attributes_that_are_not_localised():
    attrs = {"start": 0}
    wrong = declare("m d -> m d", lambda out, x, start: np.add(x, np.arange(start, start + len(x))[:, None], out=out), attrs=attrs)
    refused(wrong, r"signature S\(0\) -> S\(0\) on a mesh \(2,\): element \[3, 0\] of result 0: rank 1 makes")


def test_attributes_that_are_localised_as_on_one_mesh_axis():
    """Rows counted as a flat split would have them are wrong on two axes: 6 rows over [2, 2] are 2, 1, 2, 1."""
    def local(attrs, shards):
        start, stop = shards.ins[0][0]
        rank = {0: 0, 2: 1, 3: 2, 5: 3}[start]
        return {"start": split_range(6, 4, rank)[0] if stop - start < 3 else start}

    six = X.reshape(6, 5)
    wrong = declare(
        "m d! -> m d!", lambda out, x, start: np.add(x, np.arange(start, start + len(x))[:, None], out=out), six,
        attrs={"start": 0}, local=local,
    )  # fmt: skip
    of.prove_signatures(wrong, [(2,)], draws=0, sample=0)
    with pytest.raises(SbpError, match=r"\(S\(0\) -> S\(0\) \| S\(0\) -> S\(0\)\) on a mesh \(2, 2\)"):
        of.prove_signatures(wrong, [(2, 2)], draws=0)


def test_a_kernel_that_reads_what_was_in_its_memory():
    adds = declare("m d -> d", lambda out, x: np.add(out, x.sum(0), out=out))
    refused(adds, r"signature S\(0\) -> P on")


def test_a_result_that_is_different_on_each_rank():
    wrong = declare("m d -> ", lambda out, x: np.copyto(out, x.shape[0]), reduce="max")
    refused(wrong, r"signature S\(0\) -> P\(max\) on")
    random = np.random.default_rng(5)
    REGISTRY.pop("test.wrong")
    drawn = declare("m! d! -> m! d!", lambda out, x: np.copyto(out, random.random(x.shape)), exact=False)
    error = refused(drawn, r"signature B -> B on a mesh \(2,\): rank 1 holds another copy than the first rank of its group")
    assert error.facts["rank"] == 1


def test_a_kernel_that_fails_on_a_shard():
    wrong = declare("m d -> m d", lambda out, x: np.copyto(out, x.reshape(5, 6)))
    refused(wrong, r"signature S\(0\) -> S\(0\) on a mesh \(2,\): the kernel raises ValueError: ")


def test_a_result_of_another_shape():
    wrong = declare("m d -> m d", lambda out, x: np.copyto(out, x), also=["B -> S(0)"])
    refused(wrong, r"signature B -> S\(0\) on a mesh \(2,\): the kernel raises")


def test_errors_larger_than_declared():
    wrong = declare("m d -> m d", lambda out, x: np.copyto(out, x.astype("float16") if len(x) < 5 else x), X / 7, exact=False)
    refused(wrong, r"signature S\(0\) -> S\(0\)")


# ------------------------------------------------------------ what cannot be proven


def test_an_operator_without_an_example_cannot_be_registered():
    with pytest.raises(TypeError, match="example"):
        of.op("test.nothing", rule="a -> a")
    with pytest.raises(TraceError, match=r"test_proof.py:\d+: operator 'test.nothing' has no example"):
        of.op("test.nothing", rule="a -> a", example=None)
    assert "test.nothing" not in REGISTRY


def test_an_operator_with_an_empty_list_of_examples_cannot_be_proven():
    with pytest.raises(SbpError, match=r"test.empty has no example"):
        of.prove_signatures(of.op("test.empty", rule="a -> a", example=list))


def test_an_operator_without_a_kernel_cannot_be_proven():
    bare = of.op("test.bare", rule="a -> a", example=lambda: [Example((X[0],))])
    with pytest.raises(SbpError, match=r"test.bare has no kernel; declare it with @op.kernel"):
        of.prove_signatures(bare)


@pytest.mark.parametrize("name", LOCAL)
def test_every_operator_can_be_proven(name):
    operator = REGISTRY[name]
    assert operator.run is not None
    assert operator.example()


# ------------------------------------------------------------ the pieces


def test_replicas_name_their_rank():
    shards = [X, X, X, X + 1]
    for way, mesh, rank in [((B,), (4,), 3), ((B, B), (2, 2), 3), ((S(0), B), (2, 2), 3), ((B, P), (2, 2), 3)]:
        with pytest.raises(Replicas) as found:
            join(shards, way, mesh)
        assert found.value.rank == rank


def test_partial_shards_are_not_the_whole():
    """Shards that hold the value itself would let wrong signatures pass."""
    random = np.random.default_rng(3)
    for sbp in (P, P("max"), P("min")):
        for shard in cut(X, (sbp,), (3,), random):
            assert (shard != X).any()
    maxima = cut(X, (P("max"),), (3,), random)
    assert any(np.isneginf(shard).any() for shard in maxima)


def test_the_report_counts_what_was_checked():
    proof = of.prove_signatures(REGISTRY["matmul"], [(2,)], draws=0)
    assert proof.op == "matmul" and proof.checks > proof.cases > 0
    assert str(proof).startswith("matmul: ")
