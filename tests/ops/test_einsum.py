"""Products in NumPy's notations against NumPy; size-1 batch axes; which operators they are made of."""

import numpy as np
import pytest

import oflow as of
from oflow.errors import ShapeError
from oflow.graph import Builder
from oflow.ops import Tensor
from tests.ops.shards import type_of
from tests.ops.traced import numeric, pullback, value

SEED = 617


def whole(*shapes, seed=SEED):
    random = np.random.default_rng(seed)
    return [random.integers(-4, 5, shape).astype("float64") for shape in shapes]


def check(function, wanted, *arrays):
    found = value(function, *arrays)
    np.testing.assert_array_equal(found, wanted)
    g = np.random.default_rng(SEED + 1).standard_normal(found.shape)
    for given, expected in zip(pullback(function, g, *arrays), numeric(function, g, *arrays), strict=True):
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6, err_msg=f"seed {SEED}")


SPECS = [
    ("ij,jk->ik", (3, 4), (4, 2)), ("ij,jk", (3, 4), (4, 2)), ("ji,jk->ki", (4, 3), (4, 2)), ("ij->ji", (3, 4)), ("ba", (3, 4)),
    ("ij->", (3, 4)), ("ij", (3, 4)), ("i,i", (5,), (5,)), ("i,i->i", (5,), (5,)), ("i,j", (3,), (4,)), ("i,j->ji", (3,), (4,)),
    ("ii", (4, 4)), ("ii->i", (4, 4)), ("iji->j", (3, 2, 3)), ("iij,j->ij", (3, 3, 2), (2,)), ("iii->i", (3, 3, 3)),
    ("ijij->ij", (2, 3, 2, 3)),
    ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 2)), ("...ij,jk", (2, 2, 3, 4), (4, 2)), ("i...->...", (3, 2, 2)), ("...i,...i", (2, 3),
    (3,)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)), ("b...d,...d->b...", (2, 3, 4), (1, 4)), ("...,...", (2, 3), ()),
    ("...->...", (2, 3)),
    ("ij,jk,kl->il", (2, 5), (5, 3), (3, 4)), ("ab,bc,cd,de->ae", (2, 3), (3, 2), (2, 4), (4, 1)), ("ij,ij,ij->j", (3, 2), (3, 2),
    (3, 2)),
    ("i,ij,j->", (3,), (3, 4), (4,)), ("ij,k->ik", (3, 4), (2,)), ("ab,cd->ac", (2, 3), (4, 5)), (",ij->ij", (), (2, 3)),
    (" ij , jk -> ik ", (3, 4), (4, 2)),
    ("bthd,bshd->bhts", (2, 3, 2, 4), (2, 5, 2, 4)), ("ij,jk->ik", (3, 1), (4, 2)), ("bij,bij->b", (2, 3, 4), (2, 3, 4)),
    ("a,b,c->cab", (2,), (3,), (4,)),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "shapes"), [(spec, shapes) for spec, *shapes in SPECS], ids=str)
def test_einsum_as_numpy(spec, shapes):
    arrays = whole(*shapes)
    check(lambda *ts: of.einsum(spec, *ts), np.einsum(spec, *arrays), *arrays)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ij", "names 1 operands, got 2"), ("ij,jk->iz", "must name axes"), ("ij,jk->ii", "each once"),
        ("ijk,jk", "does not name the 2 axes"),
        ("i1,1k", "axes are letters"), ("ij,ik", "axis 'i' has sizes 3 and 4"), ("i,jk", "does not name the 2 axes"),
    ],
)  # fmt: skip
def test_errors_name_the_users_line(spec, said):
    with pytest.raises(ShapeError, match=rf"test_einsum.*{said}"):
        of.compile(lambda a, b: of.einsum(spec, a, b), of.spec((3, 4)), of.spec((4, 2)))


@pytest.mark.parametrize("axes", [0, 1, 2, ((1,), (0,)), ((0, 1), (1, 2)), ((-1, 0), (0, -1))], ids=str)
def test_tensordot(axes):
    shapes = {
        "((0, 1), (1, 2))": [(2, 3, 4), (5, 2, 3)], "((-1, 0), (0, -1))": [(2, 3, 4), (4, 5, 2)], "2": [(5, 2, 3), (2, 3, 4)],
    }.get(str(axes), [(2, 3), (3, 4)])  # fmt: skip
    arrays = whole(*shapes)
    check(lambda a, b: of.tensordot(a, b, axes), np.tensordot(*arrays, axes=axes), *arrays)


@pytest.mark.parametrize("shapes", [[(4,), (4,)], [(3, 4), (4,)], [(3, 4), (4, 2)], [(2, 3, 4), (4,)], [(2, 3, 4), (5, 4, 2)], [(),
(2, 3)]], ids=str)
def test_dot(shapes):
    arrays = whole(*shapes)
    check(of.dot, np.dot(*arrays), *arrays)


@pytest.mark.parametrize("shapes", [[(4,), (4,)], [(3, 4), (2, 4)], [(2, 3, 4), (4,)], [(), (2, 3)]], ids=str)
def test_inner(shapes):
    arrays = whole(*shapes)
    check(of.inner, np.inner(*arrays), *arrays)


def test_outer():
    arrays = whole((2, 3), (4,))
    check(of.outer, np.outer(*arrays), *arrays)


@pytest.mark.parametrize(
    "shapes",
    [
        [(3, 4), (4, 2)], [(4,), (4,)], [(3, 4), (4,)], [(4,), (4, 2)], [(5, 3, 4), (5, 4, 2)], [(5, 3, 4), (1, 4, 2)], [(1, 3, 4),
        (5, 4, 2)],
        [(2, 1, 3, 4), (1, 5, 4, 2)], [(3, 4), (5, 4, 2)], [(2, 5, 3, 4), (5, 4, 2)], [(1, 3, 4), (1, 4, 2)], [(2, 1, 3, 4), (4, 2)],
        [(5, 3, 4), (4,)],
        [(4,), (1, 5, 4, 2)], [(1, 1, 4), (6, 4, 2)],
    ],
    ids=str,
)  # fmt: skip
def test_matmul_broadcasts_batch_axes(shapes):
    arrays = whole(*shapes)
    check(lambda a, b: a @ b, np.matmul(*arrays), *arrays)


@pytest.mark.parametrize("shapes", [[(), (3,)], [(2, 3), (4, 2)], [(2, 3, 4), (3, 4, 2)]], ids=str)
def test_matmul_of_what_does_not_fit(shapes):
    with pytest.raises(ShapeError, match="test_einsum"):
        of.compile(lambda a, b: a @ b, *(of.spec(s) for s in shapes))


def nodes_of(function, *arrays):
    builder = Builder()
    tensors = [Tensor(builder, builder.value(type_of(x)).id) for x in arrays]
    function(*tensors)
    return builder.nodes


def test_several_operands_are_multiplied_in_the_cheapest_order():
    arrays = whole((50, 2), (2, 50), (50, 3))
    specs = [dict(node.attrs)["spec"] for node in nodes_of(lambda *ts: of.einsum("ab,bc,cd->ad", *ts), *arrays) if node.op == "matmul"]
    assert specs == ["b c, c d -> b d", "a b, b d -> a d"]


def test_products_without_a_sum_are_elementwise():
    assert [node.op for node in nodes_of(lambda a, b: of.einsum("i,i->i", a, b), *whole((4,), (4,)))] == ["mul"]
    assert "matmul" not in [node.op for node in nodes_of(of.outer, *whole((4,), (3,)))]
