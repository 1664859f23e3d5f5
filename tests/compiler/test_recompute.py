"""Regions that are computed again: what is kept between the passes, what is copied, and where the copies stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import oflow as of
from oflow.compiler.copies import backward
from oflow.graph import Graph, Node
from tests.compiler.nets import graph, plan

WIDTH, BATCH = 8, 16
TWO = of.placement("cpu", [0, 1])
Call = Callable[[Any], Any]


def trained(function: Call, shape: tuple[int, ...] = (BATCH, WIDTH), where: of.Placement | None = None, **options: Any) -> of.Program:
    """The mean of the function's squared result, and a step of SGD."""

    def loss(x):
        return of.mean(of.square(function(x)))

    spec = of.spec(shape, "float64", where, of.S(0)) if where else of.spec(shape, "float64")
    return of.compile(loss, spec, optimizer=of.optim.SGD(lr=0.1), **options)


def layer() -> of.nn.Linear:
    return of.nn.Linear(WIDTH, WIDTH, dtype="float64")


class FeedForward(of.nn.Module):
    def __init__(self, up: of.nn.Linear | None = None, down: of.nn.Linear | None = None):
        super().__init__()
        self.up, self.down = up or layer(), down or layer()

    def forward(self, x):
        return self.down(of.tanh(self.up(x)))


def copies(program: of.Program) -> list[Node]:
    """Nodes of the backward pass that are not there before the pass."""
    before = {n.id for n in graph(program, "fuse").nodes}
    return [n for n in program.graph.nodes if n.id not in before]


def kept(program: of.Program) -> list[str]:
    """Operators whose results the forward pass keeps for the backward, over the nodes that make them."""
    found = program.graph
    makers = found.producers()
    read = {v for n in found.nodes if backward(n) for v in n.ins}
    return sorted(makers[v].op for v in read if v in makers and makers[v].phase == "F")


def test_only_the_input_of_a_region_is_kept() -> None:
    first, inner = layer(), FeedForward()
    plain = trained(lambda x: inner(of.tanh(first(x))))
    again = trained(lambda x: of.recompute(inner)(of.tanh(first(x))))
    assert copies(plain) == []
    made = copies(again)
    assert all(n.phase == "B" and n.region for n in made)
    assert Counter(n.op for n in made) <= Counter(n.op for n in again.graph.nodes if n.phase == "F" and n.region)
    assert not any(n.op == "linear" and n.region for n in again.graph.nodes if n.outs[0] in _kept_values(again.graph))
    assert len(kept(again)) < len(kept(plain))


def test_the_last_operator_of_a_region_is_computed_again_beside_a_loss_it_would_fuse_with() -> None:
    """Groups of elementwise operators end where a region does: what the last one reads is made again, not kept."""
    inner = FeedForward()
    marked = of.recompute(lambda x: of.tanh(inner(x)))
    for shape in ((BATCH, WIDTH), (512, WIDTH)):
        found = trained(marked, shape, micro_batches=2).graph
        makers = found.producers()
        last = {v for n in found.nodes if n.phase == "F" and not n.region for v in n.ins}  # what leaves the region, read behind it
        read = {v for n in found.nodes if backward(n) for v in n.ins}
        inside = {v for v in read - last if v in makers and makers[v].phase == "F" and makers[v].region}
        assert not inside, [makers[v].op for v in inside]
        assert not {makers[v].op for v in read if v in makers and makers[v].phase == "F"} & {"matmul"}


def _kept_values(found: Graph) -> set[int]:
    return {v for n in found.nodes if backward(n) for v in n.ins}


def test_what_nobody_reads_in_the_backward_is_not_computed_again() -> None:
    """The last product's result has no reader in its region's backward."""
    block = of.recompute(FeedForward())
    made = copies(trained(block))
    forward = [n for n in trained(block).graph.nodes if n.phase == "F" and n.region]
    assert 0 < len(made) < len(forward)


def test_copies_stand_right_before_their_first_reader() -> None:
    """Blocks are computed again one after the other, the last first, so one block's values are in memory at a time."""
    blocks = of.nn.ModuleList([of.recompute(FeedForward()) for _ in range(3)])

    def net(x):
        for block in blocks:
            x = block(x)
        return x

    program = trained(net)
    regions = [n.region for n in program.graph.nodes if backward(n) and n.region]
    runs = [r for i, r in enumerate(regions) if i == 0 or r != regions[i - 1]]
    assert runs == [(2,), (1,), (0,)]


def test_in_16_bits_conversions_inside_a_region_are_made_again_and_not_kept() -> None:
    layers = [of.nn.Linear(WIDTH, WIDTH) for _ in range(3)]

    @of.recompute
    def block(x):
        for one in layers:
            x = of.softmax(one(x))
        return x

    def loss(x):
        return of.mean(of.square(block(of.tanh(x))))

    spec = of.spec((BATCH, WIDTH), "float32")
    program = of.compile(loss, spec, optimizer=of.optim.SGD(lr=0.1), precision="bfloat16")
    makers = program.graph.producers()
    weights = {p.value for p in program.graph.parameters}
    conversions = [n for n in program.graph.nodes if n.op == "cast" and n.phase == "F"]
    of_weights = [n for n in conversions if n.ins[0] in weights]
    assert len(of_weights) == 6 and not any(n.region for n in of_weights), "a weight and a bias are converted once a step"
    inside = [n for n in conversions if n not in of_weights and makers.get(n.ins[0]) and makers[n.ins[0]].region]
    assert inside and all(n.region for n in inside)
    kept_values = {v for n in program.graph.nodes if backward(n) for v in n.ins if v in makers and makers[v].phase == "F"}
    assert not {n.outs[0] for n in inside} & kept_values


def test_an_inner_region_is_computed_once_for_the_outer_one_and_once_for_itself() -> None:
    def net(mark_outer: Call, mark_inner: Call) -> int:
        up, inner, down = layer(), FeedForward(), layer()
        return len(copies(trained(mark_outer(lambda x: of.tanh(down(mark_inner(inner)(of.tanh(up(x)))))))))

    def plain(what: Any) -> Any:
        return what

    assert net(of.recompute, of.recompute) == net(of.recompute, plain) + net(plain, of.recompute)
    assert min(net(of.recompute, plain), net(plain, of.recompute)) > 0


def test_copies_are_not_merged_with_what_they_copy() -> None:
    block = of.recompute(FeedForward())
    program = trained(block)
    by_value = {v: n for n in program.graph.nodes for v in n.outs}
    for node in copies(program):
        twins = [n for n in program.graph.nodes if (n.op, n.attrs, n.line) == (node.op, node.attrs, node.line) and n.phase == "F"]
        assert twins and all(by_value[n.outs[0]] is not node for n in twins)


def test_boxings_inside_are_computed_again_and_those_from_the_stage_before_are_not() -> None:
    up, down = layer(), layer()
    up.weight.to_global(TWO, of.S(0))
    down.weight.to_global(TWO, of.S(1))
    block = FeedForward(up, down)

    def net(x):
        return of.tanh(of.recompute(lambda x: of.tanh(block(x)))(x))

    made = copies(trained(net, where=TWO))
    assert any(n.op == "boxing" for n in made)
    first, second = layer(), layer()
    first.to_global(of.placement("cpu", [0]), of.B)
    second.to_global(of.placement("cpu", [1]), of.B)

    def staged(x):
        with of.recompute():
            with of.stage(0):
                x = of.tanh(of.tanh(first(x)))
            with of.stage(1):
                return of.tanh(second(of.tanh(x)))

    program = trained(staged, where=of.placement("cpu", [0]), micro_batches=2)
    assert {n.stage for n in copies(program)} == {0, 1}
    assert not any(n.op == "boxing" for n in copies(program))
    assert all(program.graph.producers()[v].stage == n.stage for n in copies(program) for v in n.ins if v in program.graph.producers())


def test_a_buffer_is_written_once() -> None:
    norm = of.nn.BatchNorm1d(WIDTH, dtype="float64")
    lin = layer()
    program = trained(lambda x: of.recompute(lambda x: of.tanh(norm(of.tanh(lin(x)))))(x))
    assert copies(program)
    written = [p.update for p in program.graph.parameters if p.update is not None]
    assert len(written) == len(set(written)) == sum(n.phase == "update" for n in program.graph.nodes if set(n.outs) & set(written))


@pytest.mark.parametrize("stages,micro_batches,schedule", [(3, 6, "1f1b"), (3, 6, "gpipe")])
def test_a_pipeline_keeps_the_input_of_each_stage_only(stages: int, micro_batches: int, schedule: str) -> None:
    def made(mark: Callable[[Any], Any]) -> of.Program:
        layers = [[layer(), layer()] for _ in range(stages)]
        for i, pair in enumerate(layers):
            for one in pair:
                one.to_global(of.placement("cpu", [i]), of.B)

        def net(x):
            for i, (up, down) in enumerate(layers):
                with of.stage(i):
                    x = mark(lambda x, up=up, down=down: of.tanh(of.tanh(down(of.tanh(up(x))))))(x)
            with of.stage(stages - 1):
                return of.mean(of.square(x))

        spec = of.spec((BATCH * micro_batches, WIDTH), "float64", of.placement("cpu", [0]), of.B)
        return of.compile(net, spec, optimizer=of.optim.SGD(lr=0.1), micro_batches=micro_batches, schedule=schedule)

    plain, again = made(lambda f: f), made(of.recompute)
    again.plan.check()
    for stage in range(stages - 1):
        device = f"cpu:{stage}"
        assert again.plan.arenas[device] < plain.plan.arenas[device]
        crossing = _stash_of(again.plan, stage)
        assert len(crossing) == 1 and len(_stash_of(plain.plan, stage)) > 1
        assert crossing[0].slots in {register.slots for register in _stash_of(plain.plan, stage)}


def _stash_of(made: of.Plan, stage: int) -> list[Any]:
    found = []
    for register in made.registers:
        if register.producer >= 0 and register.region == "arena":
            maker, readers = made.actors[register.producer], [made.actors[c] for c in register.consumers]
            if maker.phase == "F" and any((r.phase, r.stage) == ("B", stage) for r in readers):
                found.append(register)
    return found


def test_a_wrapped_module_keeps_its_names_and_attributes() -> None:
    class Block(of.nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.size = layer(), 3

        def forward(self, x):
            return of.tanh(self.up(x))

    class Net(of.nn.Module):
        def __init__(self, wrap):
            super().__init__()
            self.blocks = of.nn.ModuleList([wrap(Block()), wrap(Block())])
            self.drop = wrap(of.nn.Dropout(0.5))

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.drop(x)

    plain, wrapped = Net(lambda m: m), Net(of.recompute)
    assert [n for n, _ in wrapped.named_parameters()] == [n for n, _ in plain.named_parameters()]
    assert wrapped.blocks[0].size == 3 and wrapped.blocks[0].up is wrapped.blocks[0]._inside.up
    assert not wrapped.eval().drop._inside.training and wrapped.train().drop.training
    names = [{p.name for p in trained(net).graph.parameters} for net in (plain, wrapped)]
    assert names[0] == names[1]


GLOBAL = layer()


def test_a_function_written_inside_may_read_a_global_module() -> None:
    program = trained(lambda x: of.recompute(lambda h: of.tanh(of.tanh(GLOBAL(h))))(x))
    assert {p.name for p in program.graph.parameters} == {"weight", "bias", "optimizer.step"}


def test_marks_are_for_what_can_be_called_in_a_traced_function() -> None:
    with pytest.raises(of.TraceError, match="takes a module, a function or nothing"):
        of.recompute(3)  # type: ignore[call-overload]
    with pytest.raises(of.TraceError, match="has a meaning only inside a function"), of.recompute():
        pass


def test_without_an_optimizer_nothing_is_computed_again() -> None:
    lin = layer()
    program = of.compile(lambda x: of.recompute(lin)(x), of.spec((4, WIDTH), "float64"))
    assert program.graph == graph(program, "fuse")


def test_the_text_of_a_graph_names_the_regions() -> None:
    from oflow.graphtext import format_graph, parse_graph

    program = trained(of.recompute(FeedForward()))
    text = format_graph(program.graph)
    assert " region 0" in text and parse_graph(text) == program.graph
    assert plan(program, "memory").check()
