"""nd-SBP: one signature for each mesh axis. Nested shards in, nested joins out, on (2, 2) and (2, 3)."""

import itertools

import numpy as np
import pytest

from oflow.ops import REGISTRY
from oflow.ops.meaning import boxes, cut, join
from oflow.ops.proof import prove_signatures
from oflow.sbp import B, Layout, P, Placement, S
from tests.ops.shards import LOCAL, type_of

SEED = 20250
MESHES = [(2, 2), (2, 3)]


@pytest.mark.parametrize("name", LOCAL)
def test_a_sample_of_the_products(name):
    prove_signatures(REGISTRY[name], MESHES, sample=2, draws=0, seed=SEED)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCAL)
def test_all_products(name):
    print(prove_signatures(REGISTRY[name], MESHES, seed=SEED))


def test_three_axes():
    for name in ("add", "matmul", "sum", "max", "embedding"):
        prove_signatures(REGISTRY[name], [(2, 1, 2), (2, 3, 2)], sample=10, draws=0, seed=SEED)


WAYS = list(itertools.product((B, S(0), S(1), P, P("max"), P("min")), repeat=2))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_cut_joins_to_what_was_cut(way):
    """Also where partial operations are mixed: value = join of the outer(join of the inner)."""
    random = np.random.default_rng(SEED)
    for shape, mesh in itertools.product([(5, 6), (1, 3), (2, 0)], MESHES):
        array = random.integers(-9, 10, shape).astype("float64")
        np.testing.assert_array_equal(join(cut(array, way, mesh, random), way, mesh), array)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_regions_are_those_of_layouts(way):
    for mesh in MESHES:
        layout = Layout(Placement("cpu", tuple(range(mesh[0] * mesh[1])), mesh), way)
        assert list(boxes((5, 7), way, mesh)) == [layout.box((5, 7), rank) for rank in range(layout.placement.size)]


@pytest.mark.parametrize("name", ["add", "sub", "neg", "exp"])
def test_no_tensor_is_a_maximum_on_one_axis_and_a_minimum_on_another(name):
    op = REGISTRY[name]
    example = op.example()[0]
    types = tuple(type_of(np.asarray(x)) for x in example.operands)
    for way in op.mesh_signatures(types, {}, (2, 2)):
        for sbps in (*zip(*(s.ins for s in way), strict=True), *zip(*(s.outs for s in way), strict=True)):
            assert not {P("max"), P("min")} <= set(sbps), way

