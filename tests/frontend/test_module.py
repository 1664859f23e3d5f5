"""Modules are declarations: names, aliases, annotations, and tensors only inside a trace."""

from contextlib import contextmanager

import pytest

from oflow.errors import SbpError, ShapeError, TraceError
from oflow.frontend import nn
from oflow.frontend.active import ACTIVE
from oflow.graph import Builder
from oflow.ops.tensor import Tensor
from oflow.sbp import B, P, S, placement

CPU4 = placement("cpu", [0, 1, 2, 3])
GRID = placement("cpu", [[0, 1], [2, 3]])


class Recorder:
    """A capture that gives each declaration one value of a builder."""

    def __init__(self):
        self.builder = Builder()
        self.made = {}
        self.assigned = {}

    def parameter(self, p):
        if p not in self.made:
            self.made[p] = Tensor(self.builder, self.builder.value(p.type).id)
        return self.made[p]

    def assign_buffer(self, p, tensor):
        self.assigned[p] = tensor


@contextmanager
def tracing():
    recorder = Recorder()
    token = ACTIVE.set(recorder)
    try:
        yield recorder
    finally:
        ACTIVE.reset(token)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(4, 8)
        self.down = nn.Linear(8, 4, bias=False)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(16, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(4, 16, bias=False)
        self.head.weight = self.table.weight
        self.steps = nn.Buffer((), "int64")


def test_names_are_attribute_paths_and_shared_parameters_come_once():
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == [
        "steps", "table.weight", "blocks.0.up.weight", "blocks.0.up.bias", "blocks.0.down.weight",
        "blocks.1.up.weight", "blocks.1.up.bias", "blocks.1.down.weight",
    ]  # fmt: skip
    assert list(model.named_aliases()) == [("head.weight", "table.weight")]


def test_roots_add_a_prefix_only_when_there_are_several():
    one, two = Block(), Block()
    assert set(nn.parameter_names({"one": one}).values()) == {"up.weight", "up.bias", "down.weight"}
    two.up = one.up
    both = {"one": one, "two": two}
    assert nn.parameter_names(both)[id(two.down.weight)] == "two.down.weight"
    assert nn.parameter_names(both)[id(two.up.weight)] == "one.up.weight"
    assert nn.parameter_aliases(both) == {"two.up.weight": "one.up.weight", "two.up.bias": "one.up.bias"}


def test_declarations_outside_a_trace_and_tensors_inside():
    model = Block()
    assert isinstance(model.up.weight, nn.Parameter)
    with pytest.raises(TraceError, match=r"test_module\.py.*outside a traced function"):
        model.up.weight.tensor()
    with tracing():
        weight = model.up.weight
        assert isinstance(weight, Tensor) and weight.shape == (8, 4)
        assert model.up.weight is weight
    assert isinstance(model.up.weight, nn.Parameter)


def test_replacing_a_child_forgets_the_old_one():
    model = Block()
    model.down = nn.GELU()
    assert [name for name, _ in model.named_parameters()] == ["up.weight", "up.bias"]
    assert isinstance(model.down, nn.GELU)


def test_annotations():
    model = Block()
    assert model.up.weight.layout is None
    model.up.weight.to_global(CPU4, S(0))
    assert str(model.up.weight.layout) == "S(0)@cpu:0-3"
    model.down.to_global(GRID, (S(1), B))
    assert str(model.down.weight.layout) == "(S(1), B)@cpu:0-3 (2,2)"


@pytest.mark.parametrize(
    ("where", "sbp", "says"), [(CPU4, S(2), "does not have"), (GRID, S(0), "2 mesh axes"), (CPU4, P, "stored whole")]
)
def test_a_layout_a_weight_cannot_have_is_refused_at_the_users_line(where, sbp, says):
    with pytest.raises(SbpError, match=says) as e:
        Block().up.weight.to_global(where, sbp)
    assert e.value.line.startswith("test_module.py:")


def test_a_refused_module_annotation_changes_nothing():
    model = Block()
    with pytest.raises(SbpError, match=r"of up\.bias"):
        model.to_global(CPU4, S(1))
    assert all(p.layout is None for _, p in model.named_parameters())


def test_buffers_are_assigned_inside_a_trace_only():
    model = Tied()
    with tracing() as recorder:
        model.steps = model.steps
        assert [p.shape for p in recorder.assigned] == [()]
        with pytest.raises(ShapeError, match=r"i64\[\], not f32\[8, 4\]"):
            model.steps = model.blocks[0].up.weight
        with pytest.raises(TraceError, match="only the optimizer"):
            model.table.weight = model.head.weight
    with pytest.raises(TraceError, match="inside a traced function"):
        model.steps = 1


def test_mistakes_in_declarations():
    class Forgot(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter((2,))

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = [Block()]

    with pytest.raises(TraceError, match=r"super\(\)"):
        Forgot()
    with pytest.raises(TraceError, match="ModuleList"):
        Hidden()
    with pytest.raises(ShapeError, match="at least 1"):
        nn.Parameter((0, 3))
    with pytest.raises(ShapeError, match="Buffer"):
        nn.Parameter((3,), "int64", "zeros")
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        Block().nope  # noqa: B018
