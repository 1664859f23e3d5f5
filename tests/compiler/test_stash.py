"""Dropping values from the stash: the integer program against every choice there is, and compiled plans against all plans."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

import oflow as of
from oflow.compiler import FOLDED_PASSES, GRAPH_PASSES, PLAN_PASSES
from oflow.compiler.copies import compute_again
from oflow.compiler.drop import kept_nbytes, least_seconds
from oflow.compiler.expand import expand
from oflow.compiler.segments import all_but_cuts
from oflow.compiler.stash import Again, Held, Stash, stashes
from oflow.graph import Node
from tests.compiler.nets import graph

DEVICE = "cpu:0"


def random_stash(draw: random.Random) -> Stash:
    """A few nodes in a row that read some of the values before them; the backward pass reads most, the last first."""
    count, parts = draw.randint(2, 6), draw.randint(2, 5)
    nodes, held, first, last = [], {}, {}, {}
    for v in range(count):
        ins = tuple(sorted(draw.sample(range(v), min(v, draw.randint(0, 2)))))
        nodes.append(Again(Node(v, "op", ins, (v,)), draw.randint(1, 9) / 8, ins, (v,)))
        held[v] = Held(draw.randint(1, 9), draw.randint(1, 3), frozenset([DEVICE]), draw.random() < 0.15)
        if draw.random() < 0.8:
            first[v] = draw.randrange(parts)
            last[v] = draw.randint(first[v], parts - 1)
    own = {DEVICE: tuple(draw.randint(0, 9) for _ in range(parts))}
    return Stash(0, parts, held, tuple(nodes), first, last, own, {})


def played(stash: Stash, dropped: frozenset[int]) -> tuple[float, int] | None:
    """Seconds and the most bytes, where the values dropped are made right before they are read; None where fixed ones would be."""
    if any(stash.held[v].fixed for v in dropped):
        return None
    made: dict[int, int] = {}
    until: dict[int, int] = {}
    kept = {v for v, h in stash.held.items() if h.fixed}

    def need(v: int, part: int) -> None:
        if v not in dropped:
            kept.add(v)
            return
        if v not in made:
            for u in stash.nodes[v].ins:
                need(u, part)
            made[v] = part
        until[v] = max(until.get(v, part), part)

    for part in range(stash.parts):
        for v in range(len(stash.nodes)):
            if stash.first.get(v) == part or (v in stash.first and stash.last[v] == part):
                need(v, part)
    seconds = sum(stash.nodes[v].seconds for v in made)
    live = [sum(stash.held[v].nbytes for v in made if made[v] <= part <= until[v]) for part in range(stash.parts)]
    always = sum(stash.held[v].nbytes * stash.held[v].slots for v in kept)
    return seconds, max(always + n + own for n, own in zip(live, stash.own[DEVICE], strict=True))


def test_the_integer_program_finds_what_trying_everything_finds() -> None:
    for seed in range(60):
        draw = random.Random(seed)
        stash = random_stash(draw)
        values = range(len(stash.nodes))
        every = [frozenset(some) for size in range(len(values) + 1) for some in combinations(values, size)]
        outcomes = [found for one in every if (found := played(stash, one))]
        room = draw.choice([n for _, n in outcomes]) + draw.randint(-1, 3)
        possible = [seconds for seconds, n in outcomes if n <= room]
        found = least_seconds([stash], {DEVICE: room})
        assert (found is None) == (not possible), seed
        if found is not None:
            outcome = played(stash, found.dropped)
            assert outcome is not None and outcome[1] <= room and outcome[0] == pytest.approx(min(possible)), seed


def test_what_is_kept_is_what_the_backward_reads() -> None:
    for seed in range(20):
        stash = random_stash(random.Random(seed))
        outcome = played(stash, frozenset())
        assert outcome is not None and outcome[0] == 0.0
        assert kept_nbytes([stash])[DEVICE] == outcome[1], seed


def chain_of(layers: int, **options: object) -> of.Program:
    net = of.nn.Sequential(*(of.nn.Linear(16, 16) for _ in range(layers)))

    def loss(x):
        for one in net:
            x = of.tanh(one(x))
        return of.mean(of.square(x))

    return of.compile(loss, of.spec((256, 16)), optimizer=of.optim.SGD(lr=0.1), **options)


def plan_of(program: of.Program, dropped: frozenset[int]) -> of.Plan:
    """The program's plan with these values computed again."""
    found = compute_again(graph(program, "fuse"), lambda v, maker, region: int(v in dropped))
    for one in GRAPH_PASSES[[p.__name__ for p in GRAPH_PASSES].index("recompute") + 1 :]:
        found = one(found, program.given)
    plan = expand(found, program.given)
    for plan_pass in (*PLAN_PASSES, *FOLDED_PASSES):
        plan = plan_pass(plan, program.given)
    return plan


def test_of_all_plans_that_fit_the_fastest_is_found() -> None:
    plain = chain_of(4)
    (stash,) = stashes(graph(plain, "fuse"), plain.given)
    choices = [v for v, h in stash.held.items() if not h.fixed]
    every = {frozenset(some): None for size in range(len(choices) + 1) for some in combinations(choices, size)}
    assert len(every) <= 256
    seconds = {n.outs: n.seconds for n in stash.nodes}
    outcomes = []
    for dropped in every:
        plan = plan_of(plain, dropped)
        again = [n for n in plan.actor_templates for n in n.nodes]
        made = compute_again(graph(plain, "fuse"), lambda v, maker, region, some=dropped: int(v in some))
        outcomes.append((sum(seconds[_original(graph(plain, "fuse"), n.again)] for n in made.nodes if n.again is not None),
                         plan.arenas[DEVICE] + plan.states[DEVICE], len(again)))  # fmt: skip
    most, least = outcomes[0][1], min(n for _, n, _ in outcomes)
    for share in (0.9, 0.6, 0.3, 0.0):
        memory = int(least + share * (most - least))
        found = chain_of(4, recompute="auto", memory=memory)
        need = found.plan.arenas[DEVICE] + found.plan.states[DEVICE]
        added = sum(one.seconds for one in found.recomputed())
        assert need <= memory
        assert added == pytest.approx(min(s for s, n, _ in outcomes if n <= memory)), share
    with pytest.raises(of.OutOfMemory):
        chain_of(4, recompute="auto", memory=least - 64)


def _original(found: of.Graph, number: int) -> tuple[int, ...]:
    return next(n.outs for n in found.nodes if n.id == number)


def test_nothing_is_computed_again_where_all_fits() -> None:
    program = chain_of(3, recompute="auto")
    assert program.recomputed() == () and program.graph == graph(program, "fuse")


def test_all_of_n_equal_layers_keep_about_the_root_of_n() -> None:
    layers = 16
    plain, every = chain_of(layers), chain_of(layers, recompute="all")
    rows = every.recomputed()
    assert rows and all(one.line for one in rows)
    (stash,) = stashes(graph(plain, "fuse"), plain.given)
    kept = layers - len({v for v in all_but_cuts([stash]) if stash.held.get(v) and v in stash.first})
    assert 2 <= kept <= 6, "four segments of four, about"
    assert every.plan.arenas[DEVICE] < 0.7 * plain.plan.arenas[DEVICE]


@pytest.mark.parametrize("mode", ["all", "auto"])
@pytest.mark.parametrize("micro_batches", [1, 4])
def test_the_same_bits(mode: str, micro_batches: int) -> None:
    batch = np.random.default_rng(0).normal(size=(256, 16)).astype("float32")
    plain = chain_of(6, micro_batches=micro_batches)
    memory = int((0.85 if micro_batches == 1 else 0.95) * plain.plan.arenas[DEVICE]) + plain.plan.states[DEVICE] if mode == "auto" else None
    again = chain_of(6, micro_batches=micro_batches, recompute=mode, memory=memory)
    assert again.recomputed()
    with plain, again:
        for _ in range(3):
            assert plain(batch) == again(batch)
        for name, value in plain.state_dict().items():
            np.testing.assert_array_equal(again.state_dict()[name], value)


def test_words_that_are_not_there() -> None:
    with pytest.raises(of.PlanError, match=r"recompute='some' is not known; leave it out .* or say recompute='auto' or recompute='all'"):
        chain_of(2, recompute="some")


def test_the_table_of_what_is_computed_again() -> None:
    text = of.view.recomputed(chain_of(4, recompute="all").recomputed())
    head, columns, *rows = text.splitlines()
    assert "computed again" in head and "kept less" in columns and any("test_stash.py" in row for row in rows)
