"""A user adds an operator in one block, and it takes part in everything: signatures, gradients, compilation, errors."""

import numpy as np
import pytest

import oflow as of
from oflow.errors import KernelMissing, SbpError, ShapeError, TraceError
from oflow.ops import REGISTRY
from oflow.ops.op import Example
from oflow.sbp import Signature
from oflow.types import TensorType
from tests.ops import test_gradients


@pytest.fixture
def declare():
    """`of.op`, and the registry as it was before when the test ends."""
    before = set(REGISTRY)
    yield of.op
    for name in set(REGISTRY) - before:
        del REGISTRY[name]


@pytest.fixture
def cross(declare):
    """Row-wise squared distance to a set of centres: x (m, d), c (n, d) -> (m, n)."""
    distance = declare(
        "test.distance", rule="m d!, n d! -> m n", example=lambda: [Example((np.eye(5, 3), np.ones((4, 3))))], exact=True
    )

    @distance.kernel
    def _(out, x, c):
        for i, row in enumerate(x):
            out[i] = ((row - c) ** 2).sum(axis=1)

    @distance.grad
    def _(g, y, x, c):
        gx = 2.0 * (x * of.sum(g, axis=1, keepdims=True) - of.matmul(g, c))
        gc = 2.0 * (c * of.reshape(of.sum(g, axis=0), (c.shape[0], 1)) - of.matmul(of.transpose(g), x))
        return gx, gc

    return distance


def test_signatures_follow_from_the_rule(cross):
    found = cross.signatures((TensorType((5, 3)), TensorType((4, 3))), {}, 2)
    assert found == tuple(map(Signature.parse, ("B,B -> B", "S(0),B -> S(0)", "B,S(0) -> S(1)")))


def test_its_signatures_are_proven(cross):
    proof = of.prove_signatures(cross)
    assert (proof.op, proof.signatures) == ("test.distance", 3)
    missed = of.missed_signatures(cross)
    assert [str(m.signature) for m in missed] == ["S(1),S(1) -> P"], "its rule marks d as whole, and need not"


def test_gradient_is_the_derivative(cross):
    random = np.random.default_rng(5)
    operands = [random.standard_normal((5, 3)), random.standard_normal((4, 3))]
    test_gradients.check(cross, operands, {}, random, "test.distance")


def test_program_with_it(cross):
    two = of.placement("cpu", [0, 1])
    random = np.random.default_rng(6)
    x, c = random.standard_normal((6, 3)).astype("float32"), random.standard_normal((4, 3)).astype("float32")
    specs = of.spec(x.shape, "float32", two, of.S(0)), of.spec(c.shape, "float32", two, of.B)
    program = of.compile(lambda a, b: cross(a, b), *specs)
    np.testing.assert_allclose(program(x, c), ((x[:, None] - c) ** 2).sum(-1), rtol=1e-5)


def test_local_attributes_depend_on_the_shard(declare):
    """An operator that adds the global row number knows where its shard starts."""
    example = Example((np.zeros((7, 2)),), {"start": 0})
    numbered = declare("test.numbered", rule="m d -> m d", exact=True, example=lambda: [example])
    numbered.local(lambda attrs, shards: {**attrs, "start": attrs["start"] + shards.ins[0][0][0]})

    @numbered.kernel
    def _(out, x, start):
        np.add(x, np.arange(start, start + len(x))[:, None], out=out)

    of.prove_signatures(numbered)


def test_wrong_rule_is_found(declare):
    """A row-wise operator that claims to split its columns fails the generic test."""
    wrong = declare("test.wrong", rule="m d -> m d", example=lambda: [Example((np.arange(10.0).reshape(5, 2),))])
    wrong.kernel(lambda out, x: np.divide(x, x.sum(axis=1, keepdims=True) + 1, out=out))
    with pytest.raises(SbpError, match=r"test.wrong, example 0, signature S\(1\) -> S\(1\) on a mesh \(2,\): element"):
        of.prove_signatures(wrong)


def test_errors_name_the_users_line(cross, declare):
    with pytest.raises(TraceError, match=r"test_user_operator.*exists already"):
        declare("test.distance", rule="a -> a", example=list)
    with pytest.raises(TypeError, match="example"):
        declare("test.nothing", rule="a -> a")
    with pytest.raises(ShapeError, match=r"test_user_operator.*test.distance of f32\[5, 3\], f32\[4, 2\]"):
        of.compile(lambda a, b: cross(a, b), of.spec((5, 3)), of.spec((4, 2)))
    with pytest.raises(TraceError, match=r"test_user_operator.*takes tensors, got float"):
        of.compile(lambda a: cross(a, 1.0), of.spec((5, 3)))
    silent = declare("test.silent", rule="m -> m", example=lambda: [Example((np.zeros(3),))])
    with pytest.raises(KernelMissing, match=r"test_user_operator.*test.silent has no kernel for cpu"):
        of.compile(lambda a: silent(a), of.spec((3,)))(np.zeros(3, "float32"))
