"""The passes from expansion to memory: templates, chains, slots, order, offsets."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

import pytest

import oflow as of
from oflow.compiler.views import views
from oflow.machine import Device, Link
from oflow.schedule import verify_schedule
from tests.compiler.nets import FOUR, graph, pipeline, plan
from tests.compiler.test_infer_sbp import megatron
from tests.program.nets import LAYOUTS, classifier

MADE = {
    "megatron": lambda: megatron(4),
    "1f1b": lambda: pipeline(4, 8, ranks=2),
    "gpipe": lambda: pipeline(3, 4, schedule="gpipe"),
    **{layout: (lambda layout=layout: classifier(layout, of.optim.AdamW(clip_norm=1.0), micro_batches=4)) for layout in LAYOUTS},
}


@cache
def made_program(name: str) -> of.Program:
    return MADE[name]()


every_program = pytest.mark.parametrize("name", MADE)


def test_expand_stamps_one_template_a_node_on_its_ranks() -> None:
    program = megatron()
    found, expanded = graph(program, "fuse"), plan(program, "expand")
    made = [n for n in found.nodes if n.outs[0] not in views(found)]
    assert len(made) == len(found.nodes) - 1, "the reshape of the loss's gradient is a view"
    assert [a.nodes for a in expanded.actor_templates if a.calls] == [(n.id,) for n in made]
    by_node = {a.nodes: a for a in expanded.actor_templates if a.calls}
    for node in made:
        assert node.placement is not None
        assert expanded.rank_table[by_node[(node.id,)].group] == node.placement.devices
    assert len(expanded.actors) == sum(len(expanded.rank_table[a.group]) for a in expanded.actor_templates)


def test_uneven_shards_are_columns() -> None:
    program = of.compile(lambda x: x * 2.0, of.spec((7, 2), "float64", FOUR, of.S(0)))
    register = next(r for r in plan(program, "expand").register_templates if r.name.startswith("mul"))
    assert [t.shape for t in register.types] == [(2, 2), (2, 2), (2, 2), (1, 2)]
    even = of.compile(lambda x: x * 2.0, of.spec((8, 2), "float64", FOUR, of.S(0)))
    register = next(r for r in plan(even, "expand").register_templates if r.name.startswith("mul"))
    assert [t.shape for t in register.types] == [(2, 2)]


@every_program
def test_chains_join_only_what_a_stream_runs_back_to_back(name: str) -> None:
    program = made_program(name)
    single, chained = plan(program, "expand"), plan(program, "chain")
    facts = {a.nodes[0]: (single.rank_table[a.group], a.stream, a.stage, a.phase, a.acts) for a in single.actor_templates if a.nodes}
    makers = {p.register: a for a in single.actor_templates for p in a.ports if p.direction == "out" and a.nodes}
    read_elsewhere = {
        makers[port.register].nodes[0]
        for reader in single.actor_templates
        for port in reader.ports
        if port.direction == "in" and port.register in makers
        and (port.peers or (reader.group, reader.stream) != (makers[port.register].group, makers[port.register].stream))
    }  # fmt: skip
    for actor in chained.actor_templates:
        assert len({facts[n] for n in actor.nodes}) <= 1
        assert not read_elsewhere & set(actor.nodes[:-1]), "a send waits for no more than what it sends"
    assert sorted(n for a in chained.actor_templates for n in a.nodes) == sorted(facts)
    assert len(chained.actors) <= len(single.actors)


@every_program
def test_no_chain_reads_what_it_joins_over_several_acts(name: str) -> None:
    """An accumulated value is whole only after the last act, so its reader stands in a later chain."""
    for actor in plan(made_program(name), "chain").actor_templates:
        joins = {i for i, p in enumerate(actor.ports) if p.direction == "out" and p.every > 1}
        read = {arg.index for call in actor.calls for arg in call.ins if arg.kind == "port"}
        assert not joins & read


def stash_slots(made: of.Plan, stage: int) -> set[int]:
    """Slots of what a stage's own forward makes and its backward reads."""
    found = set()
    for register in made.registers:
        maker, readers = made.actors[register.producer], [made.actors[c] for c in register.consumers]
        forward = register.producer >= 0 and (maker.phase, maker.stage, maker.stream) == ("F", stage, f"{maker.device}/compute")
        if forward and any((r.phase, r.stage) == ("B", stage) for r in readers):
            found.add(register.slots)
    return found


@pytest.mark.parametrize("stages,micro_batches", [(2, 4), (3, 4), (4, 8)])
def test_slots_of_1f1b_and_gpipe(stages: int, micro_batches: int) -> None:
    one, all_first = pipeline(stages, micro_batches).plan, pipeline(stages, micro_batches, schedule="gpipe").plan
    for stage in range(stages):
        assert stash_slots(one, stage) == {stages - stage}
        assert stash_slots(all_first, stage) == {micro_batches}


def test_a_stash_is_never_larger_than_the_micro_batches() -> None:
    assert stash_slots(pipeline(4, 2).plan, 0) == {2}


def test_the_order_of_a_stage_is_its_row_of_the_schedule() -> None:
    stages, micro_batches = 3, 4
    for name in ("1f1b", "gpipe"):
        made = pipeline(stages, micro_batches, schedule=name).plan
        for stage in range(stages):
            rows = [made.actors[a] for a in made.order[f"cpu:{stage}/compute"] if made.actors[a].acts == micro_batches]
            phases = [a.phase for a in rows]
            blocks = [p for i, p in enumerate(phases) if i == 0 or p != phases[i - 1]]
            if name == "gpipe":
                assert blocks == ["F", "B"]
            else:
                warm_up = stages - stage - 1
                assert len(blocks) == 2 * (micro_batches - warm_up) and blocks[0] == "F"


@every_program
def test_every_stream_of_a_device_has_an_order_with_each_act_once(name: str) -> None:
    made = made_program(name).plan
    for stream, actors in made.streams.items():
        if stream.startswith("host:"):
            assert stream not in made.order
        else:
            assert Counter(made.order[stream]) == {a: made.actors[a].acts for a in actors}


def test_shipped_schedules_are_complete() -> None:
    for name in ("1f1b", "gpipe"):
        for stages in range(1, 5):
            for micro_batches in range(1, 7):
                made = compiler_schedule(name, stages, micro_batches)
                verify_schedule(made)
                assert of.Schedule.from_csv(made.to_csv(), made.name) == made
                for stage in range(stages):
                    expected = min(micro_batches, stages - stage) if name == "1f1b" else micro_batches
                    assert made.stash(stage) == expected


def compiler_schedule(name: str, stages: int, micro_batches: int) -> of.Schedule:
    from oflow.compiler.schedules import named_schedule

    return named_schedule(name, stages, stages, micro_batches)


@pytest.mark.parametrize(
    "text,message",
    [
        ("0F0,0B0,0F0", r"cell 3 \(0F0\) stands twice"),
        ("0B0,0F0", r"\(0B0\) stands before its forward"),
        ("0F0,0F1,0B0", "0B1 is missing"),
        ("0F0,zero", "not a schedule action"),
    ],
)
def test_schedules_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(of.PlanError, match=message):
        of.Schedule.from_csv(text)


def machines(seed: int, devices: tuple[str, ...]) -> of.Machine:
    """Devices and links of random speeds, up to a thousand times apart."""
    draw = random.Random(seed)
    speeds = {d: Device(10 ** draw.uniform(8, 11), 10 ** draw.uniform(8, 11), 10 ** draw.uniform(-7, -4)) for d in devices}
    return of.Machine(f"random {seed}", {"cpu": Device(), "host": Device(), **speeds}, Link(10 ** draw.uniform(-7, -4)))


@every_program
def test_two_live_registers_never_overlap(name: str) -> None:
    """On machines of any speed, not only the one the offsets were made for: from being written to being freed by the last reader
    a slot's bytes are its own.
    """
    made = made_program(name).plan
    assert made.check().arenas.keys() == made.arenas.keys()
    starts = {(r.id, s): r.offset + s * r.slot_nbytes for r in made.registers for s in range(r.slots)}
    for seed in range(3):
        live: dict[str, dict[tuple[int, int], tuple[int, int]]] = {d: {} for d in made.devices}
        for event in made.simulate(machines(seed, made.devices), steps=2).events:
            register = made.registers[event.register]
            key, device = (event.register, event.slot), live[register.device]
            if register.region != "arena" or not register.type.nbytes:
                continue
            if event.event == "write":
                at = starts[key], starts[key] + register.type.nbytes
                taken = [k for k, (a, b) in device.items() if k != key and a < at[1] and at[0] < b]
                assert not taken, (seed, register.label, [made.registers[k[0]].label for k in taken])
                device[key] = at
            elif event.event == "free":
                device.pop(key, None)


def test_sharing_bytes_saves_memory() -> None:
    made = megatron().plan
    assert made.arenas["cpu:0"] < sum(r.nbytes for r in made.registers if r.device == "cpu:0" and r.region == "arena") + sum(
        n for stream, (_, n) in made.scratches.items() if stream.startswith("cpu:0/")
    )


@every_program
def test_the_proof_accepts_every_plan_and_its_copy_from_json(name: str) -> None:
    made = made_program(name).plan
    proof = made.check()
    assert proof.deadlock_free and proof.period > 0
    assert of.Plan.from_json(made.to_json()).check() == proof
