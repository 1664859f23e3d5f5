"""Signatures that other systems shipped wrong: the rules do not list them, and the proof refuses each of them."""

import numpy as np
import pytest

import oflow as of
from oflow.errors import SbpError
from oflow.graph import Builder
from oflow.ops import REGISTRY, Tensor
from oflow.ops.meaning import boxes, cut, join, type_of, whole
from oflow.ops.op import Example, op
from oflow.ops.proof import check_way, reference
from oflow.ops.redraw import Case
from oflow.sbp import B, P, S, Signature
from oflow.types import TensorType, freeze
from tests.ops.dual import Gradient, dual

SEED = 20270


def numbers(*shape):
    """Whole numbers without a pattern, as float64."""
    return np.random.default_rng([SEED, *shape]).integers(-9, 10, shape).astype("float64")


def ids(below, *shape):
    return np.random.default_rng([SEED, below, *shape]).integers(0, below, shape)


def attempt(name, operands, attrs, text, mesh=(2,)):
    """Run one signature a mesh axis as the proof does: raises SbpError where it does not hold."""
    case = Case(0, "", tuple(operands), dict(freeze(attrs)), 1e-5)
    way = tuple(Signature.parse(part) for part in text.split("|"))
    check_way(REGISTRY[name], case, reference(REGISTRY[name], case), way, mesh, np.random.default_rng(SEED))


def listed(name, operands, attrs, parts=2):
    return {str(s) for s in REGISTRY[name].signatures(tuple(map(type_of, operands)), dict(freeze(attrs)), parts)}


X, ROW = numbers(6, 4), numbers(4)
IMAGE, WEIGHT, SHADE = numbers(4, 2, 6, 6), numbers(4, 2, 3, 3), numbers(4, 4, 4, 4)
KEEP = {"axes": (0,), "keepdims": False}
SCAN = {"axis": 0, "reverse": False, "exclusive": False}
CASES = {
    # what is summed, or chosen, over a split axis
    "stack's gradient, a part of the new axis": ("slice", [X], {"starts": (3, 0), "stops": (6, 4)}, "S(0) -> S(0)", "S(1) -> S(1)"),
    "stack along a split axis": ("concat", [numbers(2, 5), numbers(2, 5)], {"axis": 0}, "S(0),S(0) -> S(0)", "S(1),S(1) -> S(1)"),
    "broadcast's gradient": ("sum", [X], KEEP, "S(0) -> B", "S(0) -> P"),
    "sum of partial sums": ("sum", [X], KEEP, "P -> B", "P -> P"),
    "maximum over a split axis": ("max", [X], KEEP, "S(0) -> P", "S(0) -> P(max)"),
    "maximum of partial sums": ("max", [X], KEEP, "P -> P", "P(max) -> P(max)"),
    "argmax over a split axis": ("argmax", [X], {"axis": 0}, "S(0) -> P(max)", "S(1) -> S(0)"),
    "cumulative sum along a split axis": ("cumsum", [X], SCAN, "S(0) -> S(0)", "S(1) -> S(1)"),
    "cumulative product along a split axis": ("cumprod", [X], SCAN, "S(0) -> S(0)", "S(1) -> S(1)"),
    "cumulative product of partial sums": ("cumprod", [X], SCAN, "P -> P", "S(1) -> S(1)"),
    "a part of a split axis": ("slice", [X], {"starts": (1, 0), "stops": (5, 4)}, "S(0) -> S(0)", "S(1) -> S(1)"),
    "concatenation along a split axis": ("concat", [X, X], {"axis": 0}, "S(0),S(0) -> S(0)", "P,P -> P"),
    "softmax over split classes": ("softmax", [X], {}, "S(1) -> S(1)", "S(0) -> S(0)"),
    # look-ups
    "gather from a split axis": ("take", [X, ids(6, 5)], {"axis": 0, "count": 6}, "S(0),B -> B", "S(0),B -> P"),
    "gather keeps the split of its table": ("take", [X, ids(6, 6)], {"axis": 0, "count": 6}, "S(0),B -> S(0)", "B,S(0) -> S(0)"),
    "embedding of a split vocabulary": ("embedding", [ids(6, 5), X], {"rows": 6}, "B,S(0) -> B", "B,S(0) -> P"),
    "embedding's gradient of split ids": ("embedding_grad", [ids(7, 6), X], {"rows": 7}, "S(0),S(0) -> S(0)", "S(0),S(0) -> P"),
    # views
    "view of a split inner axis": ("reshape", [X], {"shape": (24,)}, "S(1) -> S(0)", "S(0) -> S(0)"),
    "view of uneven parts": ("reshape", [numbers(5, 6)], {"shape": (30,)}, "S(0) -> S(0)", "P -> P"),
    "view that splits an axis unevenly": ("reshape", [numbers(30)], {"shape": (5, 6)}, "S(0) -> S(0)", "P(max) -> P(max)"),
    "transposed split": ("transpose", [X], {"axes": (1, 0)}, "S(0) -> S(0)", "S(0) -> S(1)"),
    # products and convolutions
    "product over a split factor": ("matmul", [X, numbers(4, 6)], {"spec": "m k, k n -> m n"}, "S(1),S(0) -> B", "S(1),S(0) -> P"),
    "product of partial sums": ("matmul", [X, numbers(4, 6)], {"spec": "m k, k n -> m n"}, "P,P -> P", "P,B -> P"),
    "both factors of a product split": ("matmul", [X, numbers(4, 6)], {"spec": "m k, k n -> m n"}, "S(0),S(1) -> S(0)", "S(0),B -> S(0)"),
    "convolution of split rows": ("conv2d", [IMAGE, WEIGHT], {"padding": 1}, "S(2),B -> S(2)", "S(0),B -> S(0)"),
    "convolution of split input channels": ("conv2d", [IMAGE, WEIGHT], {}, "S(1),S(1) -> B", "S(1),S(1) -> P"),
    "weight gradient of a split batch": ("conv2d_grad_weight", [IMAGE, SHADE], {"kernel": (3, 3)}, "S(0),S(0) -> B", "S(0),S(0) -> P"),
    "weight gradient in the forward's layout": ("conv2d_grad_weight", [IMAGE, SHADE], {"kernel": (3, 3)}, "S(0),B -> B", "S(1),B -> S(1)"),
    "image gradient of split channels": ("conv2d_grad_input", [SHADE, WEIGHT], {"image": (6, 6)}, "S(1),S(0) -> S(1)", "S(1),S(0) -> P"),
    # partial operands
    "add of a partial sum and a whole": ("add", [X, ROW], {}, "P,B -> P", "P,P -> P"),
    "add of a number to a partial sum": ("add", [X], {"b": 3.0}, "P -> P", "P(max) -> P(max)"),
    "product of two partial sums": ("mul", [X, X], {}, "P,P -> P", "B,P -> P"),
    "negative of a partial maximum": ("neg", [X], {}, "P(max) -> P(max)", "P(max) -> P(min)"),
    "subtraction of a partial maximum": ("sub", [X, X], {}, "B,P(max) -> P(max)", "B,P(max) -> P(min)"),
    "product of a partial maximum and a number": ("mul", [X], {"b": -2.0}, "P(max) -> P(max)", "P(max) -> P(min)"),
    "rectifier of a partial sum": ("relu", [X], {}, "P -> P", "P(max) -> P(max)"),
    "square of a partial sum": ("square", [X], {}, "P -> P", "S(0) -> S(0)"),
    "norm of partial gradients": ("sum_squares", [X], {}, "P -> P", "S(0) -> P"),
    "whole numbers of a partial sum": ("cast", [X / 4], {"dtype": "int64"}, "P -> P", "S(0) -> S(0)"),
    "maximum of a minimum": ("maximum", [X, X], {}, "P(min),P(min) -> P(min)", "P(max),P(max) -> P(max)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", CASES)
def test_the_wrong_signature_is_refused_and_the_right_one_proven(mistake):
    name, operands, attrs, wrong, right = CASES[mistake]
    for parts in (2, 3):
        assert wrong not in listed(name, operands, attrs, parts)
        with pytest.raises(SbpError, match=rf"^{name}, example 0, signature "):
            attempt(name, operands, attrs, wrong, (parts,))
    assert right in listed(name, operands, attrs)
    attempt(name, operands, attrs, right)


def test_a_mean_over_a_split_axis_divides_by_the_whole_count():
    """of.mean is the sum times 1 / n of the logical tensor: S -> P. A kernel that takes the mean of its rows is refused."""
    builder = Builder()
    x = Tensor(builder, builder.value(TensorType((7, 4), "float64")).id)
    builder.inputs.append(x.id)
    of.mean(x, axis=0)
    nodes = builder.build().nodes
    assert [node.op for node in nodes] == ["sum", "mul"]
    assert nodes[1].attributes == {"b": 1 / 7}
    try:
        mean = op("test.mean", rule="a b -> b", example=lambda: [Example((numbers(7, 4),))])
        mean.kernel(lambda out, x: np.mean(x, axis=0, out=out))
        with pytest.raises(SbpError, match=r"signature S\(0\) -> P"):
            of.prove_signatures(mean)
    finally:
        del REGISTRY["test.mean"]


@pytest.mark.parametrize(("n", "mesh"), [(6, (2, 2)), (10, (2, 2)), (8, (2, 3)), (9, (3, 2))])
def test_nested_uneven_shards_are_no_flat_split(n, mesh):
    """(S(0), S(0)) over [2, 2] holds 2, 1, 2, 1 of 6 rows, S(0) over 4 holds 2, 2, 1, 1: a flat all-gather mixes rows up."""
    ranks = mesh[0] * mesh[1]
    nested, flat = boxes((n,), (S(0), S(0)), mesh), boxes((n,), (S(0),), (ranks,))
    assert nested != flat
    array = np.arange(float(n))
    shards = cut(array, (S(0), S(0)), mesh, np.random.default_rng(SEED))
    np.testing.assert_array_equal(join(shards, (S(0), S(0)), mesh), array)
    gathered = np.full(n, np.nan)
    for shard, ((start, stop),) in zip(shards, flat, strict=True):
        gathered[start:stop] = np.resize(shard, stop - start)
    assert (gathered != array).any()
    table = numbers(n, 3)
    attempt("embedding", [ids(n, 5), table], {"rows": n}, "B,S(0) -> P|B,S(0) -> P", mesh)  # it reads where its rows begin


def test_shards_of_a_product_are_in_one_order():
    """Both operands of S(1),S(0) -> P split the summed factor: shards in another order, or nested the other way, are wrong."""
    a, b = numbers(5, 8), numbers(8, 3)
    for mesh in ((2,), (2, 2)):
        ways = [(s,) * len(mesh) for s in (S(1), S(0))]
        left, right = (cut(x, way, mesh, np.random.default_rng(SEED)) for x, way in zip((a, b), ways, strict=True))
        products = {
            order: [whole(REGISTRY["matmul"], [p, q], {"spec": "m k, k n -> m n"})[0] for p, q in zip(left, shards, strict=True)]
            for order, shards in (("same", right), ("other", _transposed(right, mesh)))
        }
        partial = (P,) * len(mesh)
        np.testing.assert_array_equal(join(products["same"], partial, mesh), a @ b)
        assert (join(products["other"], partial, mesh) != a @ b).any()


def _transposed(shards, mesh):
    """Shards as if the inner mesh axis were the outer one; on one axis, in reverse."""
    if len(mesh) == 1:
        return shards[::-1]
    return [shards[i * mesh[1] + j] for j in range(mesh[1]) for i in range(mesh[0])]


@pytest.mark.parametrize("name", ["stack", "broadcast_to"])
def test_gradients_of_stack_and_broadcast(name):
    """From a cotangent that is split along the new axis no operand's whole cotangent can be had without communication."""
    builder = Builder()
    x = Tensor(builder, builder.value(TensorType((5,), "float64")).id)
    builder.inputs.append(x.id)
    made = of.stack([x, x], axis=0) if name == "stack" else of.broadcast_to(x, (2, 5))
    node = builder.build().nodes[-1]
    operator = REGISTRY[node.op]
    ins = tuple(builder.values[v].type for v in node.ins)
    gradient = Gradient(operator, ins, (made.type,), node.attributes)
    layouts = {v: B for v in gradient.graph.inputs} | {gradient.cotangents[0].id: S(0)}
    whole_cotangents = {v: B for v in gradient.made}
    assert gradient.signatures(layouts, whole_cotangents, 2) is None
    for signature in operator.signatures(ins, node.attributes, 2):
        if all(s.op in ("", "sum") for s in (*signature.ins, *signature.outs)):
            duals = gradient.inputs({0: dual(signature.outs[0])}, signature.ins, signature.outs)
            wanted = {v: dual(s) for v, s in zip(gradient.made, signature.ins, strict=True)}
            assert gradient.signatures(duals, wanted, 2) is not None, signature
