"""Packing across time: orders of buffers as a PQ-tree, who takes whose place, and full arenas put together again."""

from __future__ import annotations

import random
from itertools import permutations, product

import pytest

import oflow as of
from oflow.check.overlap import check_overlap
from oflow.compiler.packing import load
from oflow.compiler.packing.across import fillers, pack_across
from oflow.compiler.packing.borders import distinct_sums, pairs
from oflow.compiler.packing.orders import FIXED, LEAF, Node, bits, free, in_order, leaf, swap
from tests.compiler.rectangles import cut_rectangle

Order = tuple[int, ...]


def orders(node: Node) -> set[Order]:
    """All orders of a tree."""
    if node.kind == LEAF:
        return {tuple(in_order(node))}
    rows = (node.children, node.children[::-1]) if node.kind == FIXED else permutations(node.children)
    return {sum(some, ()) for row in rows for some in product(*(sorted(orders(child)) for child in row))}


def swapped(known: set[Order], gone: set[int], new: Order) -> set[Order]:
    """The same by lists: orders in which `gone` are neighbours, with each order of `new` in their place."""
    found = set()
    for order in known:
        places = [i for i, buffer in enumerate(order) if buffer in gone]
        if places[-1] - places[0] == len(gone) - 1:
            found |= {order[: places[0]] + some + order[places[-1] + 1 :] for some in permutations(new)}
    return found


@pytest.mark.parametrize("seed", range(40))
def test_the_tree_holds_exactly_the_orders_that_are_left(seed: int) -> None:
    rng = random.Random(seed)
    living = list(range(rng.randint(3, 6)))
    tree, known, unused = free([leaf(i) for i in living]), set(permutations(living)), len(living)
    for _ in range(8):
        gone = set(rng.sample(living, rng.randint(1, len(living))))
        new = tuple(range(unused, unused + rng.randint(1, max(1, 7 - len(living) + len(gone) - 1) if len(living) < 7 else 1)))
        expected = swapped(known, gone, new)
        done = swap(tree, sum(1 << i for i in gone), free([leaf(i) for i in new]))
        assert (done is not None) == bool(expected), f"seed {seed}: {tree}, {gone}"
        if done is None:
            continue
        assert {i for node in done.run for i in bits(node.members)} == gone
        living, unused = sorted(set(living) - gone) + list(new), unused + len(new)
        tree, known = done.tree, expected
        assert orders(tree) == known, f"seed {seed}: {gone} by {new}"


def test_equal_sums_are_found_and_the_least_likely_come_first() -> None:
    rng = random.Random(3)
    size = [rng.randint(1, 30) for _ in range(11)]
    stopping, starting = range(5), range(5, 11)
    found, work = pairs(stopping, starting, size, distinct_sums(256, 1))
    expected = {
        (before, after << 5)
        for before, after in product(range(1, 32), range(1, 64))
        if sum(size[i] for i in bits(before)) == sum(size[5 + i] for i in bits(after))
    }
    proper = {(before, after) for before, after in expected if before != 31 and after != 63 << 5}
    assert {(p.stopping, p.starting) for p in found} == proper
    assert [p.worth for p in found] == sorted((p.worth for p in found), reverse=True)
    assert work > len(found)


def test_fillers_make_an_arena_full() -> None:
    for seed in range(30):
        rng = random.Random(seed)
        buffers = [(s, s + rng.randint(1, 5), rng.randint(1, 9)) for s in (rng.randrange(9) for _ in range(12))]
        filled = [*buffers, *fillers(buffers, load(buffers) + seed % 3)]
        for time in range(min(b[0] for b in buffers), max(b[1] for b in buffers)):
            assert sum(n for start, stop, n in filled if start <= time < stop) == load(buffers) + seed % 3, f"seed {seed}"


@pytest.mark.parametrize("span", [0, 30, 100])
@pytest.mark.parametrize("seed", range(4))
def test_a_full_arena_is_put_together_again(seed: int, span: int) -> None:
    buffers = cut_rectangle(seed, 100, span)
    offsets, steps = pack_across(buffers, load(buffers), 2_000_000)
    assert offsets is not None and check_overlap(buffers, offsets) == load(buffers), f"seed {seed}"
    assert pack_across(buffers, load(buffers), 2_000_000) == (offsets, steps)


@pytest.mark.parametrize("seed", range(4))
def test_an_arena_with_a_few_holes_is_put_together_again(seed: int) -> None:
    buffers = cut_rectangle(seed, 100, 100)[3:]
    offsets, _ = pack_across(buffers, load(buffers), 2_000_000)
    assert offsets is not None and check_overlap(buffers, offsets) == load(buffers), f"seed {seed}"


def test_what_is_found_for_small_questions_lies_within_the_capacity() -> None:
    found = 0
    for seed in range(200):
        rng = random.Random(seed)
        buffers = [(s, s + rng.randint(1, 4), rng.randint(1, 6)) for s in (rng.randrange(6) for _ in range(9))]
        capacity = load(buffers) + seed % 2
        offsets, _ = pack_across(buffers, capacity, 20_000)
        if offsets is not None:
            found += 1
            assert check_overlap(buffers, offsets) <= capacity, f"seed {seed}: {buffers}"
    assert found > 100


def test_steps_are_limited() -> None:
    offsets, steps = pack_across(cut_rectangle(1, 150, 100), 1 << 20, 1_000)
    assert offsets is None and 1_000 <= steps < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "count", "span"), [(107, 241, 0), (103, 330, 100), (104, 390, 100), (105, 450, 100)])
def test_hard_rectangles_are_packed_to_the_bound(seed: int, count: int, span: int) -> None:
    buffers = cut_rectangle(seed, count, span)
    assert check_overlap(buffers, of.pack(buffers, 4_000_000_000)) == load(buffers)
