"""Update rules against plain NumPy, schedules against their formula."""

import math

import numpy as np
import pytest

from oflow.backends.reference import evaluate
from oflow.errors import TraceError
from oflow.frontend import optim
from oflow.graph import Builder
from oflow.ops.tensor import Tensor
from oflow.types import TensorType

W = TensorType((3, 4), "float64")
SCALAR = TensorType((), "float64")


def source(builder, type, name):
    value = builder.value(type, name=name)
    builder.inputs.append(value.id)
    return Tensor(builder, value.id)


def run(optimizer, gradients, scale=None, shape=W.shape, lr=0.1):
    """The weight after these gradients, one update each, starting from ones."""
    type = TensorType(shape, "float64")
    values = {"": np.ones(shape)}
    for step, gradient in enumerate(gradients):
        builder, kept = Builder(), {}

        def state(suffix, builder=builder, kept=kept, type=type):
            return kept.setdefault(suffix, source(builder, type, suffix))

        weight, grad = source(builder, type, "w"), source(builder, type, "g")
        rate, count = source(builder, SCALAR, "lr"), source(builder, SCALAR, "step")
        given = source(builder, SCALAR, "scale") if scale is not None else None
        made = optimizer.update(weight, grad, name="a.weight", lr=rate, step=count, scale=given, state=state)
        assert set(made) == {"", *kept}
        builder.outputs = [(name, t.id) for name, t in made.items()]
        fed = [values[""], gradient, np.float64(lr), np.float64(step)] + ([np.float64(scale)] if scale is not None else [])
        fed += [values.get(suffix, np.zeros(shape)) for suffix in kept]
        values = evaluate(builder.build(), {}, [np.asarray(x) for x in fed])
    return values[""]


def gradients(shape=W.shape, count=3):
    return np.random.default_rng(5).standard_normal((count, *shape))


def test_sgd():
    w = np.ones(W.shape)
    for g in gradients():
        w = w - 0.1 * (g + 0.01 * w)
    np.testing.assert_allclose(run(optim.SGD(lr=0.1, weight_decay=0.01), gradients()), w, rtol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(nesterov):
    w, m = np.ones(W.shape), 0.0
    for g in gradients():
        g = 0.5 * g + 0.01 * w
        m = 0.9 * m + g
        w = w - 0.1 * (g + 0.9 * m if nesterov else m)
    found = run(optim.SGD(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov), gradients(), scale=0.5)
    np.testing.assert_allclose(found, w, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 4), (4,)])
def test_adamw_decays_matrices_only(shape):
    w, m, v = np.ones(shape), 0.0, 0.0
    for t, g in enumerate(gradients(shape), 1):
        g = 0.5 * g
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        w = w * (1 - 0.1 * 0.2 * (len(shape) > 1))
        w = w - 0.1 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
    optimizer = optim.AdamW(betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2)
    np.testing.assert_allclose(run(optimizer, gradients(shape), scale=0.5, shape=shape), w, rtol=1e-10)


def test_who_decays_can_be_chosen_by_name():
    never = optim.SGD(lr=0.1, weight_decay=0.5, decay=lambda name, shape: not name.startswith("a."))
    assert (run(never, np.zeros((1, *W.shape))) == 1).all()


@pytest.mark.parametrize("warmup", [0, 10])
def test_warmup_cosine(warmup):
    builder = Builder()
    step = source(builder, SCALAR, "step")
    builder.outputs = [("lr", optim.warmup_cosine(peak=2.0, warmup=warmup, total=50, floor=0.5)(step).id)]
    graph = builder.build()

    def expected(t):
        if t < warmup:
            return 2.0 * (t + 1) / warmup
        passed = min(1.0, (t - warmup) / (50 - warmup))
        return 0.5 + 0.75 * (1 + math.cos(math.pi * passed))

    for t in (0, 1, 9, 10, 11, 30, 50, 80):
        assert evaluate(graph, {}, [np.float64(t)])["lr"] == pytest.approx(expected(t), rel=1e-12), t


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: optim.SGD(lr=-1.0), "lr must be"),
        (lambda: optim.SGD(lr=0.1, momentum=1.0), "momentum must be"),
        (lambda: optim.AdamW(betas=(0.9, 1.0)), "beta2 must be"),
        (lambda: optim.AdamW(clip_norm=float("nan")), "clip_norm must be"),
        (lambda: optim.warmup_cosine(1.0, 10, 10), "shorter"),
    ],
)
def test_settings_out_of_range_are_refused_at_the_users_line(make, says):
    with pytest.raises(TraceError, match=says) as e:
        make()
    assert e.value.line.startswith("test_optim.py:")
