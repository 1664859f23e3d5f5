"""Buckets: which gradients travel together, in what order, when, and that the proved period says whether it pays."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

import oflow as of
from oflow.boxings import bucket_of
from tests.compiler.data_parallel import wide


def deep(nbytes: int | str | None, layers: int = 6, width: int = 64, devices: int = 4, **options: object) -> of.Program:
    """(x (2048, width), y (256,)) -> cross-entropy of equal layers, the batch split."""
    where = of.placement("cpu", list(range(devices)))
    model = of.nn.ModuleList([of.nn.Linear(width, width) for _ in range(layers)])

    def loss(x, y):
        for layer in model:
            x = of.relu(layer(x))
        return of.cross_entropy(x, y)

    specs = of.spec((2048, width), "float32", where, of.S(0)), of.spec((2048,), "int64", where, of.S(0))
    return of.compile(loss, *specs, optimizer=of.optim.AdamW(), bucket_nbytes=nbytes, **options)


def messages(program: of.Program) -> int:
    """Acts that read other devices' memory, on one device."""
    return sum(a.acts for a in program.plan.actor_templates if any(p.peers for p in a.ports) and a.phase in ("B", "update"))


def gradients(program: of.Program) -> tuple[list[int], set[str]]:
    """How many gradients travel in each bucket, and in what dtypes."""
    graph = program.passes["buckets"]
    assert isinstance(graph, of.Graph)
    found = [n for n in graph.nodes if bucket_of(n) and n.attributes["leg"] == 0 and n.phase == "B"]
    sizes = [len(list(members)) for _, members in itertools.groupby(found, key=bucket_of)]
    return sizes, {graph.values[n.ins[0]].type.dtype for n in found}


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("zero", [0, 1, 2])
def test_gradients_fill_buckets_in_the_order_of_the_backward_pass(zero: int, micro_batches: int) -> None:
    limit = 40_000
    program = deep(limit, zero=zero, micro_batches=micro_batches)
    graph = program.passes["buckets"]
    assert isinstance(graph, of.Graph)
    firsts = [n for n in graph.nodes if bucket_of(n) and n.attributes["leg"] == 0 and n.phase == "B"]
    made = {v: place for place, node in enumerate(graph.nodes) for v in node.outs}
    ready = [made[n.ins[0]] for n in firsts]
    assert len(firsts) == 12 and ready == sorted(ready)
    sizes = []
    for _, members in itertools.groupby(firsts, key=lambda n: n.attributes["bucket"]):
        nbytes = [graph.values[n.ins[0]].type.nbytes for n in members]
        sizes.append(sum(nbytes))
        assert sum(nbytes[:-1]) < limit
    assert all(size >= limit for size in sizes[:-1])
    # each bucket is there before gradients of earlier layers are made, not at the end
    places = {n.attributes["bucket"]: place for place, n in enumerate(graph.nodes) if bucket_of(n) and n.phase == "B"}
    matmuls = [place for place, n in enumerate(graph.nodes) if n.phase == "B" and n.op == "matmul"]
    assert min(places.values()) < matmuls[-1]


@pytest.mark.parametrize("zero,micro_batches", [(0, 1), (1, 1), (2, 1), (2, 2)])
def test_sixteen_bits_fill_the_same_buckets(zero: int, micro_batches: int) -> None:
    """In half the bytes. The bucket converts what it brings, and adds it up: nothing but updates waits for it."""
    options = {"zero": zero, "micro_batches": micro_batches}
    for limit in (1, 40_000, 1 << 30):
        full, half = deep(limit, **options), deep((limit + 1) // 2, **options, precision="bfloat16")
        assert gradients(half)[0] == gradients(full)[0] and gradients(half)[1] == {"bfloat16"}
        if zero and limit != 40_000:  # whole gradients take one leg or two, as it is cheaper; weights are float32
            assert messages(half) == messages(full)
        plan = half.plan
        pulls = [a for a in plan.actor_templates if a.phase == "B" and a.stream != "compute"]
        brought = {p.register for a in pulls if "cast" in {call.op for call in a.calls} for p in a.ports if p.direction == "out"}
        data = [(a.phase, p) for a in plan.actor_templates for p in a.ports if p.direction == "in" and p.mode != "control"]
        assert brought and {phase for phase, p in data if p.register in brought} == {"update"}


def test_gradients_of_several_precisions_travel_together() -> None:
    """A norm has float32 weights under mixed precision, too."""
    where, norm, product = of.placement("cpu", [0, 1, 2, 3]), of.nn.LayerNorm(64), of.nn.Linear(64, 64)
    specs = of.spec((2048, 64), "float32", where, of.S(0)), of.spec((2048,), "int64", where, of.S(0))
    options = {"optimizer": of.optim.AdamW(), "zero": 2, "bucket_nbytes": 1 << 30, "machine": "two-level"}
    step = of.compile(lambda x, y: of.cross_entropy(product(norm(x)), y), *specs, **options, precision="bfloat16")
    assert gradients(step)[1] == {"bfloat16", "float32"}
    assert messages(step) == 2


def test_fewer_messages_and_a_shorter_period() -> None:
    alone, together = deep(1, zero=1), deep(1 << 30, zero=1)
    assert messages(together) == 2  # one reduce-scatter of all gradients, one all-gather of all weights
    assert messages(alone) == 24
    assert together.plan.check().period < alone.plan.check().period


@pytest.mark.parametrize("machine", ["reference", "two-level"])
@pytest.mark.parametrize("zero", [0, 1, 2])
def test_automatic_buckets_never_make_the_period_longer(zero: int, machine: str) -> None:
    plain = deep(None, zero=zero, machine=machine, devices=8).plan.check().period
    found = {n: deep(n, zero=zero, machine=machine, devices=8).plan.check().period for n in (1, 20_000, 1 << 30, "auto")}
    assert found["auto"] <= min(plain, found[1], found[1 << 30])


def test_a_large_and_a_small_gradient_take_one_route() -> None:
    """Alone a bias goes straight to every device; in a bucket it is summed in parts like the weight beside it, with its messages."""
    for limit, routes in ((1, {1, 2}), (1 << 30, {2})):
        program = wide(4, 0, bucket_nbytes=limit)
        assert {len(one.moves) for one in program.boxings() if one.bucket is not None} == routes


def test_the_bytes_listed_are_those_that_the_plan_moves(golden: Callable[[str, str], None]) -> None:
    for zero, limit in itertools.product((0, 1, 2, 3), (1, 1 << 30)):
        program = wide(4, zero, micro_batches=2, bucket_nbytes=limit)
        devices = [a for a in program.plan.actors if a.device.startswith("cpu")]
        received = sum(a.acts * n for a in devices for source, n in a.cost.received if source.startswith("cpu"))
        between = [one for one in program.boxings() if "host" not in (one.source.placement.kind, one.target.placement.kind)]
        listed = sum(one.nbytes for one in between)
        assert received == listed, (zero, limit)
    golden("buckets.txt", of.view.boxings(wide(4, 1, micro_batches=2, bucket_nbytes=1 << 20).boxings()))


def test_what_is_refused() -> None:
    for wrong in (0, -5, "large", 1.5, True):
        with pytest.raises(of.PlanError, match="bucket_nbytes"):
            deep(wrong)  # type: ignore[arg-type]
