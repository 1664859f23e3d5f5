"""Losses against their definitions; cross-entropy of split classes on every layout, without ever moving logits."""

import numpy as np
import pytest

import oflow as of

SEED = 313
N, CLASSES = 6, 7
ONE, FOUR = of.placement("cpu", [0]), of.placement("cpu", [0, 1, 2, 3])
GRID = of.placement("cpu", [[0, 1], [2, 3]])
RANDOM = np.random.default_rng(SEED)
X, T = RANDOM.standard_normal((N, CLASSES)), RANDOM.uniform(0.05, 0.95, (N, CLASSES))
LABELS, WEIGHT = np.array([0, 6, 2, 2, 5, 1]), RANDOM.uniform(0.5, 2, CLASSES)
LOG = X - np.log(np.exp(X).sum(-1, keepdims=True))


def run(fn, *arrays):
    with of.compile(fn, *(of.spec(a.shape, a.dtype.name, ONE, of.B) for a in arrays)) as program:
        return program(*arrays)


def reduced(each, total=None):
    """{reduction: value}; `total` is what a mean divides by."""
    return {"none": each, "sum": each.sum(), "mean": each.sum() / (each.size if total is None else total)}


def nll(labels=LABELS, weight=None, ignored=None):
    share = np.where(labels == ignored, 0.0, 1.0) * (1.0 if weight is None else weight[labels])
    return reduced(-np.take_along_axis(LOG, labels[:, None], 1)[:, 0] * share, share.sum())


D = X - T
HUBER = np.where(abs(D) <= 0.5, D * D / 2, 0.5 * (abs(D) - 0.25))
S = 1 / (1 + np.exp(-X))
ELEMENTWISE = {
    "mse": (lambda x, t, **k: of.mse(x, t, **k), D * D),
    "l1": (lambda x, t, **k: of.l1_loss(x, t, **k), abs(D)),
    "huber": (lambda x, t, **k: of.huber_loss(x, t, delta=0.5, **k), HUBER),
    "smooth_l1": (lambda x, t, **k: of.smooth_l1_loss(x, t, beta=0.5, **k), HUBER / 0.5),
    "smooth_l1 of 0": (lambda x, t, **k: of.smooth_l1_loss(x, t, beta=0, **k), abs(D)),
    "bce": (lambda x, t, **k: of.binary_cross_entropy(t, of.sigmoid(x), **k), -(S * np.log(T) + (1 - S) * np.log(1 - T))),
    "bce_logits": (lambda x, t, **k: of.binary_cross_entropy_with_logits(x, t, **k), -(T * np.log(S) + (1 - T) * np.log(1 - S))),
    "bce_logits weighted": (
        lambda x, t, **k: of.binary_cross_entropy_with_logits(x, t, weight=t, pos_weight=3.0, **k),
        -T * (3 * T * np.log(S) + (1 - T) * np.log(1 - S)),
    ),
    "kl": (lambda x, t, **k: of.kl_div(x, t, **k), T * (np.log(T) - X)),
    "kl of logs": (lambda x, t, **k: of.kl_div(x, t, log_target=True, **k), np.exp(T) * (T - X)),
    "hinge": (lambda x, t, **k: of.hinge_loss(x, of.sign(t - 0.5), **k), np.maximum(0, 1 - np.sign(T - 0.5) * X)),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_losses(name, reduction):
    fn, each = ELEMENTWISE[name]
    np.testing.assert_allclose(run(lambda x, t: fn(x, t, reduction=reduction), X, T), reduced(each)[reduction], rtol=1e-10)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("ignored", [None, 2, -100])
def test_cross_entropy_and_nll(reduction, split, weight, ignored):
    labels = np.where(LABELS == 2, -100, LABELS) if ignored == -100 else LABELS
    wanted = nll(LABELS, weight, 2 if ignored is not None else None)[reduction]
    weights = [] if weight is None else [weight]

    def loss(x, labels, *weight):
        options = {"weight": weight[0] if weight else None, "ignore_index": ignored, "reduction": reduction}
        return of.cross_entropy(x, labels, split_classes=split, **options), of.nll_loss(x, labels, **options)

    np.testing.assert_allclose(run(loss, X, labels, *weights)[0], wanted, rtol=1e-10)
    np.testing.assert_allclose(run(loss, LOG, labels, *weights)[1], wanted, rtol=1e-10)


def test_smoothed_labels_are_probabilities():
    def losses(x, labels, t, weight):
        return (
            of.cross_entropy(x, labels, label_smoothing=0.3, reduction="none"),
            of.cross_entropy(x, labels, label_smoothing=0.3, weight=weight, ignore_index=2, reduction="none"),
            of.cross_entropy(x, t, reduction="none"),
            of.cross_entropy(x, t, label_smoothing=0.3, weight=weight, reduction="none"),
        )

    plain, weighted, given, both = run(losses, X, LABELS, T, WEIGHT)
    share = 0.7 * np.eye(CLASSES)[LABELS] + 0.3 / CLASSES
    np.testing.assert_allclose(plain, -(share * LOG).sum(-1), rtol=1e-10)
    np.testing.assert_allclose(weighted, -(share * LOG * WEIGHT).sum(-1) * (LABELS != 2), rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(given, -(T * LOG).sum(-1), rtol=1e-10)
    np.testing.assert_allclose(both, -((0.7 * T + 0.3 / CLASSES) * LOG * WEIGHT).sum(-1), rtol=1e-10)


def test_batchmean_cosine_and_nothing_to_count():
    made = run(lambda x, t: (of.kl_div(x, t, reduction="batchmean"), of.cosine_similarity(x, t), of.cosine_similarity(x, t * 0.0, 0)), X, T)
    np.testing.assert_allclose(made[0], (T * (np.log(T) - X)).sum() / N, rtol=1e-10)
    np.testing.assert_allclose(made[1], (X * T).sum(-1) / np.linalg.norm(X, axis=-1) / np.linalg.norm(T, axis=-1), rtol=1e-10)
    np.testing.assert_array_equal(made[2], np.zeros(CLASSES))
    assert run(lambda x, labels: of.cross_entropy(x, labels, ignore_index=3), X, np.full(N, 3)) == 0.0
    zero = np.zeros_like(T)
    np.testing.assert_array_equal(run(lambda x, t: of.kl_div(x, t, reduction="none"), X, zero), zero)


def test_extreme_logits_do_not_overflow():
    x, t = np.array([1e4, -1e4, 0.0]), np.array([1.0, 1.0, 0.5])
    np.testing.assert_allclose(
        run(lambda x, t: of.binary_cross_entropy_with_logits(x, t, reduction="none"), x, t), [0, 1e4, np.log(2)], rtol=1e-12
    )
    rows = np.array([[1e4, -1e4, 9.999e3], [-np.inf, 0.0, -np.inf]])
    found = run(lambda x, labels: of.softmax_cross_entropy(x, labels, split_classes=True), rows, np.array([1, 1]))
    np.testing.assert_allclose(found, [2e4 + np.log1p(np.exp(-1.0)), 0.0], rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------ split classes


class Head(of.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.weight = of.nn.Parameter((classes, 5), "float64")


def trained(where, weight, batch, split, classes=CLASSES, **options):
    """(losses, final weight, graph) of a linear classifier whose weight (classes, 5) has this layout."""
    head = Head(classes)
    head.to_global(where, weight)
    random = np.random.default_rng(SEED)
    x, labels = random.standard_normal((3, 12, 5)), random.integers(0, classes, (3, 12))
    specs = of.spec((12, 5), "float64", where, batch), of.spec((12,), "int64", where, batch)
    options = {"optimizer": of.optim.SGD(lr=0.5)} | options

    def loss(x, labels):
        return of.cross_entropy(of.linear(x, head.weight), labels, split_classes=split, label_smoothing=0.1 if split == "smooth" else 0.0)

    with of.compile(loss, *specs, **options) as step:
        return np.array([step(*pair) for pair in zip(x, labels, strict=True)]), step.state_dict()["weight"], step.graph


SPLITS = [
    (FOUR, of.S(0), of.B, {}), (FOUR, of.B, of.S(0), {}), (FOUR, of.S(1), of.B, {}), (GRID, (of.B, of.S(0)), (of.S(0), of.B), {}),
    (GRID, (of.S(0), of.S(0)), (of.B, of.B), {}), (FOUR, of.S(0), of.B, {"micro_batches": 3}),
]  # fmt: skip


@pytest.mark.parametrize("classes", [7, 3])
@pytest.mark.parametrize("split", [True, "smooth"])
@pytest.mark.parametrize("where, weight, batch, options", SPLITS)
def test_split_classes_train_as_whole_ones(where, weight, batch, options, split, classes):
    found = trained(where, weight, batch, split, classes, **options)
    wanted = trained(ONE, of.B, of.B, split if split == "smooth" else False, classes)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-10)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-9, atol=1e-12)


def test_split_classes_move_no_logits():
    moved = {}
    for split in (False, True):
        graph = trained(FOUR, of.S(0), of.B, split, 1 << 16)[2]
        nodes = [node for node in graph.nodes if node.op == "boxing"]
        moved[split] = max(graph.values[v].type.size for node in nodes for v in node.outs)
    assert moved == {False: 12 << 16, True: 60}


def test_a_masked_mean_waits_for_all_micro_batches():
    head = Head(CLASSES)
    head.to_global(ONE, of.B)
    specs = of.spec((12, 5), "float64", ONE, of.B), of.spec((12,), "int64", ONE, of.B)

    def program(**options):
        return of.compile(
            lambda x, labels: of.cross_entropy(of.linear(x, head.weight), labels, ignore_index=0), *specs,
            optimizer=of.optim.SGD(lr=0.5), **options,
        )  # fmt: skip

    with pytest.raises(of.SbpError, match="gpipe"):
        program(micro_batches=3, schedule="1f1b")
    x, labels = np.random.default_rng(SEED).standard_normal((12, 5)), np.arange(12) % 4
    found = []
    for options in ({}, {"micro_batches": 3, "schedule": "gpipe"}):
        with program(**options) as step:
            found.append((step(x, labels), step.state_dict()["weight"]))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-12)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-12)


def test_errors():
    x, labels = of.spec((3, 4), "float32", ONE, of.B), of.spec((3,), "int64", ONE, of.B)
    with pytest.raises(of.TraceError, match="reduction is"):
        of.compile(lambda x: of.mse(x, x, reduction="average"), x)
    with pytest.raises(of.TraceError, match="label_smoothing"):
        of.compile(lambda x, y: of.cross_entropy(x, y, label_smoothing=2.0), x, labels)
    with pytest.raises(of.ShapeError, match="probabilities must be"):
        of.compile(lambda x: of.cross_entropy(x, x[:, :2]), x)
    program = of.compile(lambda x, y: of.cross_entropy(x, y, split_classes=True), x, labels)
    with program, pytest.raises(IndexError, match="range"):
        program(np.zeros((3, 4), "float32"), np.array([0, 4, 1]))
