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
