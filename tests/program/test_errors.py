"""Every mistake of a user is named at the user's line, with the reason and a remedy, and leaves nothing half done."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oflow as of
from tests.program.nets import FOUR, LEFT, ONE, RIGHT, batches, classifier

F64 = "float64"
NAMED = of.placement("cpu", [[0, 1], [2, 3]], names=("data", "tensor"))


def here(offset: int = 0) -> str:
    """file:line of the caller, `offset` lines further down."""
    return f"test_errors.py:{sys._getframe(1).f_lineno + offset}"


def refused(kind: type[of.OflowError], line: str, *words: str) -> Callable[[Callable[[], object]], None]:
    """Runs a function that must raise `kind`, at `line`, with all `words` in the message."""

    def check(call: Callable[[], object]) -> None:
        with pytest.raises(kind) as caught:
            call()
        message = str(caught.value)
        assert message.startswith(f"{line}: "), (line, message)
        assert caught.value.line == line
        for word in words:
            assert word in message, (word, message)

    return check


def test_shapes_that_do_not_fit() -> None:
    line = here(3)

    def f(a, b):
        return a @ b

    call = lambda: of.compile(f, of.spec((4, 5), F64), of.spec((6, 7), F64))  # noqa: E731
    refused(of.ShapeError, line, "matmul of f64[4, 5], f64[6, 7]", "is 5 in", "and 6 in")(call)


def test_dtypes_that_differ() -> None:
    line = here(3)

    def f(a, b):
        return a + b

    call = lambda: of.compile(f, of.spec((4,), "float32"), of.spec((4,), F64))  # noqa: E731
    refused(of.ShapeError, line, "float32 and float64", "does not promote", "of.cast")(call)


def test_an_unknown_dtype_and_a_negative_size() -> None:
    refused(of.ShapeError, here(), "complex64 is not supported", "float32")(lambda: of.spec((3,), "complex64"))
    refused(of.ShapeError, here(), "sizes >= 0", "-1")(lambda: of.spec((3, -1)))


def test_an_sbp_that_does_not_fit_the_tensor() -> None:
    refused(of.SbpError, here(), "S(2)", "(4, 5)")(lambda: of.spec((4, 5), F64, FOUR, of.S(2)))
    refused(of.SbpError, here(), "1 mesh axes but 2 Sbp")(lambda: of.spec((4, 5), F64, FOUR, (of.S(0), of.B)))
    layer = of.nn.Linear(3, 4)
    refused(of.SbpError, here(), "kept state", "is stored whole", "S(i) or B")(lambda: layer.weight.to_global(FOUR, of.P))
    line = here(3)

    def f(a):
        return a.to_global(FOUR, of.S(3))

    words = "S(3)", "(4, 5)", "it may be B, S(0) (of 4), S(1) (of 5) or P"
    refused(of.SbpError, line, *words)(lambda: of.compile(f, of.spec((4, 5), F64, FOUR, of.B)))


def test_operands_on_different_devices() -> None:
    line = here(3)

    def f(a, b):
        return a + b

    call = lambda: of.compile(f, of.spec((4,), F64, LEFT, of.B), of.spec((4,), F64, RIGHT, of.B))  # noqa: E731
    words = (
        "add runs on one placement, and its operands are on 2. It could run",
        'on cpu:0-1: input1 is on cpu:2-3; move it with t.to_global(of.placement("cpu", [0, 1]), sbp)',
        'on cpu:2-3: input0 is on cpu:0-1; move it with t.to_global(of.placement("cpu", [2, 3]), sbp)',
        "or in a pipeline stage: with of.stage(i)",
    )
    refused(of.PlacementError, line, *words)(call)


def test_a_parameter_on_other_devices_than_what_it_works_on() -> None:
    layer = of.nn.Linear(3, 4)
    layer.to_global(RIGHT, of.B)
    line = here(3)

    def f(x):
        return layer(x)

    words = "matmul runs on one placement", "on cpu:0-1: parameter weight is on cpu:2-3", "on cpu:2-3: input0 is on cpu:0-1"
    refused(of.PlacementError, line, *words)(lambda: of.compile(f, of.spec((2, 3), "float32", LEFT, of.B)))


def test_stages_without_a_placement() -> None:
    layer = of.nn.Linear(3, 4)
    layer.to_global(RIGHT, of.B)
    line = here(6)

    def f(x):
        with of.stage(0):
            h = layer(x)
        with of.stage(1):
            return of.relu(h)

    words = "stage 1 has no placement (stage 0 is on cpu:2-3 by weight)", "annotate a parameter in it or use t.to_global in it"
    refused(of.PlacementError, line, *words)(lambda: of.compile(f, of.spec((2, 3), "float32", LEFT, of.B)))
    line = here(4)

    def g(x):
        for i in range(3):
            with of.stage(i): x = of.relu(x)  # noqa: E701
        return x

    words = "first input's 2 devices cannot be dealt out evenly to 3 stages", "a placement of 3, 6, ... devices"
    refused(of.PlacementError, line, *words)(lambda: of.compile(g, of.spec((2, 3), "float32", LEFT, of.B)))


# ---------------------------------------------------------------- every signature, and why it does not fit

rowwise = of.op(
    "test_rowwise_update", rule="i! j, i! j -> i! j", inplace={0: 0}, example=lambda: [of.Example((np.ones((2, 3)), np.ones((2, 3))))]
)
"""Rewrites a weight by whole columns."""


@rowwise.kernel
def _(out: np.ndarray, w: np.ndarray, g: np.ndarray) -> None:
    out -= g


class ByColumns:
    """An optimizer whose update cannot be split along axis 0."""

    lr, clip_norm = 0.1, None

    def update(self, w, g, **_):
        return {"": rowwise(w, g)}


@pytest.mark.parametrize(
    ("where", "sbp", "words"),
    [
        (LEFT, of.S(0), ("no signature rewrites weight in its home S(0). It has",
                         "B,B -> B · S(1),S(1) -> S(1): weight would have to live there, its home is S(0)",
                         "Annotate weight with B or S(1)")),
        (NAMED, {"tensor": of.S(0)}, ("on cpu:0-3 (data=2,tensor=2)", "weight in its home data=B, tensor=S(0). It has",
                                      "(S(1),B),(S(1),B) -> (S(1),B)", "Annotate weight with data=B, tensor=B or data=B, tensor=S(1)")),
    ],
    ids=["one axis", "two named axes"],
)  # fmt: skip
def test_state_that_cannot_be_rewritten_where_it_lives(where: of.Placement, sbp: object, words: tuple[str, ...]) -> None:
    layer = of.nn.Linear(3, 4, bias=False)
    layer.to_global(where, sbp)
    line = here(3)

    def f(x):
        return of.mean(layer(x))

    refused(of.SbpError, line, "test_rowwise_update of f32[4, 3], f32[4, 3]", *words)(
        lambda: of.compile(f, of.spec((2, 3), "float32", where, {}), optimizer=ByColumns())
    )
    layer.to_global(where, {1 if where is NAMED else 0: of.S(1)})  # the remedy is one
    assert of.compile(f, of.spec((2, 3), "float32", where, {}), optimizer=ByColumns()).plan.check().deadlock_free


def test_a_parameter_annotated_with_a_partial() -> None:
    layer = of.nn.Linear(3, 4)
    words = "kept state is stored whole", "not P@cpu:0-3", "could not rewrite it alone", "it takes B, S(0) (of 4), S(1) (of 3)"
    refused(of.SbpError, here(), *words)(lambda: layer.weight.to_global(FOUR, of.P))
    refused(of.SbpError, here(), "kept state of weight", "S(1) (of 3)")(lambda: layer.to_global(FOUR, of.P("max")))


def test_micro_batches_that_cannot_be_joined() -> None:
    line = here(3)

    def f(a):
        return of.cumsum(a.T, axis=1)

    words = (
        "cumsum of f64[3, 6] cannot be cut into 2 micro-batches",
        f"needs the result of transpose at {line} as B on the micro-batch axis, where it is S(1). It has",
        f"S(0) -> S(0): the result of transpose at {line} would have to be S(0), it is S(1)",
        f"P -> P: the result of transpose at {line} would have to be P, it is S(1)",
        "Keep the batch on axis 0 up to here, or use micro_batches=1",
    )
    refused(of.SbpError, line, *words)(lambda: of.compile(f, of.spec((6, 3), F64), micro_batches=2))
    line = here(3)

    def g(a):
        return a.T

    words = f"the result of transpose at {line} leaves the step whole, and it is S(1)", "Keep the batch on axis 0"
    refused(of.SbpError, line, *words)(lambda: of.compile(g, of.spec((6, 3), F64), micro_batches=2))


def test_a_barrier_over_micro_batches() -> None:
    line = here(4)

    def f(a):
        total = of.sum(a, axis=0)
        return a - total

    words = "sub works micro-batch by micro-batch and needs the result of sum at test_errors.py:", "all 2 of them", "schedule='gpipe'"
    refused(of.SbpError, line, *words)(lambda: of.compile(f, of.spec((6, 3), F64), micro_batches=2))
    assert of.compile(f, of.spec((6, 3), F64), micro_batches=2, schedule="gpipe").plan.check().deadlock_free  # the remedy is one


def test_options_that_are_not_there() -> None:
    refused(of.PlanError, here(), "layout='best' is not known", "layout='auto'")(lambda: of.compile(of.relu, of.spec((4,)), layout="best"))
    def said(kind: type[of.OflowError], *words: str, **facts: Any) -> None:
        refused(kind, here(), *words)(lambda: of.compile(of.relu, of.spec((4,)), **facts))

    for many in (0, "2", 2.0):
        said(of.ShapeError, f"a whole number >= 1, got {many!r}", micro_batches=many)
    for nbytes in ("8GB", -1, 0, True, 10.5):
        said(of.PlanError, f"memory={nbytes!r} is no number of bytes", "memory=16 << 30", memory=nbytes)
    for name in ("1F1B", 3):
        said(of.PlanError, f"there is no schedule {name!r}", "1f1b", "of.Schedule", schedule=name)
    for seed in ("a", 1.5, None, True):
        said(of.PlanError, f"seed={seed!r} is no whole number", "seed=0", seed=seed)
    for strict in (1, "yes", None):
        said(of.PlanError, f"strict={strict!r} is not known", "strict=True", strict=strict)
    said(of.PlanError, "no machine preset 'h200'", "'h100'", "'measured'", machine="h200")
    said(of.PlanError, "no executor 'gpu'; there are native, processes, threads, simulator", executor="gpu")
    said(of.PlanError, "no BLAS 'cublas'; there are numpy, mkl", blas="cublas")
    assert of.compile(of.relu, of.spec((4,)), memory=16e6).plan.machine.device("cpu:0").memory_nbytes == 16_000_000  # as a word says it


def test_a_schedule_for_another_program() -> None:
    layer = of.nn.Linear(2, 2)

    def f(a):
        return of.sum(layer(a))

    other = of.Schedule.from_csv("0F0,0B0")
    words = "is for stages [0] on 1 ranks and 1 micro-batches", "1 stages on 1 ranks and 2 micro-batches"
    build = lambda: of.compile(f, of.spec((4, 2)), optimizer=of.optim.SGD(lr=0.1), micro_batches=2, schedule=other)  # noqa: E731
    refused(of.PlanError, here(-1), *words)(build)


def test_a_placement_that_cannot_be() -> None:
    refused(of.PlacementError, here(), "1 to 4 axes, got 5")(lambda: of.placement("cpu", [[[[[0, 1]]]]]))
    refused(of.PlacementError, here(), "needs 2 names, got 1: data")(lambda: of.placement("cpu", [[0, 1]], names=("data",)))
    refused(of.PlacementError, here(), "different names, got 'a' twice")(lambda: of.placement("cpu", [[0, 1]], names=("a", "a")))
    refused(of.SbpError, here(), "no mesh axis 'model'", "'data' of 2, 'tensor' of 2")(lambda: of.spec((4,), F64, NAMED, {"model": of.B}))
    refused(of.SbpError, here(), "a mean is P", "of.mean")(lambda: of.P("mean"))
    refused(of.SbpError, here(), "count axes from 0")(lambda: of.S(-1))
    for ranks, word in [([0, 0], "distinct"), ([[0, 1], [2]], "equal lengths"), ([-1], "distinct numbers >= 0")]:
        refused(of.PlacementError, here(), word)(lambda ranks=ranks: of.placement("cpu", ranks))
    refused(of.PlacementError, here(), "unknown device kind 'tpu'", "'cuda'")(lambda: of.placement("tpu", [0]))


def test_two_placements_in_one_stage() -> None:
    up, down = of.nn.Linear(3, 4), of.nn.Linear(4, 5)
    up.to_global(LEFT, of.B)
    down.to_global(RIGHT, of.B)
    line = here(4)

    def f(x):
        with of.stage(0):
            return down(up(x))

    call = lambda: of.compile(f, of.spec((2, 3), "float32", LEFT, of.B))  # noqa: E731
    refused(of.PlanError, line, "stage 0", "cpu:0-1", "cpu:2-3", "annotate both alike")(call)


def test_no_kernel_for_the_device_kind() -> None:
    gpu = of.placement("cuda", [0])
    line = here(3)

    def f(a):
        return of.relu(a)

    program = of.compile(f, of.spec((4,), F64, gpu, of.B))
    assert program.plan.check().deadlock_free  # the plan exists and can be looked at
    refused(of.KernelMissing, line, "relu", "no kernel for cuda devices", "placement")(lambda: program(np.zeros(4)))


def test_too_little_memory() -> None:
    small = of.Machine("small", {"cpu": of.Device(memory_nbytes=100_000), "host": of.Device()})

    def f(x):
        return of.max(x * 2.0)

    with pytest.raises(of.OutOfMemory) as caught:
        of.compile(f, of.spec((64, 512), F64), machine=small)
    message = str(caught.value)
    assert "cpu:0 has 100,000 bytes of memory, the plan needs " in message
    assert re.search(r"524,288 bytes  2 x f64\[64, 512\]  input0\S* \(arena\) test_errors\.py:\d+  copies\n", message), message
    assert "262,144 bytes  scratch of stream cpu:0/compute" in message
    assert "micro_batches=2: each slot of a micro-batch is half as large; not enough alone" in message
    assert "still missing: use more devices" in message
    split = of.spec((64, 512), F64, of.placement("cpu", list(range(8))), of.S(0))
    assert of.compile(f, split, machine=small, micro_batches=4).plan.check().deadlock_free  # the remedy is one


def test_a_batch_that_cannot_be_cut() -> None:
    line = here(1)
    spec = of.spec((10, 3), F64)
    words = "batch of 10", "into 4 equal micro-batches", "micro_batches=5", "of.data.pad"
    refused(of.ShapeError, line, *words)(lambda: of.compile(lambda x: x, spec, micro_batches=4))


@pytest.mark.parametrize(
    "branch", [lambda a: 1 if a > 0 else 0, lambda a: float(a), lambda a: int(a), lambda a: list(a), lambda a: np.sin(a)],
    ids=["if", "float", "int", "iterate", "numpy"],
)  # fmt: skip
def test_python_that_needs_values(branch: Callable) -> None:
    line = f"test_errors.py:{branch.__code__.co_firstlineno}"

    def f(a):
        branch(a)
        return a

    with pytest.raises((of.TraceError, TypeError)) as caught:
        of.compile(f, of.spec((), F64))
    if branch.__code__.co_names != ("np", "sin"):  # NumPy refuses by itself: Tensor declares no ufuncs
        assert str(caught.value).startswith(f"{line}: ")
        assert "of.where" in str(caught.value) or "of.tap" in str(caught.value)


def test_python_branching_names_where() -> None:
    line = here(3)

    def f(a):
        return a if a > 0 else -a

    refused(of.TraceError, line, "a branch", "runs once", "of.where(condition, a, b)")(lambda: of.compile(f, of.spec((), F64)))


def test_a_function_that_returns_no_tensor() -> None:
    line = here(2)

    def f(a):
        return 3.0

    refused(of.TraceError, line, "returns a Tensor, a tuple or a dict", "float")(lambda: of.compile(f, of.spec((2,), F64)))


def test_a_loss_that_is_no_scalar() -> None:
    layer = of.nn.Linear(3, 4)
    line = here(3)

    def f(x):
        return of.relu(x @ layer.weight.T)

    call = lambda: of.compile(f, of.spec((2, 3)), optimizer=of.optim.SGD(lr=0.1))  # noqa: E731
    refused(of.TraceError, line, "the first output is the loss, a float scalar", "of.mean or of.sum")(call)


def test_a_parameter_without_a_gradient() -> None:
    layer = of.nn.Linear(3, 4)
    line = here(3)

    def f(x):
        return of.sum(hard(x @ layer.weight.T))

    call = lambda: of.compile(f, of.spec((2, 3)), optimizer=of.optim.SGD(lr=0.1))  # noqa: E731
    refused(of.TraceError, line, "parameter weight", "test_hard is not differentiable", "of.nn.Buffer")(call)


hard = of.op("test_hard", rule="i j -> i j", example=lambda: [of.Example((np.arange(6.0).reshape(2, 3),))])
"""1 where a number is positive, else 0; without a gradient."""


@hard.kernel
def _(out: np.ndarray, x: np.ndarray) -> None:
    np.greater(x, 0, out=out)


@pytest.mark.parametrize("layout", ["single", "data", "pipeline"])
def test_nan_where_it_is_refused(layout: str) -> None:
    x, y = batches(1)[0]
    with classifier(layout, micro_batches=2, refuse_nan=True) as step:
        good = step(x, y)
        saved = step.state_dict()
        x[3, 2] = np.nan
        with pytest.raises(of.NotFiniteError, match=r"^nets\.py:\d+: \w+ made NaN or infinity; lower the learning rate") as caught:
            step(x, y)
        assert re.fullmatch(r"nets\.py:\d+", caught.value.line)
        with pytest.raises(of.ProgramFailed):
            step(x, y)
        step.load_state_dict(saved)
        x[3, 2] = 0.0
        assert np.isfinite(step(x, y)) and np.isfinite(good)
    with classifier(layout, micro_batches=2) as step:
        x[3, 2] = np.nan
        assert np.isnan(step(x, y))


def test_arrays_that_do_not_fit_the_program() -> None:
    with classifier("data") as step:
        x, y = batches(1)[0]
        before = step.state_dict()
        for wrong, words in [
            ((x[:3], y), ("input 0 is float64[3, 6]", "f64[12, 6]", "of.compile(..., state=step)")),
            ((x.astype("float32"), y), ("input 0 is float32[12, 6]", "convert")),
            ((x,), ("takes 2 inputs, got 1",)),
        ]:
            refused(of.ShapeError, here(), *words)(lambda wrong=wrong: step(*wrong))
        assert all((before[name] == value).all() for name, value in step.state_dict().items())
        assert np.isfinite(step(x, y))


def test_unknown_names() -> None:
    with pytest.raises(of.PlanError, match=r"no executor 'gpu'; there are native, processes, threads, simulator"):
        of.compile(lambda x: x, of.spec((2,)), executor="gpu")
    with pytest.raises(of.PlanError, match=r"no schedule 'zigzag'; there are gpipe, 1f1b"):
        classifier("pipeline", schedule="zigzag", micro_batches=2)
    wrong = of.Schedule.from_csv("0F0,0B0\n1F0,1B0\n")
    with pytest.raises(of.PlanError, match=r"on 2 ranks and 1 micro-batches, the program has 2 stages on 2 ranks and 2"):
        classifier("pipeline", schedule=wrong, micro_batches=2)
    with pytest.raises(of.ShapeError, match=r"described by of\.spec\(shape, dtype, placement, sbp\), got \(2, 3\)"):
        of.compile(lambda x: x, (2, 3))
    assert ONE.size == 1
