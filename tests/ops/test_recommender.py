"""Bags of embeddings against their definition on every layout of the table; row-sparse updates against dense ones."""

import numpy as np
import pytest

import oflow as of
from tests.ops.shards import whole

SEED = 909
ONE, FOUR = of.placement("cpu", [0]), of.placement("cpu", [0, 1, 2, 3])
GRID = of.placement("cpu", [[0, 1], [2, 3]])
ROWS, D, BATCH, BAG = 23, 6, 8, 3
TABLES = [(ONE, of.B), (FOUR, of.B), (FOUR, of.S(0)), (FOUR, of.S(1)), (GRID, (of.S(0), of.S(1)))]


def numbers(*shape, below=ROWS):
    return np.random.default_rng((SEED, *shape)).integers(0, below, shape)


def joined(rows, mode):
    """The mean, sum or maximum of rows (k, d); 0 of none."""
    return {"sum": np.sum, "mean": np.mean, "max": np.max}[mode](rows, 0) if len(rows) else np.zeros(rows.shape[1])


def defined(ids, table, bags, mode, padding=None, weights=None):
    """Bags are lists of positions in ids."""
    found = []
    for bag in bags:
        kept = [i for i in bag if ids[i] != padding]
        rows = table[ids[kept]] * (1.0 if weights is None else weights[kept][:, None])
        found.append(joined(rows, mode))
    return np.array(found)


def inputs(where, sbp, *arrays):
    """Specs: the table with this sbp, the others whole."""
    whole = of.B if len(where.mesh) == 1 else (of.B,) * len(where.mesh)
    return [of.spec(a.shape, a.dtype.name, where, sbp if i == 0 else whole) for i, a in enumerate(arrays)]


@pytest.mark.parametrize("where, sbp", TABLES)
@pytest.mark.parametrize("padding", [None, 4, -3])
def test_bags_of_one_size(where, sbp, padding):
    ids, table = numbers(BATCH, BAG, below=9), np.random.default_rng(SEED).integers(-9, 10, (ROWS, D)) + 0.0
    ids[0] = 4 if padding == 4 else 20
    weights = np.random.default_rng(SEED + 1).integers(-3, 4, (BATCH, BAG)) + 0.0

    def bags(table, ids, weights):
        made = {mode: of.embedding_bag(ids, table, mode=mode, padding_idx=padding) for mode in ("sum", "mean", "max")}
        return {**made, "weighted": of.embedding_bag(ids, table, mode="sum", weights=weights, padding_idx=padding)}

    with of.compile(bags, *inputs(where, sbp, table, ids, weights)) as program:
        made = program(table, ids, weights)
    places = np.arange(BATCH * BAG).reshape(BATCH, BAG)
    absent = padding if padding is None else padding % ROWS
    for mode in ("sum", "mean", "max"):
        np.testing.assert_allclose(made[mode], defined(ids.reshape(-1), table, places, mode, absent), rtol=1e-12)
    wanted = defined(ids.reshape(-1), table, places, "sum", absent, weights.reshape(-1))
    np.testing.assert_allclose(made["weighted"], wanted, rtol=1e-12)


@pytest.mark.parametrize("where, sbp", TABLES)
@pytest.mark.parametrize("padding", [None, 4])
def test_bags_of_unequal_sizes(where, sbp, padding):
    ids, table = numbers(11, below=6), np.random.default_rng(SEED).integers(-9, 10, (ROWS, D)) + 0.0
    offsets, weights = np.array([0, 3, 3, 4, 10]), np.arange(11.0) - 5

    def bags(table, ids, offsets, weights):
        made = {mode: of.embedding_bag(ids, table, offsets, mode=mode, padding_idx=padding) for mode in ("sum", "mean", "max")}
        return {**made, "weighted": of.embedding_bag(ids, table, offsets, mode="sum", weights=weights, padding_idx=padding)}

    with of.compile(bags, *inputs(where, sbp, table, ids, offsets, weights)) as program:
        made = program(table, ids, offsets, weights)
    places = [list(range(a, b)) for a, b in zip(offsets, [*offsets[1:], 11], strict=True)]
    for mode in ("sum", "mean", "max"):
        np.testing.assert_allclose(made[mode], defined(ids, table, places, mode, padding), rtol=1e-12)
    np.testing.assert_allclose(made["weighted"], defined(ids, table, places, "sum", padding, weights), rtol=1e-12)


class Model(of.nn.Module):
    """Bags of two features from one table, and single numbers from another -> one number a sample."""

    def __init__(self, sparse, mode="sum"):
        super().__init__()
        self.bags = of.nn.EmbeddingBag(ROWS, D, "float64", mode=mode, padding_idx=2, sparse=sparse)
        self.users = of.nn.Embedding(ROWS, D, "float64", sparse=sparse, padding_idx=1)
        self.head = of.nn.Linear(D, 1, dtype="float64")

    def forward(self, first, second, user, y):
        h = self.bags(first) + self.bags(second) * 0.5 + self.users(user)
        return of.mse(self.head(of.tanh(h)), y)


def batches(count=4):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    return [
        (
            random.integers(0, ROWS, (BATCH, BAG)), random.integers(0, 7, (BATCH, BAG)), random.integers(0, ROWS, BATCH),
            random.standard_normal((BATCH, 1)),
        )
        for _ in range(count)
    ]  # fmt: skip


def trained(sparse, optimizer, where=ONE, ids=of.B, table=None, mode="sum", **options):
    model = Model(sparse, mode)
    if table is not None:
        model.bags.to_global(where, table)
        model.users.to_global(where, table)
    specs = [of.spec(a.shape, a.dtype.name, where, ids) for a in batches(1)[0]]
    with of.compile(lambda *batch: model(*batch), *specs, optimizer=optimizer, **options) as step:
        losses = [step(*batch) for batch in batches()]
        return np.array(losses), step.state_dict(), step


def agree(found, wanted):
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-10)
    assert set(found[1]) == set(wanted[1])
    for name, value in wanted[1].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-9, atol=1e-13, err_msg=name)


EQUAL = [of.optim.SGD(lr=0.1), of.optim.SGD(lr=0.1, clip_norm=0.05), of.optim.Adagrad(lr=0.1), of.optim.Adagrad(lr=0.1, clip_norm=0.05)]


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("optimizer", EQUAL, ids=lambda o: f"{type(o).__name__}-{o.clip_norm}")
def test_a_sparse_update_is_the_dense_one(optimizer, mode):
    agree(trained(True, optimizer, mode=mode), trained(False, optimizer, mode=mode))


SPLITS = [
    (FOUR, of.S(0), of.S(0), {}), (FOUR, of.B, of.S(1), {}), (FOUR, of.S(0), of.B, {}), (FOUR, of.B, of.S(0), {}),
    (GRID, (of.S(0), of.B), (of.B, of.S(0)), {}), (GRID, (of.B, of.B), (of.S(0), of.S(1)), {}),
    (ONE, of.B, None, {"micro_batches": 4}), (FOUR, of.S(0), of.S(0), {"micro_batches": 2, "schedule": "gpipe"}),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", [EQUAL[1], EQUAL[2], of.optim.AdamW(lr=0.1)], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("where, ids, table, options", SPLITS)
def test_layouts_of_sparse_updates_agree(where, ids, table, options, optimizer):
    agree(trained(True, optimizer, where, ids, table, **options), trained(True, optimizer))


def test_the_dense_gradient_is_never_made():
    table = of.sbp.split(0)
    for sparse in (False, True):
        graph = trained(sparse, of.optim.Adagrad(lr=0.1, clip_norm=1.0), FOUR, of.S(0), table)[2].graph
        made = {node.op for node in graph.nodes for v in node.outs if graph.values[v].type.shape == (ROWS, D)} - {"boxing"}
        assert (made == {"adagrad_rows_update"}) == sparse, made


def test_adam_of_sparse_gradients_leaves_other_rows_alone():
    table = np.arange(12.0).reshape(4, 3)
    m, v = np.ones_like(table), np.full_like(table, 4.0)
    ids, g = np.array([2, 0, 2]), np.ones((3, 3))

    attrs = {"rows": 4, "beta1": 0.5, "beta2": 0.75, "eps": 0.0, "weight_decay": 0.1}
    found = whole(of.adamw_rows_update, [table, m, v, ids, g, np.asarray(0.1), np.asarray(0.0)], attrs)
    dense = np.zeros_like(table)
    np.add.at(dense, ids, g)
    wanted = whole(of.adamw_update, [table, m, v, dense, np.asarray(0.1), np.asarray(0.0)], {k: w for k, w in attrs.items() if k != "rows"})
    for sparse, full, before in zip(found, wanted, (table, m, v), strict=True):
        np.testing.assert_array_equal(sparse[[0, 2]], full[[0, 2]])
        np.testing.assert_array_equal(sparse[[1, 3]], before[[1, 3]])


def test_weight_decay_acts_on_the_rows_that_are_named():
    table, ids, g = np.ones((4, 2)), np.array([1, 1]), np.full((2, 2), 3.0)
    (found,) = whole(of.sgd_rows_update, [table, ids, g, np.asarray(0.1)], {"rows": 4, "weight_decay": 0.5})
    np.testing.assert_allclose(found, [[1, 1], [0.35, 0.35], [1, 1], [1, 1]])


def test_long_runs_go_over_blocks():
    random = np.random.default_rng(SEED)
    ids, g = np.sort(random.integers(0, 3, 10_000)), random.integers(-9, 10, (10_000, 64)) + 0.0
    table, wanted = np.zeros((5, 64)), np.zeros((5, 64))
    np.add.at(wanted, ids, -g)
    (found,) = whole(of.sgd_rows_update, [table, ids, g, np.asarray(1.0)], {"rows": 5})
    np.testing.assert_array_equal(found, wanted)
    (squares,) = whole(of.rows_sum_squares, [ids, g], {"rows": 5})
    assert squares == (wanted**2).sum()


def test_padding_gets_no_gradient_and_a_shared_dense_use_makes_it_dense():
    for sparse in (False, True):
        specs = [of.spec(a.shape, a.dtype.name, ONE, of.B) for a in batches(1)[0]]
        with of.compile(Model(sparse).forward, *specs, optimizer=of.optim.SGD(lr=1.0)) as step:
            before = step.state_dict()
            for batch in batches():
                step(*batch)
            after = step.state_dict()
        for name, row in (("bags.weight", 2), ("users.weight", 1)):
            moved = np.any(before[name] != after[name], axis=1)
            assert not moved[row] and moved.sum() > 10

    table = of.nn.Embedding(ROWS, D, "float64", sparse=True)

    def tied(ids, y):
        return of.mse(of.linear(table(ids), table.weight), y)

    specs = of.spec((BATCH,), "int64", ONE, of.B), of.spec((BATCH, ROWS), "float64", ONE, of.B)
    with of.compile(tied, *specs, optimizer=of.optim.SGD(lr=0.1)) as step:
        assert "sgd_update" in {node.op for node in step.graph.nodes}
        step(numbers(BATCH), np.zeros((BATCH, ROWS)))


def test_errors():
    ids, table, offsets = (of.spec(s, d, ONE, of.B) for s, d in [((4, 2), "int64"), ((5, 3), "float32"), ((2,), "int64")])
    with pytest.raises(of.TraceError, match='mode is "sum"'):
        of.compile(lambda i, t: of.embedding_bag(i, t, mode="min"), ids, table)
    with pytest.raises(of.TraceError, match="weights go with"):
        of.compile(lambda i, t: of.embedding_bag(i, t, weights=of.cast(i, "float32")), ids, table)
    with pytest.raises(of.ShapeError, match="with offsets"):
        of.compile(lambda i, t, o: of.embedding_bag(i, t, o), ids, table, offsets)
    with pytest.raises(of.ShapeError, match="no row"):
        of.compile(lambda i, t: of.embedding(i, t, padding_idx=5), ids, table)
    with pytest.raises(of.TraceError, match="momentum=0"):
        trained(True, of.optim.SGD(lr=0.1, momentum=0.9))
