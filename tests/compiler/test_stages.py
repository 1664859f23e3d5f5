"""Stages on devices: dealt out as the schedule has its chunks, or annotated and held against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import oflow as of
from tests.compiler.nets import graph

WIDTH = 4


def staged(
    places: Sequence[Sequence[int] | None], devices: Sequence[int], schedule: Any = None, micro_batches: int = 4, **options: Any
) -> of.Program:
    """A layer a stage, annotated with the devices given for it (None: not), the input on `devices`."""
    layers = [of.nn.Linear(WIDTH, WIDTH) for _ in places]
    for layer, ranks in zip(layers, places, strict=True):
        if ranks is not None:
            layer.to_global(of.placement("cpu", list(ranks)), of.B)

    def loss(x: Any) -> Any:
        for stage, layer in enumerate(layers):
            with of.stage(stage):
                x = of.relu(layer(x))
        return of.mean(x * x)

    x = of.spec((8, WIDTH), "float32", of.placement("cpu", list(devices)), of.B)
    return of.compile(loss, x, optimizer=of.optim.SGD(lr=0.1), schedule=schedule, micro_batches=micro_batches, **options)


def homes(program: of.Program) -> list[tuple[str, ...]]:
    """The devices of each stage."""
    found = {n.stage: n.placement.devices for n in graph(program, "place").nodes if n.stage is not None and n.placement}
    return [found[stage] for stage in range(len(found))]


def cpus(*ranks: int) -> tuple[str, ...]:
    return tuple(f"cpu:{rank}" for rank in ranks)


@pytest.mark.parametrize("schedule, stages, devices, expected", [
    (None, 2, 4, [cpus(0, 1), cpus(2, 3)]),
    ("gpipe", 4, 4, [cpus(0), cpus(1), cpus(2), cpus(3)]),
    (None, 4, 2, [cpus(0), cpus(1), cpus(0), cpus(1)]),
    ("interleaved", 4, 4, [cpus(0, 1), cpus(2, 3), cpus(0, 1), cpus(2, 3)]),
    ("interleaved", 6, 2, [cpus(0), cpus(1), cpus(0), cpus(1), cpus(0), cpus(1)]),
    ("zero-bubble-h1", 2, 2, [cpus(0), cpus(1)]),
    ("zero-bubble-v", 4, 2, [cpus(0), cpus(1), cpus(1), cpus(0)]),
    ("zero-bubble", 4, 2, [cpus(0), cpus(1), cpus(1), cpus(0)]),
    (of.Schedule.from_csv("0F0,2F0,2B0,0B0\n1F0,3F0,3B0,1B0\n"), 4, 2, [cpus(0), cpus(1), cpus(0), cpus(1)]),
], ids=str)  # fmt: skip
def test_stages_are_dealt_out_as_the_schedule_has_them(schedule: Any, stages: int, devices: int, expected: list[tuple[str, ...]]) -> None:
    made = staged([None] * stages, range(devices), schedule, micro_batches=1 if isinstance(schedule, of.Schedule) else 4)
    assert homes(made) == expected


def test_stages_without_annotation_stand_with_those_of_their_rank() -> None:
    made = staged([[0], [1], None, None], [0], "zero-bubble-v")
    assert homes(made) == [cpus(0), cpus(1), cpus(1), cpus(0)]


@pytest.mark.parametrize("places, expected", [
    ([[0], [1], [2]], "1f1b"), ([[0], [1], [0], [1]], "interleaved"), ([[0], [1], [1], [0]], "zero-bubble-v"), ([[0], [0]], "interleaved"),
])  # fmt: skip
def test_no_name_is_the_plainest_schedule_that_has_the_stages_so(places: list[list[int]], expected: str) -> None:
    assert staged(places, places[0]).plan.schedule == expected


def test_what_stands_after_the_stages_belongs_to_the_last() -> None:
    """The loss outside of any stage is in the last one's row, so its rank keeps the schedule's order."""
    made = staged([[0], [1]], [0])
    assert {n.stage for n in graph(made, "place").nodes} == {0, 1}
    assert {actor.stage for actor in made.plan.actors if actor.device == "cpu:1"} == {1}


@pytest.mark.parametrize("places, schedule, words", [
    ([[0], [1], [0], [1]], "zero-bubble-v", (
        r"test_stages\.py:\d+: stage 2 is on cpu:0 by layers\.2\.weight, and schedule 'zero-bubble-v' runs it on the rank of stage 1, on "
        r"cpu:1\. It has the stages on ranks \[0, 1, 1, 0\], the program has them on \[0, 1, 0, 1\]: "
        r"annotate layers\.2\.weight with of\.placement\(.cpu., \[1\]\), or choose another schedule",)),
    ([[0], [0], [1], [1]], "interleaved", ("stage 1 is on cpu:0", "a rank of its own, and stage 0 is there", "that no earlier stage has")),
    ([[0], [1], [0], [1]], "1f1b", (
        r"test_stages\.py:\d+: 4 stages are placed on 2 pipeline ranks \(stage 2 is on cpu:0\)", "one stage a rank", "interleaved")),
    ([[0], [1]], "zero-bubble-v", ("2 stages are placed on 2 pipeline ranks", "two stages a rank", "would fit")),
    ([[0, 1], [1, 2]], None, (
        r"test_stages\.py:\d+: stage 1 is on cpu:1-2 by layers\.1\.weight and shares cpu:1 with stage 0 on cpu:0-1",
        r"annotate layers\.1\.weight with of\.placement\(.cpu., \[0, 1\]\)")),
    ([[0], [0], [1], [0]], None, (r"pipeline ranks \[0, 0, 1, 0\], and no schedule of ours", "give an of.Schedule")),
])  # fmt: skip
def test_stages_that_stand_where_the_schedule_has_others(places: list[list[int]], schedule: str, words: tuple[str, ...]) -> None:
    for word in words:
        with pytest.raises(of.PlanError, match=word):
            staged(places, places[0], schedule)


def test_stages_left_out() -> None:
    with pytest.raises(of.PlanError, match=r"there is work in stages \[0, 2\] and none in stage 1"):
        def loss(x: Any) -> Any:
            for stage in (0, 2):
                with of.stage(stage):
                    x = of.relu(x)
            return x

        of.compile(loss, of.spec((4, 4), "float32", of.placement("cpu", [0, 1]), of.B))


def test_devices_that_cannot_be_dealt_out() -> None:
    with pytest.raises(of.PlacementError, match=r"3 devices cannot be dealt out evenly to 4 stages under schedule 'zero-bubble-v'"):
        staged([None] * 4, range(3), "zero-bubble-v")


@pytest.mark.parametrize("schedule", ["interleaved", "zero-bubble-v"])
def test_several_devices_never_become_one_rank(schedule: str) -> None:
    a, b = of.nn.Linear(8, 8), of.nn.Linear(8, 8)

    def net(x: Any) -> Any:
        with of.stage(0):
            x = of.relu(a(x))
        with of.stage(1):
            return of.mean(b(x))

    spec = of.spec((8, 8), "float32", of.placement("cpu", [0, 1]), of.B)
    with pytest.raises(of.PlacementError, match=r"4 stages on 2 ranks .* would fit"):
        of.compile(net, spec, optimizer=of.optim.SGD(lr=0.1), micro_batches=4, schedule=schedule)
