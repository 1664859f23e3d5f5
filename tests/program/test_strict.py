"""strict=True refuses what nobody asked for, says what to write, and accepts it once that is written."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oflow as of
from tests.program.nets import BATCH, FOUR, GRID, LAYOUTS, LEFT, NARROW, ONE, RIGHT, WIDE, Net, annotate, stage_of, whole_numbers

NAMED = of.placement("cpu", [[0, 1], [2, 3]], names=("data", "tensor"))
WRITE = re.compile(r"write t\.to_global\((.*?)\)( inside of\.stage\(\d\))?, where t is (.*?)(?:[;,\n].*)?$", re.M)
GRADIENT = re.compile(r"it is the gradient of t, (.*): write t\.to_global\((.*)\), which asks", re.M)


class Asking:
    """Layouts that an error told to ask for, by what they are for: `ask` stands wherever a user could write to_global."""

    def __init__(self) -> None:
        self.told: dict[str, list[str]] = {}

    def learn(self, error: of.SbpError) -> None:
        found = [(what + where, code) for code, where, what in WRITE.findall(str(error))] + GRADIENT.findall(str(error))
        assert found, error
        for what, code in found:
            assert code not in self.told.setdefault(what, []), f"told twice: {what}: {code}"
            self.told[what].append(code)

    def __call__(self, what: str, t: Any) -> Any:
        for code in self.told.get(what, ()):
            t = eval(f"t.to_global({code})", {"of": of, "t": t})
        return t


def accepted(make: Callable[..., of.Program]) -> tuple[of.Program, int]:
    """Do what the errors say until the program is accepted; returns it, and how many errors that took."""
    asking = Asking()
    for rounds in range(6):
        try:
            return make(asking, strict=True), rounds
        except of.SbpError as e:
            assert "strict=True" in str(e)
            asking.learn(e)
    raise AssertionError(f"still refused: {asking.told}")


def net(layout: str) -> Callable[..., of.Program]:
    """The exact net, in which every result can be asked to be elsewhere."""

    def make(ask: Asking, **options: Any) -> of.Program:
        model = Net()
        xs, ys = annotate(model, layout)
        stage = stage_of(layout)

        def loss(x, y):
            with stage(0):
                weight, bias = ask("parameter up.weight", model.up.weight), ask("parameter up.bias", model.up.bias)
                h = ask(f"the result of matmul at {here()}", x @ weight.T)
                h = ask(f"the result of add at {here()}", h + bias)
                h, relu = of.relu(h), f"the result of relu at {here()}"
                h = ask(relu, h)
            with stage(1):
                weight, bias = ask("parameter down.weight", model.down.weight), ask("parameter down.bias", model.down.bias)
                z = ask(f"the result of matmul at {here()}", ask(f"{relu} inside of.stage(1)", h) @ weight.T)
                z = ask(f"the result of add at {here()}", z + bias)
                return of.sum_squared_error(z, y)

        given = of.spec((BATCH, WIDE), "float64", *xs), of.spec((BATCH, NARROW), "float64", *ys)
        return of.compile(loss, *given, optimizer=of.optim.SGD(lr=2.0**-3), executor="simulator", **options)

    return make


def here() -> str:
    """file:line of the caller."""
    return f"test_strict.py:{sys._getframe(1).f_lineno}"


@pytest.mark.parametrize("layout", [one for one in LAYOUTS if not one.startswith(("single", "data"))])
def test_what_is_refused_is_accepted_when_it_is_asked_for(layout: str) -> None:
    make = net(layout)
    program, rounds = accepted(make)
    assert rounds >= 1
    assert all(one.asked for one in program.boxings())
    free, one_device = make(lambda _, t: t), net("single")(lambda _, t: t)
    for batch in whole_numbers(3):
        assert program(*batch) == free(*batch) == one_device(*batch)


@pytest.mark.parametrize("layout", ["single", "data", "data3"])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_data_parallel_programs_ask_for_all_by_their_annotations(layout: str, clip: float | None, micro_batches: int) -> None:
    model = Net(lambda inner, outer: of.nn.Linear(inner, outer, dtype="float64"))
    xs, ys = annotate(model, layout)
    program = of.compile(
        lambda x, y: of.cross_entropy(model.down(of.gelu(model.up(x))), y),
        of.spec((BATCH, WIDE), "float64", *xs), of.spec((BATCH,), "int64", *ys),
        optimizer=of.optim.AdamW(lr=1e-2, clip_norm=clip), micro_batches=micro_batches, strict=True,
    )  # fmt: skip
    assert all(one.asked for one in program.boxings())


def test_megatron_layout_asks_twice_a_block() -> None:
    """Column- then row-split weights: the sums behind the row-split ones are asked for, their twins in the backward pass follow."""
    up, down = of.nn.Linear(8, 16), of.nn.Linear(16, 8)
    up.weight.to_global(NAMED, {"tensor": of.S(0)})
    down.weight.to_global(NAMED, {"tensor": of.S(1)})

    def loss(x):
        h = of.relu(x).to_global(NAMED, {"data": of.S(0)})
        return of.mean(of.exp(down(of.gelu(up(h))).to_global(NAMED, {"data": of.S(0)})))

    spec = of.spec((6, 8), "float32", NAMED, {"data": of.S(0)})
    program = of.compile(loss, spec, optimizer=of.optim.AdamW(lr=0.1, clip_norm=1.0), strict=True)
    (asked,) = [one for one in program.boxings() if one.why == "to_global"]
    assert asked.route.endswith("(S(0), P) -> (S(0), B) @cpu:0-3 (data=2,tensor=2)") or "(S(0), P)" in asked.route


def test_the_refusal_names_everything() -> None:
    up, down = of.nn.Linear(8, 16, bias=False), of.nn.Linear(16, 8, bias=False)
    up.to_global(NAMED, {"tensor": of.S(0)})
    down.to_global(NAMED, {"tensor": of.S(1)})

    def loss(x):
        y = down(of.relu(up(x)))
        return of.mean(of.exp(y))

    with pytest.raises(of.SbpError) as caught:
        of.compile(loss, of.spec((4, 8), "float32", NAMED, {"data": of.S(0)}), optimizer=of.optim.SGD(lr=0.1), strict=True)
    line = loss.__code__.co_firstlineno
    message = str(caught.value)
    assert caught.value.line == f"test_strict.py:{line + 2}" and message.startswith(f"{caught.value.line}: strict=True")
    assert f"test_strict.py:{line + 2}: exp wants matmul f32[4, 8] in another layout, " in message
    assert re.search(r"\(S\(0\), P\).* -> \(S\(0\), B\) @cpu:0-3 \(data=2,tensor=2\): 256 bytes, \d+(\.\d+)? us a step", message)
    code = 'of.placement("cpu", [[0, 1], [2, 3]], names=("data", "tensor")), {"data": of.S(0)}'
    assert f"write t.to_global({code}), where t is the result of matmul at test_strict.py:{line + 1}" in message
    (fact,) = caught.value.facts["boxings"]  # type: ignore[misc]
    assert fact.nbytes == 256 and not fact.asked


def test_repeated_layers_are_told_once() -> None:
    layers = of.nn.ModuleList([of.nn.Linear(8, 8, bias=False) for _ in range(9)])
    for layer in layers:
        layer.to_global(FOUR, of.S(1))

    class Net(of.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x):
            for layer in self.layers:
                x = of.exp(layer(x))
            return x

    with pytest.raises(of.SbpError, match=r"need 9 boxings that nobody asked for") as caught:
        of.compile(Net(), of.spec((4, 8), "float32", FOUR, of.S(1)), strict=True)
    assert str(caught.value).count("\n") <= 6 and " times)" in str(caught.value), caught.value


def test_weights_that_are_gathered_have_to_be_asked_for() -> None:
    """Sharded state: the weight lives split, the program reads it whole."""
    layer = of.nn.Linear(64, 64, bias=False)
    layer.to_global(FOUR, of.S(0))
    given = of.spec((4096, 64), "float32", FOUR, of.S(0))
    train = {"optimizer": of.optim.SGD(lr=0.1)}
    with pytest.raises(of.SbpError, match=r"to_global\(of\.placement\(\"cpu\", \[0, 1, 2, 3\]\), of\.B\), where t is parameter weight$"):
        of.compile(lambda x: of.mean(of.exp(layer(x))), given, **train, strict=True)
    program = of.compile(lambda x: of.mean(of.exp(x @ layer.weight.to_global(FOUR, of.B).T)), given, **train, strict=True)
    assert {one.why for one in program.boxings()} == {"input", "output", "to_global", "home"}


def test_annotations_weigh_more_than_not_asking() -> None:
    """Strict does not gather annotated weights to get round a sum that nobody asked for."""
    up, down = of.nn.Linear(8, 16, bias=False), of.nn.Linear(16, 8, bias=False)
    up.to_global(FOUR, of.S(0))
    down.to_global(FOUR, of.S(1))
    with pytest.raises(of.SbpError) as caught:
        of.compile(lambda x: of.exp(down(of.relu(up(x)))), of.spec((512, 8), "float32", FOUR, of.B), strict=True)
    assert "parameter" not in str(caught.value) and "matmul" in str(caught.value)


def test_without_strict_nothing_is_refused_and_the_answer_is_the_same() -> None:
    layer = of.nn.Linear(6, 4, bias=False, dtype="float64")
    layer.to_global(LEFT, of.S(1))
    programs = [
        of.compile(f, of.spec((4, 6), "float64", LEFT, of.S(1)), strict=strict, executor="simulator")
        for strict, f in ((False, lambda x: of.exp(layer(x))), (True, lambda x: of.exp(layer(x).to_global(LEFT, of.B))))
    ]
    x = np.arange(24.0).reshape(4, 6) / 24
    np.testing.assert_array_equal(programs[0](x), programs[1](x))
    assert any(not one.asked for one in programs[0].boxings()) and all(one.asked for one in programs[1].boxings())


def test_a_boxing_that_two_want_is_asked_for_when_one_asks() -> None:
    def f(x):
        first = of.sort(x, axis=0)
        return first, of.exp(x.to_global(FOUR, of.S(1)))

    program = of.compile(f, of.spec((256, 256), "float32", FOUR, of.S(0)), strict=True)
    assert [one.why for one in program.boxings()].count("to_global") == 1


def test_moving_back_and_forth_between_placements() -> None:
    def f(x):
        y = of.exp(x).to_global(RIGHT, of.S(0))
        return of.exp(y).to_global(ONE, of.B)

    assert of.compile(f, of.spec((4, 6), "float32", LEFT, of.S(1)), strict=True).graph
    with pytest.raises(of.SbpError, match="exp wants input0"):
        of.compile(
            lambda x: of.exp(x.to_global(GRID, (of.S(0), of.P))) * 2.0, of.spec((4, 6), "float32", GRID, (of.S(0), of.B)), strict=True
        )
