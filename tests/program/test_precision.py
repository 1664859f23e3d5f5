"""Mixed precision: 16 bits mean float32 arithmetic rounded once, on every layout and executor; the loss scale follows its rule."""

import numpy as np
import pytest

import oflow as of
from oflow.errors import OflowError, TraceError
from oflow.ops import REGISTRY
from oflow.types import HALF, TensorType

ONE, TWO = of.placement("cpu", [0]), of.placement("cpu", [0, 1])
STAGES = [of.placement("cpu", [i]) for i in range(2)]


class Net(of.nn.Module):
    def __init__(self, staged=False):
        super().__init__()
        self.up, self.norm, self.down = of.nn.Linear(16, 32), of.nn.LayerNorm(32), of.nn.Linear(32, 10)
        self.staged = staged

    def forward(self, x):
        if not self.staged:
            return self.down(self.norm(of.gelu(self.up(x))))
        with of.stage(0):
            x = of.gelu(self.up(x))
        with of.stage(1):
            return self.down(self.norm(x))


def program(precision=None, *, layout="one", micro_batches=1, scaled=1.0, **options):
    net = Net(staged=layout == "pipeline")
    if layout == "tensor":
        net.up.to_global(TWO, of.S(0))
        net.down.weight.to_global(TWO, of.S(1))
    if layout == "pipeline":
        for module, where in ((net.up, STAGES[0]), (net.norm, STAGES[1]), (net.down, STAGES[1])):
            module.to_global(where, of.B)

    def loss(x, y):
        if layout == "pipeline":
            scores = net(x)
            with of.stage(1):
                return of.mul(of.cross_entropy(scores, y), scaled)
        return of.mul(of.cross_entropy(net(x), y), scaled)

    where, sbp = {"one": (ONE, of.B), "data": (TWO, of.S(0)), "tensor": (TWO, of.B), "pipeline": (STAGES[0], of.B)}[layout]
    last = STAGES[1] if layout == "pipeline" else where
    options = {"optimizer": of.optim.AdamW(lr=1e-2, clip_norm=1.0), "executor": "simulator", **options}
    return of.compile(
        loss, of.spec((8, 16), "float32", where, sbp), of.spec((8,), "int64", last, sbp), micro_batches=micro_batches,
        precision=precision, **options,
    )  # fmt: skip


def batches(count, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((8, 16)).astype("float32"), rng.integers(0, 10, 8)) for _ in range(count)]


def halved(x, dtype):
    return x.astype(dtype) if x.dtype == np.float32 else x


@pytest.mark.parametrize("dtype", sorted(HALF))
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_operator_rounds_its_float32_result_once(name, dtype):
    op = REGISTRY[name]
    cases = [c for c in op.example() if any(x.dtype == np.float32 for x in map(np.asarray, c.operands))][:2]
    for case in cases if op.lowering == "local" else ():
        operands = [halved(np.asarray(x), dtype) for x in case.operands]
        wide = [x.astype("float32") if x.dtype.name in HALF else x for x in operands]
        try:
            kinds = op.infer(tuple(TensorType(x.shape, x.dtype.name) for x in operands), case.attrs)
        except OflowError:
            assert name in ("cast", "constant", "attention_grad")  # their examples name a dtype
            continue
        results = [run(op, arrays, case.attrs) for arrays in (operands, wide)]
        for kind, got, wanted in zip(kinds, *results, strict=True):
            assert got.dtype.name == kind.dtype
            with np.errstate(over="ignore"):
                np.testing.assert_array_equal(got.astype("float64"), wanted.astype(kind.dtype).astype("float64"))


def run(op, operands, attrs):
    types = tuple(TensorType(x.shape, x.dtype.name) for x in operands)
    kinds = op.infer(types, attrs)
    outs = [np.zeros(k.shape, k.dtype) for k in kinds]
    for result, operand in op.inplace.items():
        outs[result][...] = operands[operand]
    ins = [x for i, x in enumerate(operands) if i not in op.inplace.values()]
    nbytes = op.workspace_nbytes(types, kinds, attrs)
    more = {"workspace": np.empty(nbytes, np.uint8)} if nbytes else {}
    with np.errstate(all="ignore"):
        op.call_for("cpu", "", outs, ins, {**attrs, **more})()
    return outs


@pytest.mark.parametrize("precision", sorted(HALF))
@pytest.mark.parametrize("layout", ["one", "data", "tensor", "pipeline"])
def test_training_follows_float32_and_is_the_same_everywhere(precision, layout):
    single, data = program(), batches(3)
    wanted = [float(single(*batch)) for batch in data]
    executors = ("simulator", "threads", *(("native",) if of.Program and _native() else ()))
    for micro_batches in (1, 2):
        found = []
        for executor in executors:
            made = program(precision, layout=layout, micro_batches=micro_batches, executor=executor)
            assert float(made.graph.evaluate(*data[0])) == pytest.approx(wanted[0], abs=0.02)
            found.append([float(made(*batch)) for batch in data])
            assert of.Plan.from_json(made.plan.to_json()) == made.plan
        assert all(one == found[0] for one in found)
        np.testing.assert_allclose(found[0], wanted, atol=0.02)
        assert found[0] != wanted  # it is another arithmetic


def _native():
    from oflow.native import available

    return available()


def test_kept_values_stay_float32_and_half_of_the_stash_goes():
    single, half = program(), program("bfloat16")
    assert {v.dtype for v in half.state_dict().values()} <= {np.dtype("float32"), np.dtype("int64")}
    stashed = {r.name: r.types[0].dtype for r in half.plan.register_templates}
    assert "bfloat16" in stashed.values()
    assert sorted(single.state_dict()) == sorted(half.state_dict())
    half.load_state_dict(single.state_dict())
    evaluate = of.compile(lambda x: x, of.spec((8, 16), "float32", ONE, of.B), precision="float16", executor="simulator")
    x = batches(1)[0][0]
    np.testing.assert_array_equal(evaluate(x), x)


def test_results_keep_their_declared_dtype():
    net = Net()
    made = of.compile(lambda x: net(x), of.spec((8, 16), "float32", ONE, of.B), precision="float16", executor="simulator")
    assert made(batches(1)[0][0]).dtype == np.float32


# ---------------------------------------------------------------- embeddings


class Stream(of.nn.Module):
    """Rows of a table, two blocks around a residual stream, and the table again as the head."""

    def __init__(self, sparse=False):
        super().__init__()
        self.table, self.places = of.nn.Embedding(12, 8, sparse=sparse), of.nn.Parameter((4, 8))
        self.norms = of.nn.ModuleList(of.nn.LayerNorm(8) for _ in range(2))
        self.blocks = of.nn.ModuleList(of.nn.Linear(8, 8) for _ in range(2))

    def forward(self, ids):
        x = self.table(ids) + self.places
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return of.linear(x, self.table.weight)


def stream(precision, layout="one", sparse=False, **options):
    net = Stream(sparse)
    if layout == "tensor":
        net.table.to_global(TWO, of.S(0))
    where, sbp = {"one": (ONE, of.B), "data": (TWO, of.S(0)), "tensor": (TWO, of.B)}[layout]
    specs = [of.spec((4, 4), "int64", where, sbp)] * 2
    return of.compile(
        lambda ids, y: of.cross_entropy(net(ids), y), *specs, optimizer=of.optim.AdamW(lr=1e-2), precision=precision,
        executor="simulator", micro_batches=2, **options,
    )  # fmt: skip


@pytest.mark.parametrize("layout", ["one", "data", "tensor"])
def test_what_embeddings_begin_stays_in_16_bits_where_the_user_says_so(layout):
    rng = np.random.default_rng(3)
    data = [(rng.integers(0, 12, (4, 4)), rng.integers(0, 12, (4, 4))) for _ in range(3)]
    wide = stream(None)
    wanted = [float(wide(*batch)) for batch in data]
    for embeddings in (False, True):
        made = stream(of.Precision("bfloat16", embeddings=embeddings), layout)
        forward = [node for node in made.graph.nodes if node.phase == "F" and node.op in ("embedding", "add", "fused")]
        assert ("float32" in {made.graph.values[node.outs[0]].type.dtype for node in forward}) != embeddings
        assert float(made.graph.evaluate(*data[0])) == pytest.approx(wanted[0], abs=0.02)
        np.testing.assert_allclose([float(made(*batch)) for batch in data], wanted, atol=0.02)
        assert {v.dtype for v in made.state_dict().values()} <= {np.dtype("float32"), np.dtype("int64")}


def test_tables_of_sparse_gradients_stay_in_float32():
    made = stream(of.Precision("bfloat16", embeddings=True), sparse=True)
    (row,) = (node for node in made.graph.nodes if node.op == "embedding")
    assert made.graph.values[row.outs[0]].type.dtype == "float32"


# ---------------------------------------------------------------- the loss scale


def expected(scale, finite, rule):
    """(scale, good steps) after steps that were finite or not."""
    good = 0
    for ok in finite:
        good = good + 1 if ok else 0
        if not ok:
            scale *= rule.backoff
        elif good == rule.interval:
            scale, good = scale * rule.growth, 0
    return scale, good


def test_a_step_that_overflows_is_skipped_and_the_scale_halves():
    rule = of.LossScale(initial=2.0**30, interval=3)
    made = program(of.Precision("float16", rule))
    finite = []
    for batch in batches(20, seed=1):
        before = made.state_dict()
        made(*batch)
        after = made.state_dict()
        done = int(after["optimizer.step"] - before["optimizer.step"])
        finite.append(bool(done))
        kept = [np.array_equal(before[n], after[n]) for n in before if not n.startswith("loss_scale")]
        assert not all(kept) if done else all(kept)
    assert not finite[0] and any(finite)
    state = made.state_dict()
    assert (float(state["loss_scale"]), int(state["loss_scale.good_steps"])) == expected(rule.initial, finite, rule)
    assert all(np.isfinite(v).all() for v in state.values())


def test_small_gradients_survive_by_the_scale():
    data, tiny = batches(1)[0], 1e-6
    sgd = of.optim.SGD(lr=1e5)
    moved = {}
    for name, precision in (("single", None), ("plain", of.Precision("float16")), ("scaled", "float16")):
        made = program(precision, scaled=tiny, optimizer=sgd)
        before = made.state_dict()["up.weight"]
        made(*data)
        moved[name] = made.state_dict()["up.weight"] - before
    scale = np.abs(moved["single"]).max()
    assert scale > 0
    assert np.abs(moved["scaled"] - moved["single"]).max() < 0.01 * scale
    assert np.abs(moved["plain"] - moved["single"]).max() > 0.1 * scale


def test_a_constant_scale_and_every_optimizer():
    constant = of.LossScale(initial=1024.0, growth=1.0, backoff=1.0)
    for optimizer in (of.optim.SGD(lr=0.1), of.optim.SGD(lr=0.1, momentum=0.9), of.optim.Adagrad(), of.optim.AdamW()):
        single, made = program(optimizer=optimizer), program(of.Precision("float16", constant), optimizer=optimizer)
        for batch in batches(3):
            assert float(made(*batch)) == pytest.approx(float(single(*batch)), abs=0.02)
        assert float(made.state_dict()["loss_scale"]) == 1024.0


def test_wrong_precisions_are_refused_at_the_users_line():
    with pytest.raises(TraceError, match=r"test_precision.py:\d+: mixed precision computes in 'bfloat16' or 'float16', not in 'float64'"):
        of.Precision("float64")
    with pytest.raises(TraceError, match="mixed precision computes in"):
        program("int8")
    with pytest.raises(TraceError, match=r"test_precision.py:\d+: a loss scale needs initial > 0"):
        of.LossScale(initial=0)
