"""The page's data keeps its contract: columns of equal length, references that exist, times in order, nothing that is not JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow.actors import simulate
from oflow.boxings import Boxing
from oflow.check import Proof, check
from oflow.errors import OflowError, PlanError
from oflow.plan import Plan
from oflow.view.report import roles
from oflow.view.report.data import report_data
from oflow.view.report.page import json_text
from oflow.view.report.rows import MOST_GROUPS
from oflow.view.style import device_range
from tests.plans import chain, diamond, gpipe, pipeline_1f1b, random_plan
from tests.test_graphtext import random_graph, small_graph
from tests.view.things import rich_plan

Data = dict[str, Any]
PLANS = {"rich": rich_plan(), "1f1b": pipeline_1f1b(3, 4), "gpipe": gpipe(2, 3), "diamond": diamond(1), "chain": chain(3, 2, 2)}


def perceptron(executor: str = "threads", stages: int = 2) -> of.Program:
    """Two layers on two pipeline stages of two devices each, the first one's weight split over its devices."""
    where = [of.placement("cpu", [2 * i, 2 * i + 1]) for i in range(stages)]

    class Model(of.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = of.nn.ModuleList(of.nn.Linear(8, 8) for _ in where)
            for layer, at in zip(self.layers, where, strict=True):
                layer.to_global(at, of.B)
            self.layers[0].weight.to_global(where[0], of.S(0))

        def forward(self, x: Any, y: Any) -> Any:
            for layer, at in zip(self.layers, where, strict=True):
                x = of.relu(layer(x.to_global(at, of.S(0))))
            return of.mean((x - y.to_global(where[-1], of.S(0))) ** 2)

    specs = (of.spec((8, 8), where=where[0], sbp=of.S(0)), of.spec((8, 8), where=where[-1], sbp=of.S(0)))
    model = Model()
    return of.compile(model, *specs, optimizer=of.optim.SGD(0.1), micro_batches=2, executor=executor)


# ---------------------------------------------------------------- the contract


def whole(columns: dict[str, list[Any]], names: Iterable[str]) -> int:
    """These columns, all of one length."""
    assert set(columns) == set(names), set(columns) ^ set(names)
    lengths = {name: len(column) for name, column in columns.items()}
    assert len(set(lengths.values())) == 1, lengths
    return next(iter(lengths.values()))


def within(column: Iterable[int], size: int, none: bool = False) -> None:
    assert all(-none <= row < size for row in column)


def keeps_the_contract(data: Data) -> None:
    assert json.loads(json_text(data)) == json.loads(json.dumps(data))
    assert all(data["devices"][d["ran_as"]]["ran_as"] == d["ran_as"] for d in data["devices"])
    devices, streams, groups = len(data["devices"]), len(data["streams"]), len(data["groups"])
    within((s["device"] for s in data["streams"]), devices)
    assert all(s["kind"] in ("compute", "comm", "copy", "host") for s in data["streams"])
    columns = "id name device stream stage phase kind acts seconds line group calls template"
    actors = whole(data["actors"], columns.split())
    assert data["actors"]["id"] == list(range(actors))
    for name, size in (("device", devices), ("stream", streams), ("group", groups)):
        within(data["actors"][name], size)
    assert [data["streams"][s]["device"] for s in data["actors"]["stream"]] == data["actors"]["device"]
    columns = "id name device type layout slots initial offset nbytes region producer consumers line"
    registers = whole(data["registers"], columns.split())
    within(data["registers"]["device"], devices)
    within(data["registers"]["producer"], actors, none=True)
    for readers in data["registers"]["consumers"]:
        within(readers, actors)
    counts = [0] * groups
    for group in data["actors"]["group"]:
        counts[group] += 1
    assert counts == [g["count"] for g in data["groups"]] and groups <= max(MOST_GROUPS, len(data["streams"]) * 8)
    _drawings(data, groups, registers)
    for trace in data["traces"].values():
        if trace is not None:
            _trace(data, trace, actors, registers, streams)
    _memory(data, registers)
    for change in (data["proof"] or {"what_if": []})["what_if"]:
        assert change["period_seconds"] < data["proof"]["period"] and change["change"]
    for entry in (data["proof"] or {"cycle": []})["cycle"]:
        within(entry["actors"][::2], actors, none=True)
        within([entry["register"]], registers, none=True)
        within([entry["stream"]], streams, none=True)
        assert entry["kind"] in ("data", "slot", "stream", "meet") and entry["text"]
        if entry["kind"] == "stream":
            stream = data["streams"][entry["stream"]]
            assert entry["text"].startswith(f"stream {data['devices'][stream['device']]['name']}/{stream['name']}:")
        if entry["register"] >= 0:
            device = data["devices"][data["registers"]["device"][entry["register"]]]["name"]
            assert f"{data['registers']['name'][entry['register']]}@{device}" in entry["text"]


def _drawings(data: Data, groups: int, registers: int) -> None:
    plan = data["plan"]
    assert sorted(box["group"] for box in plan["boxes"]) == list(range(groups))
    for box in plan["boxes"]:
        assert any(lane["y"] <= box["y"] and box["y"] + box["h"] <= lane["y"] + lane["h"] for lane in plan["lanes"])
    for edge in plan["edges"]:
        within([edge["source"], edge["target"]], groups)
        within(edge["registers"], registers)
        assert edge["registers"] and edge["path"].startswith("M")
    graph = data["graph"] or {"nodes": [], "edges": [], "width": 0, "height": 0}
    for number, node in enumerate(graph["nodes"]):
        assert node["id"] == number
        assert 0 <= node["x"] <= graph["width"] - node["w"] and 0 <= node["y"] <= graph["height"] - node["h"]
    for edge in graph["edges"]:
        within([edge["source"], edge["target"]], len(graph["nodes"]))
        assert edge["path"].startswith("M") and edge["type"]
    for drawing in (plan, graph):
        boxes = [(b["x"], b["y"], b["w"], b["h"]) for b in drawing.get("boxes", drawing.get("nodes", ()))]
        corners = [(x, y) for x, y, _, _ in boxes]
        assert len(set(corners)) == len(corners)
        for x, y, w, h in boxes[:40]:
            assert sum(abs(x - a) < w and abs(y - b) < h for a, b, _, _ in boxes) == 1, "boxes overlap"


def _trace(data: Data, trace: Data, actors: int, registers: int, streams: int) -> None:
    spans = trace["spans"]
    whole(spans, ("actor", "act", "start", "stop"))
    within(spans["actor"], actors)
    assert spans["start"] == sorted(spans["start"])
    assert all(0 <= a <= b <= trace["seconds"] for a, b in zip(spans["start"], spans["stop"], strict=True))
    assert all(act < trace["steps"] * data["actors"]["acts"][row] for row, act in zip(spans["actor"], spans["act"], strict=True))
    gaps = trace["gaps"]
    whole(gaps, ("stream", "start", "stop", "why", "actor", "register", "other"))
    within(gaps["why"], len(data["reasons"]))
    for name, size in (("actor", actors), ("register", registers), ("other", actors)):
        within(gaps[name], size, none=True)
    taken: list[list[tuple[float, float, int]]] = [[] for _ in range(streams)]
    for row, start, stop in zip(spans["actor"], spans["start"], spans["stop"], strict=True):
        taken[data["actors"]["stream"][row]].append((start, stop, 1))
    for stream, start, stop in zip(gaps["stream"], gaps["start"], gaps["stop"], strict=True):
        taken[stream].append((start, stop, 0))
    for mine in taken:
        reached = 0.0
        for start, stop, is_span in sorted(mine):
            assert start == reached or (is_span and start < reached)
            reached = max(reached, stop)
        assert reached == trace["seconds"]
    slots = trace["slots"]
    whole(slots, ("register", "slot", "time", "event"))
    within(slots["register"], registers)
    within(slots["event"], 3)
    assert slots["time"] == sorted(slots["time"])
    assert all(slot < data["registers"]["slots"][row] for row, slot in zip(slots["register"], slots["slot"], strict=True))


def _memory(data: Data, registers: int) -> None:
    assert [m["device"] for m in data["memory"]] in ([], [d["name"] for d in data["devices"]])
    for one in data["memory"]:
        assert len(one["time"]) == len(one["live"]) and one["time"] == sorted(one["time"])
        assert max(one["live"]) == one["peak"] <= one["arena"] + one["state"] and min(one["live"]) >= one["state"]
        within((top["register"] for top in one["top"]), registers)
        sizes = [top["nbytes"] for top in one["top"]]
        assert sizes == sorted(sizes, reverse=True) and sum(sizes) + one["state"] <= one["peak"]


def proof_of(plan: Plan) -> Proof | None:
    try:
        return check(plan)
    except OflowError:
        return None


@pytest.mark.parametrize("name", PLANS)
def test_contract(name: str) -> None:
    plan = PLANS[name]
    for graph in (None, small_graph()):
        keeps_the_contract(report_data(plan, None, graph, proof_of(plan)))
    data = report_data(plan, simulate(plan, steps=3), proof=proof_of(plan), measured=replace(simulate(plan, steps=1), source="measured"))
    keeps_the_contract(data)
    assert data["traces"]["simulated"]["steps"] == 3 and data["traces"]["measured"]["steps"] == 1


@pytest.mark.parametrize("seed", range(25))
def test_contract_of_random_plans_and_graphs(seed: int) -> None:
    print(f"seed {seed}")
    plan = random_plan(seed)
    data = report_data(plan, None, random_graph(seed), proof_of(plan))
    keeps_the_contract(data)
    if data["traces"]["simulated"] is None:
        assert data["proof"] is None and data["memory"] == []


def test_contract_of_a_program_that_ran() -> None:
    rng = np.random.default_rng(0)
    with perceptron() as program:
        program.record()
        for _ in range(2):
            program(*(rng.normal(size=(8, 8)).astype(np.float32) for _ in range(2)))
        boxings: tuple[Boxing, ...] = program.boxings()
        data = report_data(program.plan, None, program.graph, check(program.plan), measured=program.trace(), boxings=boxings)
    keeps_the_contract(data)
    assert len(data["boxings"]) == len(boxings) > 0
    assert all({"value", "from", "to", "route", "nbytes", "seconds", "why", "line"} <= one.keys() for one in data["boxings"])
    moved = {template for one in data["boxings"] for template in one["actors"]}
    movers = {i for i, a in enumerate(program.plan.actor_templates) if any(cost.received for cost in a.costs)}
    assert all(one["actors"] for one in data["boxings"]) and movers <= moved
    assert data["traces"]["measured"]["spans"]["start"][0] == 0.0
    sbps = {edge["sbp"] for edge in data["graph"]["edges"]}
    assert {"S(0)", "B"} <= sbps and "" not in sbps
    shown = {template for node in data["graph"]["nodes"] for template in node["actors"]}
    computes = {i for i, a in enumerate(program.plan.actor_templates) if a.nodes}
    assert computes <= shown


def test_golden(golden: Callable[[str, str], None]) -> None:
    plan = chain(3, 2, 2)
    data = report_data(plan, proof=check(plan), title="chain")
    golden("report.json", "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in data.items()) + "\n}\n")


# ---------------------------------------------------------------- what is refused, what is large


def test_a_trace_of_another_plan_is_refused() -> None:
    plan = chain(3, 2, 2)
    for other in (pipeline_1f1b(3, 4), chain(5, 2, 2), chain(3, 5, 2)):
        with pytest.raises(PlanError, match="of another plan"):
            report_data(plan, measured=replace(simulate(other, steps=6), source="measured"))
    trace = simulate(plan, steps=2)
    with pytest.raises(PlanError, match="of another plan"):
        report_data(plan, replace(trace, steps=1))
    with pytest.raises(PlanError, match="of another plan"):
        report_data(plan, replace(trace, spans=replace(trace.spans, streams=tuple(f"x/{s}" for s in trace.spans.streams))))


def test_a_trace_alone_is_shown_as_what_it_is() -> None:
    plan = chain(3, 2, 2)
    data = report_data(plan, replace(simulate(plan, steps=1), source="measured"))
    assert data["traces"]["measured"]["steps"] == 1 and data["traces"]["simulated"]["steps"] == 2


def test_a_trace_without_hand_overs_has_no_memory() -> None:
    plan = chain(3, 2, 2)
    data = report_data(plan, simulate(plan, steps=1, events=False))
    keeps_the_contract(data)
    assert data["memory"] == []


@pytest.mark.parametrize(("names", "text"), [
    (["cpu:0"], "cpu:0"), (["cpu:3", "cpu:0", "cpu:1"], "cpu:0-1,3"), (["host:0", "cpu:1"], "cpu:1,host:0"),
    (["cpu:10", "cpu:9"], "cpu:9-10"),
])  # fmt: skip
def test_ranges_of_devices(names: list[str], text: str) -> None:
    assert device_range(names) == text


def widened(plan: Plan, ranks: int) -> Plan:
    """Each device's program on so many devices."""
    table = tuple(tuple(f"cpu:{number * ranks + rank}" for rank in range(ranks)) for number in range(len(plan.rank_table)))
    actors = tuple(replace(a, ports=tuple(replace(p, peers=tuple(range(ranks))) for p in a.ports)) for a in plan.actor_templates)
    order = {
        f"{device}/compute": tuple(row * ranks + rank for row in plan.order[f"cpu:{number}/compute"])
        for number, devices in enumerate(table)
        for rank, device in enumerate(devices)
    }
    spread = {name: {d: sizes[f"cpu:{i}"] for i, ds in enumerate(table) for d in ds} for name, sizes in
              (("arenas", plan.arenas), ("states", plan.states))}  # fmt: skip
    return replace(plan, rank_table=table, actor_templates=actors, order=order, **spread)


def test_a_large_plan_is_grouped_and_small() -> None:
    plan = widened(pipeline_1f1b(16, 32), 64)
    data = report_data(plan, proof=check(plan))
    keeps_the_contract(data)
    assert len(data["devices"]) == 1024 and len(data["actors"]["id"]) == 3072
    assert len(data["groups"]) == len(data["plan"]["boxes"]) == 48 and len(data["plan"]["lanes"]) == 16
    assert data["groups"][0]["device"] == "cpu:0-63" and data["groups"][0]["count"] == 64
    assert len(data["traces"]["simulated"]["spans"]["act"]) == data["meta"]["acts"] == 1024 * 65


def test_a_very_large_plan_is_shown_by_role(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = widened(pipeline_1f1b(4, 6), 8)
    proof = check(plan)
    every = report_data(plan, proof=proof)
    monkeypatch.setattr(roles, "MOST_ACTORS", 20)
    data = report_data(plan, proof=proof)
    keeps_the_contract(data)
    assert [d["alike"] for d in data["devices"]] == [f"cpu:{8 * i}-{8 * i + 7}" for i in range(4)]
    assert all(d["alike"] == d["name"] for d in every["devices"])
    assert data["meta"]["title"] == "plan on 32 devices" and data["meta"]["acts"] == proof.acts == 8 * 4 * 13
    assert data["traces"]["simulated"]["seconds"] == every["traces"]["simulated"]["seconds"]
    peaks = {m["device"]: m["peak"] for m in every["memory"]}
    assert all(m["peak"] == peaks[m["device"]] for m in data["memory"])
    for entry, whole in zip(data["proof"]["cycle"], every["proof"]["cycle"], strict=True):
        assert entry["text"] == whole["text"]
        for row, other in zip(entry["actors"][::2], whole["actors"][::2], strict=True):
            assert _actor(data, row) == _actor(every, other)
    assert len(report_data(plan, simulate(plan, steps=1), proof=proof)["devices"]) == 32, "a trace is shown as it is"


def test_a_step_that_is_too_long_to_draw_is_not_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = pipeline_1f1b(4, 6)
    monkeypatch.setattr(import_module("oflow.view.report.data"), "MOST_ACTS", 10)
    data = report_data(plan, proof=check(plan))
    keeps_the_contract(data)
    assert data["traces"] == {"simulated": None, "measured": None} and data["memory"] == [] and data["meta"]["steps"] == 0
    assert report_data(plan, simulate(plan, steps=1))["traces"]["simulated"]["steps"] == 1


def _actor(data: Data, row: int) -> str:
    return f"{data['actors']['name'][row]}@{data['devices'][data['actors']['device'][row]]['name']}"
