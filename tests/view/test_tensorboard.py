"""Event files as TensorBoard itself reads them."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from oflow import view
from oflow.cli import main
from oflow.cli.tensorboard import scalars
from oflow.errors import OflowError
from oflow.graph import Graph
from oflow.live import Progress
from tests.test_graphtext import random_graph, small_graph

DIGITS = str(Path(__file__).parents[2] / "examples" / "digits.py")
installed = pytest.mark.skipif(find_spec("tensorboard") is None, reason="the extra tensorboard is not installed")


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


@installed
def test_scalars_come_back(tmp_path: Path) -> None:
    losses = [0.5, 0.25, 0.125]
    with view.scalar_events(tmp_path) as write:
        for step, loss in enumerate(losses):
            write(step, {"loss": loss, "busy/cpu:0": 1.0})
    found = read(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("loss")] == list(enumerate(losses))
    assert sorted(found.Tags()["scalars"]) == ["busy/cpu:0", "loss"]


@installed
@pytest.mark.parametrize("graph", [small_graph(), *map(random_graph, range(5))], ids=["small", *map(str, range(5))])
def test_the_graph_has_every_operator_and_edge(graph: Graph, tmp_path: Path) -> None:
    view.graph_events(graph, tmp_path)
    nodes = {node.name: node for node in read(tmp_path).Graph().node}
    assert len(nodes) == len(graph.nodes) + len(graph.inputs) + len(graph.parameters) + len(graph.outputs)
    edges = [source.partition(":")[0] for node in nodes.values() for source in node.input]
    assert set(edges) <= nodes.keys()
    assert len(edges) == sum(len(node.ins) for node in graph.nodes) + len(graph.outputs)


@installed
def test_the_command_writes_the_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", DIGITS, "tensorboard", "-o", str(tmp_path / "run")]) == 0
    assert f"tensorboard --logdir {tmp_path / 'run'}" in capsys.readouterr().out
    assert {node.op for node in read(tmp_path / "run").Graph().node} >= {"input", "parameter", "matmul", "output"}
    assert main(["view", DIGITS, "tensorboard"]) == 2
    assert "-o FOLDER" in capsys.readouterr().err


@installed
def test_a_training_writes_every_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", DIGITS, "epochs=1", "--tensorboard", str(tmp_path), "--json"]) == 0
    *steps, summary = map(json.loads, capsys.readouterr().out.splitlines())
    found = read(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(one["step"], pytest.approx(one["loss"], rel=1e-6)) for one in steps]
    assert len(steps) == summary["steps"] and found.Graph().node


def test_what_is_not_known_of_a_step_is_no_scalar() -> None:
    assert scalars(Progress(1, None, 0.5, 2.0)) == {"loss": 0.5}
    known = scalars(Progress(2, 4, 0.25, 3.0, steps_per_second=2.0, busy={"cpu:0": 0.5}, slots_in_use=3, slots=8))
    assert known == {"loss": 0.25, "steps_per_second": 2.0, "slots_in_use": 3, "busy/cpu:0": 0.5}


def test_without_its_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(OflowError, match=r"pip install 'oflow\[tensorboard\]'"):
        view.graph_events(small_graph(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
