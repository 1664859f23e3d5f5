"""State: shared between programs, moved between layouts and files, refused after a failed step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import oflow as of
from tests.program.nets import BATCH, FOUR, HIDDEN, NARROW, ONE, WIDE, Net, annotate, batches, classifier

LAYOUTS = ("single", "data3", "tensor", "grid", "pipeline x tensor")


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def linear_net() -> Net:
    return Net(lambda inner, outer: of.nn.Linear(inner, outer, dtype="float64"))


def scorer(state: of.Program, layout: str, rows: int = BATCH) -> of.Program:
    """(x (rows, 6)) -> scores (rows, 5), with the parameters of another program, in a layout of its own."""
    model = linear_net()
    if not layout.startswith("pipeline"):
        (where, sbp), _ = annotate(model, layout)
    else:
        where, sbp = ONE, of.B
    return of.compile(lambda x: model.down(of.gelu(model.up(x))), of.spec((rows, WIDE), "float64", where, sbp), state=state)


def scores(state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The same in plain NumPy, with GELU in the tanh form."""
    h = x @ state["up.weight"].T + state["up.bias"]
    h = h * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    return h @ state["down.weight"].T + state["down.bias"]


@pytest.mark.parametrize("other", ["single", "tensor", "grid"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_program_reads_the_state_as_it_is_now(layout: str, other: str) -> None:
    data = batches(5)
    with classifier(layout, checked=True) as step, scorer(step, other) as read, scorer(step, "data3", rows=4) as few:
        for x, y in data:
            np.testing.assert_allclose(read(x), scores(step.state_dict(), x), rtol=1e-12, atol=1e-14)
            step(x, y)
        np.testing.assert_allclose(few(data[0][0][:4]), scores(step.state_dict(), data[0][0][:4]), rtol=1e-12, atol=1e-14)
        assert equal(read.state_dict(), step.state_dict())


@pytest.mark.parametrize("layout", ["single", "pipeline x data"])
def test_evaluation_inside_a_stream_sees_whole_steps(layout: str) -> None:
    """It finishes the steps that were begun, reads, and the loop goes on with nothing lost."""
    data = batches(9)
    with classifier(layout, micro_batches=2) as step:
        expected = list(step.stream(data))
    with classifier(layout, micro_batches=2) as step, scorer(step, "tensor") as read:
        got = []
        for number, loss in enumerate(step.stream(data)):
            got.append(loss)
            if number % 3 == 1:
                state = step.state_dict()
                np.testing.assert_allclose(read(data[0][0]), scores(state, data[0][0]), rtol=1e-12, atol=1e-14)
                assert state["optimizer.step"] >= number + 1
        assert got == expected


def test_two_programs_that_train_one_state_take_turns() -> None:
    model = linear_net()
    data = batches(6)

    def loss(x, y):
        return of.cross_entropy(model.down(of.gelu(model.up(x))), y)

    specs = of.spec((BATCH, WIDE), "float64"), of.spec((BATCH,), "int64")
    sgd = of.optim.SGD(lr=0.1)
    with of.compile(loss, *specs, optimizer=sgd) as a, of.compile(loss, *specs, optimizer=sgd, state=a, micro_batches=4) as b:
        losses = [(a if i % 2 else b)(x, y) for i, (x, y) in enumerate(data)]
        state = a.state_dict()
        assert equal(state, b.state_dict())
    with of.compile(loss, *specs, optimizer=sgd) as alone:
        np.testing.assert_allclose([alone(x, y) for x, y in data], losses, rtol=1e-12)


def test_a_second_trainer_must_keep_the_home_layout() -> None:
    with classifier("single") as step:
        step(*batches(1)[0])
        other = classifier("tensor", state=step)
        with pytest.raises(of.PlanError, match=r"up\.weight lives in B@cpu:0; a program that updates it must keep it there"):
            other(*batches(1)[0])
        step(*batches(1)[0])


def test_a_shared_parameter_of_another_shape_is_refused() -> None:
    model = of.nn.Linear(WIDE, NARROW, dtype="float64")
    outer = of.nn.Sequential(model)

    class Renamed(of.nn.Module):
        def __init__(self):
            super().__init__()
            self.up = of.nn.Linear(WIDE, HIDDEN + 1, dtype="float64")

    other = Renamed()
    with classifier("single") as step:
        step.state_dict()
        wrong = of.compile(lambda x: other.up(x), of.spec((2, WIDE), "float64"), state=step)
        with pytest.raises(of.ShapeError, match=r"up\.weight is f64\[11, 6\] here and f64\[10, 6\] in the program"):
            wrong(np.zeros((2, WIDE)))
        assert len(outer) == 1


@pytest.mark.parametrize("to", LAYOUTS)
@pytest.mark.parametrize("source", ["tensor", "pipeline x tensor"])
def test_checkpoints_move_between_layouts(source: str, to: str, tmp_path: Path) -> None:
    data = batches(6)
    with classifier(source, seed=3) as step:
        for x, y in data[:3]:
            step(x, y)
        step.save(tmp_path / "checkpoint")
        step.save(tmp_path / "checkpoint")  # replaces
        saved = step.state_dict()
        expected = [step(x, y) for x, y in data[3:]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint"]
    loaded = of.load(tmp_path / "checkpoint")
    assert equal(loaded, saved)
    with classifier(to, seed=8) as step:
        step.load_state_dict(loaded)
        assert equal(step.state_dict(), saved)
        np.testing.assert_allclose([step(x, y) for x, y in data[3:]], expected, rtol=1e-10)


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    with classifier("tensor") as step:
        before = step.state_dict()
        wrong = {**before, "up.bias": np.zeros(HIDDEN + 1)}
        for bad, message in [
            ({n: v for n, v in before.items() if n != "up.bias"}, r"missing \['up.bias'\], unknown nothing"),
            ({**before, "extra": np.zeros(1)}, r"unknown \['extra'\]"),
            (wrong, r"up.bias is f64\[10\], the loaded value has shape \(11,\)"),
        ]:
            with pytest.raises(of.ShapeError, match=message):
                step.load_state_dict(bad)
        assert equal(step.state_dict(), before)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    with classifier("single") as step:
        step.save(tmp_path / "c")
    file = tmp_path / "c" / "state.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(of.OflowError, match="damaged"):
        of.load(tmp_path / "c")
    with pytest.raises(of.OflowError, match="not a checkpoint"):
        of.load(tmp_path)


def test_state_starts_alike_in_every_layout_and_depends_on_the_seed() -> None:
    states = [classifier(layout, seed=5).state_dict() for layout in LAYOUTS]
    assert all(equal(states[0], other) for other in states[1:])
    other = classifier("single", seed=6).state_dict()
    assert not (other["up.weight"] == states[0]["up.weight"]).any()


# ---------------------------------------------------------------- failures

fragile = of.op("test_fragile", rule="i, i -> i", example=lambda: [of.Example((np.ones(5), np.ones(5)))])
"""a + b, but a number above 1000 in `a` is an error of the kernel."""


@fragile.kernel
def _(out: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    if a.size and a.max() > 1000:
        raise ArithmeticError("a number above 1000")
    np.add(a, b, out=out)


@fragile.grad
def _(g, y, a, b):
    return [None, g]


def fragile_program(**options) -> of.Program:
    weight = of.nn.Module()
    weight.w = of.nn.Parameter((8,), "float64", "ones")

    def loss(x):
        return of.sum(of.square(fragile(x, weight.w)))  # the line of the failure

    return of.compile(loss, of.spec((8,), "float64", FOUR, of.S(0)), optimizer=of.optim.SGD(lr=0.25), **options)


@pytest.mark.parametrize("options", [{}, {"workers": 0}, {"executor": "simulator"}], ids=["threads", "no thread", "simulator"])
def test_a_failed_step_is_named_and_refused_until_a_state_is_loaded(options: dict) -> None:
    good, bad = np.ones(8), np.full(8, 2000.0)
    with fragile_program(**options) as step:
        step(good)
        saved = step.state_dict()
        with pytest.raises(ArithmeticError, match="a number above 1000") as caught:
            step(bad)
        assert any("in test_fragile at test_state.py:" in note for note in caught.value.__notes__)
        for _ in range(2):
            with pytest.raises(of.ProgramFailed, match=r"ArithmeticError: a number above 1000.*load_state_dict"):
                step(good)
        step.load_state_dict(saved)
        assert equal(step.state_dict(), saved)
        after = step(good)
        loaded = step.state_dict()
    with fragile_program(**options) as fresh:
        fresh(good)
        assert fresh(good) == after
        assert equal(fresh.state_dict(), loaded)


def test_a_failure_without_state_to_write_is_no_lasting_one() -> None:
    with of.compile(lambda a, b: fragile(a, b), of.spec((8,), "float64"), of.spec((8,), "float64")) as program:
        with pytest.raises(ArithmeticError):
            program(np.full(8, 2000.0), np.ones(8))
        np.testing.assert_array_equal(program(np.ones(8), np.ones(8)), 2.0)


def test_a_failure_in_a_stream_surfaces_in_the_loop() -> None:
    good, bad = np.ones(8), np.full(8, 2000.0)
    with fragile_program() as step:
        losses = []
        with pytest.raises(ArithmeticError):
            for loss in step.stream([(good,), (good,), (good,), (bad,), (good,)]):
                losses.append(loss)
        assert len(losses) <= 3
        with pytest.raises(of.ProgramFailed):
            step(good)
