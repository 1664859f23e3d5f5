"""Answers about tensors, actors and registers: everything has one, its bytes are the plan's, its seconds the simulated steady state's."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import oflow as of
from oflow import view
from oflow.cli.files import opened
from oflow.cli.questions import KINDS, facts
from oflow.plan import Plan
from oflow.program import Program
from oflow.view.questions import RegisterAnswer, Unknown
from oflow.view.questions.actors import known_actors
from oflow.view.questions.names import rows_of
from oflow.view.questions.registers import KEPT, OFFLOADED, STASH, known_registers
from oflow.view.questions.tensors import known_tensors
from tests.plans import pipeline_1f1b
from tests.view.things import rich_plan

Golden = Callable[[str, str], None]
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
CASES = [("digits.py", {"layout": layout}) for layout in ("single", "data", "tensor", "pipeline")] + [
    ("01_matmul.py", {"layout": "contraction"}), pytest.param(("gpt.py", {}), marks=pytest.mark.slow),
]  # fmt: skip


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]} {case[1].get('layout', '')}".strip())
def program(request: pytest.FixtureRequest) -> Program:
    name, options = request.param
    with opened(str(EXAMPLES / name), options) as given:
        found: Program = given.program
        return found


def mlp(**options: object) -> Program:
    """Two linear layers on two devices, tensor parallel."""
    two = of.placement("cpu", [0, 1])
    up, down = of.nn.Linear(8, 16, bias=False), of.nn.Linear(16, 8, bias=False)
    up.to_global(two, of.S(0))
    down.to_global(two, of.S(1))

    def loss(x: of.Tensor) -> of.Tensor:  # type: ignore[name-defined]
        return of.mean(of.exp(down(of.exp(up(x)))))

    return of.compile(loss, of.spec((4, 8), "float32", two, of.B), optimizer=of.optim.AdamW(lr=0.1), **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- laws


def test_everything_can_be_asked_about(program: Program) -> None:
    """Each by its own name, which means it alone; and all at once."""
    plan = program.plan
    asked = [
        ("tensor", known_tensors(program), program.explain_tensor("*")),  # type: ignore[attr-defined]
        ("actor", known_actors(plan), plan.explain_actor("*")),  # type: ignore[attr-defined]
        ("register", known_registers(plan), plan.explain_register("*")),  # type: ignore[attr-defined]
    ]
    for kind, known, answers in asked:
        assert len(answers) == len(known) and len({names[0] for _, names in known}) == len(known)
        for (row, names), answer in zip(known, answers, strict=True):
            assert rows_of(kind, names[0], known) == [row] and answer.name == names[0]
            assert view.answer_text(answer).startswith(f"{kind} {answer.name}: ")
            json.dumps(facts(answer))


def test_bytes_are_those_of_the_plan(program: Program) -> None:
    plan = program.plan
    held: Counter[str] = Counter()
    for register in plan.registers:
        held[register.name] += register.nbytes
    answers = plan.explain_register("*")  # type: ignore[attr-defined]
    assert {one.name: one.nbytes for one in answers} == dict(held)
    for one in answers:
        for place in one.places:
            device = place.devices.partition("-")[0].partition(",")[0]
            room = plan.states if one.region == "state" else plan.arenas
            assert place.offset + place.nbytes <= room[device]


def test_boxings_of_all_tensors_are_those_of_the_program(program: Program) -> None:
    found = {one for answer in program.explain_tensor("*") for one in answer.boxings}  # type: ignore[attr-defined]
    assert found == set(program.boxings())


def test_seconds_are_those_of_the_steady_state(program: Program) -> None:
    plan = program.plan
    period, busy = plan.check().period, plan.check().busy  # type: ignore[attr-defined]
    actors, registers = plan.explain_actor("*"), plan.explain_register("*")  # type: ignore[attr-defined]
    assert math.isclose(sum(one.critical for one in actors), 1.0)
    for stream, seconds in busy.items():
        rows = {plan.actors[row].name for row in plan.streams[stream]}
        assert sum(one.busy for one in actors if one.name in rows) * period >= seconds * (1 - 1e-6)
    for one in registers:
        if one.held is not None:
            assert one.held.uses > 0 and 0 <= one.held.shortest <= one.held.mean <= one.held.longest <= 4 * period
            assert one.held.mean * one.held.uses <= 1.1 * one.slots * period, "slots are held one after the other"
            users = {user.actor for user in (*one.readers, *one.writers)}
            assert {name for name, _ in one.freed_by} <= users


def test_readers_and_writers_agree(program: Program) -> None:
    """What a register says of its actors, the actors say of it."""
    registers = {one.name: one for one in program.plan.explain_register("*")}  # type: ignore[attr-defined]
    for actor in program.plan.explain_actor("*"):  # type: ignore[attr-defined]
        for use in actor.reads:
            assert actor.name in [user.actor for user in registers[use.register].readers]
        for use in actor.writes:
            assert actor.name in [user.actor for user in registers[use.register].writers]


def test_what_was_chosen_is_cheaper_unless_the_other_moves_an_annotation() -> None:
    program = mlp()
    inferred = program.passes["infer_sbp"]
    assert isinstance(inferred, of.Graph) and inferred.assignment is not None
    choices = program.signature_choices(inferred.values)
    assert choices and all(one.seconds == pytest.approx(inferred.assignment.seconds) for one in choices.values())
    for v, one in choices.items():
        layout = inferred.values[v].layout
        assert layout is not None and layout.sbp_text in one.signature.partition(" -> ")[2].split(",")
        assert one.moves_annotated or one.second_seconds >= one.seconds * (1 - 1e-9)
    parameters = {p.value for p in inferred.parameters}
    assert not parameters & choices.keys(), "the user's annotations are no choices"
    automatic = mlp(layout="auto")
    (answer,) = automatic.explain_tensor("input0")  # type: ignore[attr-defined]
    assert answer.asked == "annotation"


def test_the_line_of_an_annotation_is_that_of_its_to_global() -> None:
    start = mlp.__code__.co_firstlineno
    for name, line in (("up.weight", start + 4), ("down.weight", start + 5), ("up.weight.m", start + 4)):
        (answer,) = mlp().explain_tensor(name)  # type: ignore[attr-defined]
        assert answer.line == f"test_questions.py:{line}"


# ---------------------------------------------------------------- how long things live


def test_lives() -> None:
    def lives(program: Program) -> set[str]:
        return {one.life for one in program.plan.explain_register("*") if isinstance(one, RegisterAnswer)}  # type: ignore[attr-defined]

    assert {KEPT, STASH} <= lives(mlp()) and OFFLOADED not in lives(mlp())


def test_tensors_that_are_computed_again_offloaded_or_split_say_so() -> None:
    again = mlp(recompute="all").explain_tensor("*")  # type: ignore[attr-defined]
    plain = mlp().explain_tensor("*")  # type: ignore[attr-defined]
    assert any(one.again for one in again) and not any(one.again for one in plain)
    deep = [of.nn.Linear(8, 8) for _ in range(6)]

    def loss(x: of.Tensor) -> of.Tensor:  # type: ignore[name-defined]
        for layer in deep:
            x = of.exp(layer(x))
        return of.mean(x)

    four = of.spec((8, 8), "float32", of.placement("cpu", [0, 1]), of.S(0))
    away = of.compile(loss, four, optimizer=of.optim.SGD(lr=0.1), offload="all")
    held = [one for answer in away.explain_tensor("*") for one in answer.registers if one.life == OFFLOADED]  # type: ignore[attr-defined]
    assert held and all(one.places[0].devices.startswith("host:") for one in held)
    split = of.compile(loss, four, optimizer=of.optim.AdamW(lr=0.1), zero=1)
    moment = split.explain_tensor("weight.m")[0]  # type: ignore[attr-defined]
    assert moment.asked == "zero" and moment.sbp == "S(0)"


# ---------------------------------------------------------------- plans without programs, names, text


def test_plans_that_cannot_run_are_answered_too() -> None:
    plan = rich_plan()
    for answer in (*plan.explain_actor("*"), *plan.explain_register("*")):  # type: ignore[attr-defined]
        assert view.answer_text(answer)


def test_names() -> None:
    known = [(0, ("up.weight",)), (1, ("down.weight",)), (2, ("matmul.3", "mlp.py:4")), (3, ("matmul.0..fused.2", "matmul.0", "fused.2"))]
    assert rows_of("tensor", "up.weight", known) == [0] == rows_of("tensor", "up.weight@cpu:0", known)
    assert rows_of("tensor", "weight", known) == [0, 1] == rows_of("tensor", "*weight", known)
    assert rows_of("tensor", "matmul", known) == [2, 3] and rows_of("tensor", "mlp.py:4", known) == [2]
    assert rows_of("tensor", "fused.2", known) == [3]
    for wrong in ("wieght", "up.wight", "", "nothing like it"):
        with pytest.raises(Unknown, match=r"there is no tensor '.*'; (near|there) are"):
            rows_of("tensor", wrong, known)
    with pytest.raises(Unknown, match=r"near are up\.weight"):
        rows_of("tensor", "up.weigth", known)
    with pytest.raises(Unknown, match="the plan has none"):
        rows_of("tensor", "x", [])


def test_golden_answers(golden: Golden) -> None:
    program, plan = mlp(), pipeline_1f1b(2, 4)
    asked = [
        *program.explain_tensor("exp"), *program.explain_tensor("*weight")[:1],  # type: ignore[attr-defined]
        *plan.explain_actor("F0"), *plan.explain_register("stash0"),  # type: ignore[attr-defined]
    ]  # fmt: skip
    golden("answers.txt", re.sub(r"\.py:\d+", ".py:N", "\n".join(map(view.answer_text, asked))))


def test_kinds_are_what_can_be_asked() -> None:
    assert list(KINDS) == ["tensor", "actor", "register"]
    assert isinstance(pipeline_1f1b(1, 1), Plan)
