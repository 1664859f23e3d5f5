"""schedule="auto": as good as the best named schedule, in time and within memory, and what it says about the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import oflow as of
from oflow.check import check
from oflow.cli import main
from oflow.compiler import schedule_choice
from oflow.compiler.chunks import fits
from oflow.compiler.schedules import SCHEDULES
from tests.compiler.nets import pipeline
from tests.compiler.test_split_backward import even, machine
from tests.program.test_schedules import net

Make = Callable[..., of.Program]
PROGRAMS: dict[str, tuple[tuple[int, ...], Make]] = {
    "even": ((0, 1, 2), lambda **options: even((0, 1, 2), 6, **options)),
    "uneven": ((0, 1, 2), lambda **options: even((0, 1, 2), 4, on=machine(1e-5, (1.0, 0.5, 2.0)), **options)),
    "in a v": ((0, 1, 1, 0), lambda **options: even((0, 1, 1, 0), 4, **options)),
    "around": ((0, 1, 0, 1), lambda **options: even((0, 1, 0, 1), 4, **options)),
    "data parallel": ((0, 1), lambda **options: pipeline(2, 4, ranks=2, **options)),
    "shared weights": ((0, 1), lambda **options: net((0, 1), "tensor", micro_batches=4, **options)),
}


def named(homes: tuple[int, ...], make: Make) -> dict[str, tuple[float, int]]:
    """Period and bytes of each named schedule that has the stages so."""
    proofs = {name: check(make(schedule=name).plan) for name in SCHEDULES if fits(name, homes)}
    return {name: (proof.period, need(proof)) for name, proof in proofs.items()}


def need(proof: Any) -> int:
    return max(proof.arenas[d] + proof.states.get(d, 0) for d in proof.arenas if not d.startswith("host"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_auto_is_as_good_as_the_best_named_schedule(name: str) -> None:
    homes, make = PROGRAMS[name]
    best = min(period for period, _ in named(homes, make).values())
    made = make(schedule="auto")
    assert check(made.plan).period <= best * (1 + 1e-12)


def test_auto_is_the_best_of_those_that_fit() -> None:
    homes, make = PROGRAMS["even"]
    found = named(homes, make)
    for limit in sorted({nbytes for _, nbytes in found.values()}):
        fitting = min(period for period, nbytes in found.values() if nbytes <= limit)
        proof = check(make(schedule="auto", memory=limit).plan)
        assert proof.period <= fitting * (1 + 1e-12)
        assert need(proof) <= limit
    least = min(nbytes for _, nbytes in found.values())
    with pytest.raises(of.OutOfMemory, match="bytes of memory, the plan needs"):
        make(schedule="auto", memory=least // 2)


def test_the_choices_say_what_the_others_would_be() -> None:
    made = even((0, 1, 2), 6, "auto")
    found = made.schedule_choices()
    assert [choice.chosen for choice in found] == [True] + [False] * (len(found) - 1)
    assert found[0].name == made.plan.schedule and found[0].period == check(made.plan).period
    assert {"gpipe", "1f1b", "zero-bubble-h1", "zero-bubble-h2"} <= {choice.name for choice in found}
    assert "s a step, bubble" in str(found[0]) and "bytes on the fullest device" in str(found[0])
    assert [c.name for c in even((0, 1, 2), 6, "gpipe").schedule_choices()] == [c.name for c in found], "whatever the program took"


def test_work_that_waits_for_all_micro_batches_leaves_gpipe() -> None:
    """Other schedules refuse it; why, stands in the choices."""

    def loss(x: Any) -> Any:
        return of.mean(of.square(layer(x - of.mean(x, 0))))

    layer = of.nn.Linear(4, 4)
    made = of.compile(loss, of.spec((8, 4)), optimizer=of.optim.SGD(lr=0.1), micro_batches=4, schedule="auto")
    assert made.plan.schedule == "gpipe"
    assert "is complete only after all" in next(c.refused for c in made.schedule_choices() if c.name == "1f1b")


def test_of_a_large_program_the_shortest_replays_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule_choice, "LARGE", 0)
    found = even((0, 1, 2), 6, "auto").schedule_choices()
    assert sum(choice.proved for choice in found) == 1 + schedule_choice.COMPILED
    assert found[0].name == "zero-bubble-h2"
    assert all("replayed only" in str(choice) for choice in found if not choice.proved and not choice.refused)


def test_stages_without_annotation_are_dealt_out_for_each_candidate() -> None:
    layers = [of.nn.Linear(8, 8) for _ in range(4)]

    def loss(x: Any) -> Any:
        for stage, layer in enumerate(layers):
            with of.stage(stage):
                x = of.gelu(layer(x))
        return of.mean(of.square(x))

    spec = of.spec((16, 8), "float32", of.placement("cpu", [0, 1]), of.B)
    made = of.compile(loss, spec, optimizer=of.optim.SGD(lr=0.1), micro_batches=4, schedule="auto", machine=replace(machine(), name="m"))
    assert {"interleaved", "zero-bubble-v"} <= {choice.name for choice in made.schedule_choices()}
    assert made.plan.check().deadlock_free


PROGRAM = """
import oflow as of

def build(schedule="auto"):
    layer = of.nn.Linear(4, 4)

    def loss(x):
        with of.stage(0):
            x = of.gelu(layer(x))
        with of.stage(1):
            return of.mean(of.square(x))

    return of.compile(loss, of.spec((8, 4), "float32", of.placement("cpu", [0, 1]), of.B), optimizer=of.optim.SGD(0.1), micro_batches=4,
                      schedule=schedule)
"""


def test_explain_lists_the_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    assert main(["explain", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "* " in shown and "  1f1b: " in shown and "s a step, bubble" in shown
    assert main(["explain", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["schedules"]
    assert [one["chosen"] for one in facts] == [True] + [False] * (len(facts) - 1)
    assert main(["explain", str(path), "schedule=1f1b"]) == 0
    assert "s a step, bubble" not in capsys.readouterr().out
