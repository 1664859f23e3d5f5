"""Boxing between 1-D layouts: the bytes that the table of costs says, and pulls in rank order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import oflow as of
from oflow.sbp import Layout, Sbp, all_layouts, layout, route
from tests.sbp.shards import box

PARTIALS = (of.P, of.P("max"), of.P("min"))


def line(*ranks: int) -> of.Placement:
    return of.placement("cpu", list(ranks))


def meetings(p1: int, p2: int) -> list[tuple[of.Placement, of.Placement]]:
    """Producers and consumers: the same devices in order (and in another), overlapping, and with nothing in common."""
    first = line(*range(p1))
    found = [(first, line(*range(9, 9 + p2))), (first, line(*range(p1 - 1, p1 - 1 + p2)))]
    if p1 == p2:
        found += [(first, first), (first, line(*reversed(range(p1))))]
    return found


def one_dimensional(where: of.Placement, rank: int) -> list[Layout]:
    return [layout(where, s) for s in (of.B, *(of.S(axis) for axis in range(rank)), *PARTIALS)]


def cost_same_devices(src: Sbp, dst: Sbp, p: int, total: int) -> int | None:
    """FACTS section 2, first column (None: depends on the shards)."""
    if src == dst or p == 1:
        return 0
    if src.is_partial and dst.is_partial:
        return None
    if src.is_split and dst.is_split:
        return total * (p - 1) // p
    if src.is_split:
        return 0 if dst.is_partial else total * (p - 1)
    if src.is_partial:
        return 2 * total * (p - 1) if dst == of.B else total * (p - 1)
    return 0


@pytest.mark.parametrize("p", range(1, 5))
def test_bytes_on_the_same_devices(p: int) -> None:
    shape, where = (12, 24), line(*range(p))
    for src, dst in itertools.product(one_dimensional(where, 2), repeat=2):
        expected = cost_same_devices(src.sbp[0], dst.sbp[0], p, 12 * 24 * 4)
        if expected is not None:
            assert route(src, dst, shape, 4).nbytes(shape, 4) == expected, (src, dst)


@pytest.mark.parametrize("p1,p2", list(itertools.product(range(1, 5), repeat=2)))
def test_bytes_between_different_devices(p1: int, p2: int) -> None:
    """T, plus (p2 - 1) T to B, plus (p1 - 1) T from P; also where shards are uneven."""
    for shape in [(12, 24), (7, 5), (2, 3)]:
        total = int(np.prod(shape)) * 8
        for src, dst in itertools.product(one_dimensional(line(*range(p1)), 2), one_dimensional(line(*range(9, 9 + p2)), 2)):
            if src.is_partial and dst.is_partial and src.sbp != dst.sbp and p1 > 1 and p2 > 1:
                continue
            expected = total + (dst.is_broadcast and (p2 - 1) * total) + (src.is_partial and (p1 - 1) * total)
            assert route(src, dst, shape, 8).nbytes(shape, 8) == expected, (src, dst, shape)


def test_another_partial_operation_goes_through_the_value() -> None:
    """Summands are no candidates of a maximum. Through the even split of all elements: T (p - 1) bytes."""
    where = line(0, 1, 2)
    way = route(layout(where, of.P), layout(where, of.P("max")), (6, 2), 8)
    assert len(way.steps) == 2 and way.steps[0].flat and way.steps[0].dst.sbp == (of.S(0),)
    assert way.nbytes((6, 2), 8) == 12 * 8 * 2


def test_overlapping_devices_never_cost_more_than_different_ones() -> None:
    for p1, p2 in itertools.product(range(1, 5), repeat=2):
        far = line(*range(9, 9 + p2))
        for here, there in meetings(p1, p2):
            for src, dst in itertools.product(one_dimensional(here, 2), one_dimensional(there, 2)):
                ways = [route(src, each, (7, 5), 8).nbytes((7, 5), 8) for each in (dst, Layout(far, dst.sbp))]
                assert ways[0] <= ways[1], (src, dst)


def test_a_pull_is_in_rank_order_and_touches_every_element_once_a_contribution() -> None:
    """So the sum does not depend on timing, and nothing is added twice."""
    shape = (7, 5)
    for src, dst in itertools.product(one_dimensional(line(0, 1, 2), 2), one_dimensional(line(1, 2, 3, 4), 2)):
        for step in route(src, dst, shape, 8).steps:
            size = step.shape(shape)
            for rank, pulls in enumerate(step.pulls(shape)):
                assert [p.source for p in pulls] == sorted(p.source for p in pulls)
                count = np.zeros(step.dst.shard_shape(size, rank), int)
                for p in pulls:
                    count[tuple(slice(a, b) for a, b in p.put)] += 1
                if not step.dst.is_partial:
                    assert (count == (step.src.placement.size if step.src.is_partial else 1)).all()


def test_replicas_of_a_sum_are_equal_bit_for_bit() -> None:
    """Whichever replicas of the summands a consumer reads, it adds them in the same order."""
    draw = np.random.default_rng(7)
    for where in (of.placement("cpu", [[0, 1, 2], [3, 4, 5]]), of.placement("cpu", [[5, 1], [4, 2], [3, 0]]), line(0, 1, 2, 3)):
        for src in all_layouts(where, 1):
            parts = {key: draw.normal(size=11) for key in itertools.product(*map(range, where.mesh))}
            shards = []
            for rank in range(where.size):
                at = tuple(c if s.is_partial else 0 for s, c in zip(src.sbp, where.coordinates(rank), strict=True))
                shards.append(parts[at][src.box((11,), rank)[0][0] : src.box((11,), rank)[0][1]])
            dst = Layout(where, (of.B,) * len(where.mesh))
            made = box(shards, route(src, dst, (11,), 8), (11,))[0]
            assert all((m == made[0]).all() for m in made), src
