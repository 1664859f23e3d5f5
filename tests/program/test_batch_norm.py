"""Batch norm: the statistics of the whole global batch on any layout, kept as buffers, read by programs that share the state."""

import numpy as np
import pytest

import oflow as of

SEED = 515
BATCH, CHANNELS = 12, 5


class Net(of.nn.Module):
    """Images x (n, 2, 6, 6) -> scores (n, 3)."""

    def __init__(self, momentum=0.1):
        super().__init__()
        self.conv = of.nn.Conv2d(2, CHANNELS, 3, padding="same", bias=False, dtype="float64")
        self.norm = of.nn.BatchNorm2d(CHANNELS, momentum=momentum, dtype="float64")
        self.head = of.nn.Linear(CHANNELS, 3, dtype="float64")

    def features(self, x):
        return of.relu(self.norm(self.conv(x)))

    def classify(self, h):
        return self.head(of.reshape(of.global_avg_pool2d(h), (h.shape[0], CHANNELS)))

    def forward(self, x):
        return self.classify(self.features(x))


def batches(count=3):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    return [(3 + 2 * random.standard_normal((BATCH, 2, 6, 6)), random.integers(0, 3, BATCH)) for _ in range(count)]


def program(net, where, sbp, fn=None, **options):
    specs = of.spec((BATCH, 2, 6, 6), "float64", where, sbp), of.spec((BATCH,), "int64", where, sbp)
    return of.compile(fn or (lambda x, y: of.cross_entropy(net(x), y)), *specs, optimizer=of.optim.SGD(lr=0.1), **options)


def trained(net, where, sbp, **options):
    with program(net, where, sbp, **options) as step:
        return np.array([step(*batch) for batch in batches()]), step.state_dict()


ONE, FOUR = of.placement("cpu", [0]), of.placement("cpu", [0, 1, 2, 3])


def agree(found, wanted):
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-10)
    assert set(found[1]) == set(wanted[1])
    for name, value in wanted[1].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-8, atol=1e-12, err_msg=name)


def test_running_statistics_are_moving_averages_of_the_batches():
    net = Net()
    mean, variance = np.zeros(CHANNELS), np.ones(CHANNELS)
    with program(net, ONE, of.B) as step:
        for x, y in batches():
            weight = step.state_dict()["conv.weight"]
            step(x, y)
            seen = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))
            made = np.einsum("nchwij,ocij->nohw", seen, weight)
            mean = 0.9 * mean + 0.1 * made.mean((0, 2, 3))
            variance = 0.9 * variance + 0.1 * made.var((0, 2, 3), ddof=1)
        state = step.state_dict()
    np.testing.assert_allclose(state["norm.running_mean"], mean, rtol=1e-10)
    np.testing.assert_allclose(state["norm.running_var"], variance, rtol=1e-10)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_batch_may_be_split(momentum):
    agree(trained(Net(momentum), FOUR, of.S(0)), trained(Net(momentum), ONE, of.B))


def test_the_channels_may_be_split():
    net = Net()
    net.conv.to_global(FOUR, of.S(0))
    net.norm.to_global(FOUR, of.S(0))
    net.head.to_global(FOUR, of.B)
    agree(trained(net, FOUR, of.B), trained(Net(), ONE, of.B))


def test_batch_and_channels_split_on_a_grid():
    grid, net = of.placement("cpu", [[0, 1], [2, 3]]), Net()
    net.conv.to_global(grid, (of.B, of.S(0)))
    agree(trained(net, grid, (of.S(0), of.B)), trained(Net(), ONE, of.B))


def test_micro_batches_wait_for_the_statistics_under_gpipe():
    agree(trained(Net(), ONE, of.B, micro_batches=4, schedule="gpipe"), trained(Net(), ONE, of.B))


def test_a_pipeline_with_batch_norm_in_the_first_stage():
    net, first, second = Net(), of.placement("cpu", [0, 1]), of.placement("cpu", [2])
    net.conv.to_global(first, of.B)
    net.norm.to_global(first, of.B)
    net.head.to_global(second, of.B)

    def staged(x, y):
        with of.stage(0):
            h = net.features(x)
        with of.stage(1):
            return of.cross_entropy(net.classify(h), y)

    specs = of.spec((BATCH, 2, 6, 6), "float64", first, of.S(0)), of.spec((BATCH,), "int64", second, of.B)
    with of.compile(staged, *specs, optimizer=of.optim.SGD(lr=0.1), micro_batches=2, schedule="gpipe") as step:
        found = np.array([step(*batch) for batch in batches()]), step.state_dict()
    agree(found, trained(Net(), ONE, of.B))


def test_other_schedules_cannot_wait():
    with pytest.raises(of.SbpError, match=r"complete only after all 4 of them.*gpipe") as caught:
        program(Net(), ONE, of.B, micro_batches=4, schedule="1f1b")
    assert "test_batch_norm.py" in str(caught.value)


def test_evaluation_reads_the_buffers_of_the_program_whose_state_it_shares(tmp_path):
    net = Net()
    with program(net, FOUR, of.S(0)) as step:
        for batch in batches():
            step(*batch)
        x = batches(1)[0][0]
        net.eval()
        with of.compile(lambda x: net(x), of.spec(x.shape, "float64", FOUR, of.S(0)), state=step) as evaluate:
            before = evaluate(x)
            state = step.state_dict()
            names = ("running_mean", "running_var", "weight", "bias")
            mean, variance, weight, bias = (state[f"norm.{name}"][:, None, None] for name in names)
            h = (step_features(x, state) - mean) / np.sqrt(variance + 1e-5)
            h = np.maximum(h * weight + bias, 0).mean((2, 3))
            np.testing.assert_allclose(before, h @ state["head.weight"].T + state["head.bias"], rtol=1e-10)
            np.testing.assert_array_equal(evaluate(x), before)  # evaluation moves no statistics
            step(*batch)
            assert not np.array_equal(evaluate(x), before)
        step.save(tmp_path / "net")
        wanted = step.state_dict()
    with program(net.train(), ONE, of.B) as other:
        other.load_state_dict(of.load(tmp_path / "net"))
        assert set(other.state_dict()) >= {"norm.running_mean", "norm.running_var"}
        for name, value in other.state_dict().items():
            np.testing.assert_array_equal(value, wanted[name], err_msg=name)


def step_features(x, state):
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))
    return np.einsum("nchwij,ocij->nohw", seen, state["conv.weight"])


def test_a_buffer_that_was_written_is_read_as_written():
    class Counter(of.nn.Module):
        def __init__(self):
            super().__init__()
            self.count = of.nn.Buffer((), "float64")

        def forward(self, x):
            self.count = self.count + 1.0
            self.count = self.count + 10.0
            return x * self.count

    net = Counter()
    with of.compile(lambda x: net(x), of.spec((2,), "float64", ONE, of.B)) as program:
        np.testing.assert_array_equal(program(np.ones(2)), [11.0, 11.0])
        np.testing.assert_array_equal(program(np.ones(2)), [22.0, 22.0])
        assert program.state_dict()["count"] == 22.0


@pytest.mark.parametrize("shape, axis", [((4, 3), 1), ((4, 3, 5), 1), ((2, 4, 3, 6), -1)])
def test_batch_norm_is_its_definition(shape, axis):
    x = np.random.default_rng(SEED).standard_normal(shape) + 1e3
    weight, bias = np.arange(1.0, 4), np.arange(3.0)
    specs = [of.spec(a.shape, "float64", ONE, of.B) for a in (x, weight, bias)] if axis == 1 or shape[axis] == 3 else None
    if specs is None:
        weight, bias = np.arange(1.0, 1 + shape[axis]), np.arange(float(shape[axis]))
        specs = [of.spec(a.shape, "float64", ONE, of.B) for a in (x, weight, bias)]
    with of.compile(lambda x, w, b: of.batch_norm(x, w, b, eps=1e-3, axis=axis), *specs) as program:
        y, mean, variance = program(x, weight, bias)
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    along = [1] * x.ndim
    along[axis] = -1
    np.testing.assert_allclose(mean, x.mean(others), rtol=1e-12)
    np.testing.assert_allclose(variance, x.var(others), rtol=1e-10)
    wanted = (x - x.mean(others, keepdims=True)) / np.sqrt(x.var(others, keepdims=True) + 1e-3)
    np.testing.assert_allclose(y, wanted * weight.reshape(along) + bias.reshape(along), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("sbp", [of.B, of.S(0), of.S(1)])
def test_group_and_instance_norm(sbp):
    x, two = np.random.default_rng(SEED).standard_normal((4, 6, 3, 2)), of.placement("cpu", [0, 1])
    weight = np.arange(6.0)

    def norms(x, weight):
        return of.group_norm(x, 2, weight, weight), of.instance_norm(x, weight, weight), of.group_norm(x, 6)

    with of.compile(norms, of.spec(x.shape, "float64", two, sbp), of.spec((6,), "float64", two, of.B)) as program:
        grouped, each, plain = program(x, weight)
    apart = x.reshape(4, 2, 18)
    wanted = ((apart - apart.mean(-1, keepdims=True)) / np.sqrt(apart.var(-1, keepdims=True) + 1e-5)).reshape(x.shape)
    np.testing.assert_allclose(grouped, (wanted + 1) * weight[:, None, None], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(each, (plain + 1) * weight[:, None, None], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(plain.mean((2, 3)), 0, atol=1e-12)


def test_errors():
    two = of.spec((2, 6, 3, 3), "float32", ONE, of.B)
    with pytest.raises(of.ShapeError, match="4 equal groups"):
        of.compile(lambda x: of.group_norm(x, 4), two)
    norm = of.nn.BatchNorm2d(5)
    with pytest.raises(of.ShapeError, match="6 channels"):
        of.compile(lambda x: norm(x), two)
    with pytest.raises(of.ShapeError, match="takes tensors of 4 axes"):
        of.compile(lambda x: norm(x), of.spec((5, 5), "float32", ONE, of.B))
