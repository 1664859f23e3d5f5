"""Sharded state as annotations: where parameters are cut, what boxings follow, and the bytes of every device, to the byte."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest

import oflow as of
from oflow.compiler.sharding import shard
from oflow.plan import ALIGNMENT, aligned
from oflow.sbp import Layout
from oflow.types import TensorType
from tests.compiler.data_parallel import layered, wide
from tests.program.nets import classifier

EIGHT = of.placement("cpu", list(range(8)))
MESH = of.placement("cpu", [[0, 1], [2, 3]], names=("data", "tensor"))


WEIGHTS = (64 * 256, 256, 256 * 128, 128)


@pytest.mark.parametrize("micro_batches", [1, 4])
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_bytes_of_state_are_those_of_the_published_formulas(devices: int, micro_batches: int) -> None:
    """Rajbhandari et al. 2020, figure 1, with 4 bytes a number: 12 a parameter, 4 + 8/d, 4 + 8/d, 12/d; and the step's counter."""
    count = sum(WEIGHTS)
    for zero, nbytes in enumerate((12 * count, 4 * count + 8 * count // devices, 4 * count + 8 * count // devices, 12 * count // devices)):
        plan = wide(devices, zero, micro_batches=micro_batches).plan
        report = plan.check()
        assert {report.states[d] for d in plan.devices if d.startswith("cpu")} == {nbytes + aligned(8)}


def test_the_boxings_that_follow(golden: Callable[[str, str], None]) -> None:
    text = []
    for zero in (0, 1, 2, 3):
        step = wide(4, zero, micro_batches=2)
        text.append(f"zero={zero}\n{of.view.boxings(step.boxings())}")
    golden("zero.txt", "\n".join(text))


def test_accumulated_gradients_are_kept_as_shards_from_the_second_stage_on() -> None:
    for zero, held in ((1, 4), (2, 1), (3, 1)):
        plan = wide(4, zero, micro_batches=4).plan
        sums = [p.register for a in plan.actor_templates for p in a.ports if p.mode == "sum" and a.phase == "B"]
        sizes = sorted(plan.register_templates[r].types[0].size for r in sums)
        assert sizes == sorted(n * held // 4 for n in WEIGHTS), (zero, sizes)


def test_a_cut_moves_nothing_and_is_even_where_it_can_be() -> None:
    seed = random.randrange(1 << 32)
    draw = random.Random(seed)
    for _ in range(300):
        shape = tuple(draw.choice((1, 3, 5, 8, 12, 64, 100)) for _ in range(draw.randint(0, 3)))
        sbp = tuple(draw.choice((of.B, *map(of.S, range(len(shape))))) for _ in range(2))
        home, kind = Layout(MESH, sbp), TensorType(shape, "float32")
        made = shard(home, kind, (0, 1))
        for rank in range(4):
            for (a, b), (c, d) in zip(made.box(shape, rank), home.box(shape, rank), strict=True):
                assert c <= a <= b <= d, (seed, home, made, shape)
        sizes = {made.shard_shape(shape, rank) for rank in range(4)}
        if made != home:
            assert min(TensorType(size, "float32").nbytes for size in sizes) >= ALIGNMENT, (seed, home, made, shape)
        assert [s for s, before in zip(made.sbp, sbp, strict=True) if before.is_split] == [s for s in sbp if s.is_split]


@pytest.mark.parametrize(
    "shape,made",
    [((64, 256), "S(1)"), ((256, 64), "S(0)"), ((50257, 768), "S(1)"), ((129, 67), "S(0)"), ((128,), "S(0)"), ((127,), "B"), ((), "B")],
)
def test_the_largest_axis_that_falls_into_equal_parts(shape: tuple[int, ...], made: str) -> None:
    """127 float32 on 8 devices leave less than 64 bytes to one: slots begin at multiples of 64, so nothing would be saved."""
    found = shard(Layout(EIGHT, (of.B,)), TensorType(shape, "float32"), (0,))
    assert str(found.sbp[0]) == made


def test_only_what_repeats_is_cut() -> None:
    grid = classifier("grid", zero=1).graph
    homes = {grid.values[p.value].name: str(grid.values[p.value].layout.sbp) for p in grid.parameters}
    assert homes["up.weight"] == "(B, S(0))" and homes["up.weight.m"] == "(S(1), S(0))"
    assert homes["down.weight.v"] == "(S(0), S(1))" or homes["down.weight.v"] == "(B, S(1))"


@pytest.mark.parametrize("bucket_nbytes", [None, 100_000])
@pytest.mark.parametrize("zero", [2, 3])
def test_rings_are_no_larger_for_more_layers(zero: int, bucket_nbytes: int | None) -> None:
    """What passes through a ring takes the bytes of the two largest that are there together, however many layers there are."""
    sizes = []
    for count in (6, 12):
        plan = layered(count, zero, bucket_nbytes=bucket_nbytes).plan
        plan.check()
        rings: dict[str, list[of.plan.RegisterTemplate]] = {}
        for template in plan.register_templates:
            if template.ring:
                rings.setdefault(template.ring, []).append(template)
        assert len(rings) == {2: 1, 3: 3}[zero]
        found = {}
        for name, members in rings.items():
            spans = [(t.offsets[0], t.offsets[0] + t.types[0].nbytes) for t in members]
            found[name] = max(stop for _, stop in spans) - min(start for start, _ in spans)
            assert sum(stop - start for start, stop in spans) > found[name]
        sizes.append(found)
    assert sizes[0] == sizes[1]


def test_a_missing_wait_in_a_ring_is_refused() -> None:
    """The proof finds what the pass relies on: without any one of the ring's control registers the plan does not pass."""
    plan = layered(6, 3).plan
    controls = [n for n, t in enumerate(plan.register_templates) if t.name.startswith("control.") and ">boxing" in t.name]
    assert controls
    for number in controls[:6]:
        actors = tuple(
            dataclasses.replace(a, ports=tuple(p for p in a.ports if p.register != number)) for a in plan.actor_templates
        )  # fmt: skip
        with pytest.raises(of.PlanError, match="share bytes"):
            dataclasses.replace(plan, actor_templates=actors).check()


def test_sixteen_bits_are_gathered_in_sixteen_bits() -> None:
    """Once a step of each weight, in half the bytes of float32."""
    for precision, nbytes in ((None, 4), ("bfloat16", 2)):
        step = layered(6, {"stage": 3, "gather": "step"}, precision=precision)
        weights = [one for one in step.boxings() if one.why == "sharded state" and one.type.shape == (128, 128) and one.phase != "update"]
        found = [one for one in weights if one.moves[-1].layout.sbp == (of.B,)]
        assert {one.type.dtype for one in found} == {precision or "float32"}
        assert sum(one.times * one.count for one in found) == 6
        assert sum(one.nbytes for one in found) == 6 * 3 * 128 * 128 * nbytes  # of all devices: three quarters of it each
