"""SBP beside PyTorch's DTensor: cold inference of an operator's signatures, and bytes of changing a layout.

    python benchmarks/sbp.py [--rounds 9] [--torch yes] [--json FILE]

Inference: CPU seconds of all valid signatures of one operator on eight devices in one, two and three mesh axes, nothing remembered
(median of `rounds`); DTensor's for the same operator is its sharding propagation of whole operands. Then the same of oflow for
every operator of the registry, over all its examples.

Boxing: bytes over all links of every pair of layouts B, S(0), S(1), P on each axis, of a float32 tensor of 16 x 16; DTensor's by
the collectives that `redistribute` calls (see sbp_torch.py), with its default planner and with that of least cost.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import geometric_mean, median
from time import process_time
from typing import Any

from report import Row, options, save, seconds_text, table
from sbp_cases import BOXING_MESHES, ITEMSIZE, MESHES, OPERATORS, TENSOR, pairs

import oflow as of
from oflow.graph import Builder
from oflow.ops import REGISTRY, Op, Tensor
from oflow.sbp import Layout, Placement, Sbp, route
from oflow.types import TensorType

CALLS: dict[str, Callable[..., Tensor]] = {
    "add": lambda a, b: a + b, "relu": of.relu, "gelu": of.gelu, "where": of.where, "matmul": of.matmul, "softmax": of.softmax,
    "log_softmax": of.log_softmax, "layer_norm": of.layer_norm, "sum": lambda a: of.sum(a, 0), "max": lambda a: of.max(a, 0),
    "cumsum": lambda a: of.cumsum(a, 0), "sort": of.sort, "topk": lambda a: of.topk(a, 4)[0], "transpose": of.transpose,
    "reshape": lambda a: of.reshape(a, 4, 4, 16), "broadcast_to": lambda a: of.broadcast_to(a, (16, 16)),
    "concat": lambda a, b: of.concat([a, b]), "stack": lambda a, b: of.stack([a, b]), "slice": lambda a: a[2:14],
    "embedding": lambda t, ids: of.embedding(ids, t), "take": lambda t, ids: of.take(t, ids, 0),
    "conv2d": lambda x, w: of.conv2d(x, w, padding=1),
}  # fmt: skip
Question = Callable[[], object]


# ------------------------------------------------------------ inference


def caches() -> list[Any]:
    """Every function of oflow that remembers its results."""
    found: dict[int, Any] = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "oflow":
            things = [thing for thing in vars(module).values() if isinstance(thing, functools._lru_cache_wrapper)]
            found |= {id(thing): thing for thing in things}
    return list(found.values())


def cold(questions: Sequence[Question], rounds: int) -> float:
    """CPU seconds of asking all of them, each with nothing remembered; the median."""
    remembered = caches()
    took = []
    for _ in range(rounds):
        total = 0.0
        for ask in questions:
            for cache in remembered:
                cache.cache_clear()
            began = process_time()
            ask()
            total += process_time() - began
        took.append(total)
    return median(took)


def traced(name: str) -> list[tuple[Op, tuple[TensorType, ...], dict[str, Any]]]:
    """The nodes that the call becomes: operator, types of the operands, attributes."""
    builder = Builder()
    kinds = ["float32"] * len(OPERATORS[name])
    kinds = ["bool", *kinds[1:]] if name == "where" else [*kinds[:-1], "int64"] if name in ("embedding", "take") else kinds
    types = [TensorType(shape, kind) for shape, kind in zip(OPERATORS[name], kinds, strict=True)]
    CALLS[name](*(Tensor(builder, builder.value(t).id) for t in types))
    return [(REGISTRY[n.op], tuple(builder.values[v].type for v in n.ins), n.attributes) for n in builder.nodes]


def asked(op: Op, types: tuple[TensorType, ...], attrs: dict[str, Any], mesh: tuple[int, ...]) -> Question:
    return lambda: op.mesh_signatures(types, attrs, mesh)


def compared(rounds: int) -> list[Row]:
    """The operators that DTensor has too; a call of several nodes is their sum."""
    rows = []
    for mesh in MESHES:
        for name in OPERATORS:
            nodes = traced(name)
            found = [op.mesh_signatures(types, attrs, mesh) for op, types, attrs in nodes]
            seconds = cold([asked(*node, mesh) for node in nodes], rounds)
            rows.append({"mesh": mesh, "operator": name, "signatures": max(map(len, found)), "oflow": seconds})
    return rows


def registry(rounds: int) -> list[Row]:
    """Seconds per operator, the mean over its examples."""
    rows = []
    for name, op in sorted(REGISTRY.items()):
        examples = [(tuple(TensorType(x.shape, x.dtype.name) for x in e.operands), e.attrs) for e in op.example()]
        for mesh in MESHES:
            seconds = cold([asked(op, *example, mesh) for example in examples], rounds) / len(examples)
            rows.append({"operator": name, "mesh": mesh, "oflow": seconds})
    return rows


# ------------------------------------------------------------ boxing


def moved(mesh: tuple[int, ...]) -> list[int]:
    """Bytes over all links of each pair."""
    where = Placement("cpu", tuple(range(functools.reduce(int.__mul__, mesh))), mesh)
    ends = [tuple(Layout(where, tuple(map(Sbp.parse, names))) for names in pair) for pair in pairs(len(mesh))]
    return [route(src, dst, TENSOR, ITEMSIZE).nbytes(TENSOR, ITEMSIZE) for src, dst in ends]


def beside(own: list[int], peer: list[int | None]) -> Row:
    """What a peer moves, over the pairs that it can change."""
    both = [(a, b) for a, b in zip(own, peer, strict=True) if b is not None]
    mine, theirs = (sum(side) for side in zip(*both, strict=True))
    return {
        "changed": len(both), "oflow": mine, "peer": theirs, "ratio": theirs / mine, "less": sum(a < b for a, b in both),
        "more": sum(a > b for a, b in both),
    }  # fmt: skip


def boxing(peers: list[Row]) -> list[Row]:
    rows = []
    for mesh in BOXING_MESHES:
        own = moved(mesh)
        row: Row = {"mesh": mesh, "pairs": len(own), "nbytes": sum(own)}
        for peer in peers:
            if tuple(peer["mesh"]) == mesh:
                row["least" if peer["least"] else "default"] = beside(own, peer["nbytes"])
        rows.append(row)
    return rows


# ------------------------------------------------------------ the page


def torch_rows(rounds: int) -> Row:
    command = [sys.executable, str(Path(__file__).parent / "sbp_torch.py"), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    if "ModuleNotFoundError" not in done.stderr:
        raise RuntimeError(f"PyTorch failed:\n{done.stderr[-2000:]}")
    print("PyTorch is not installed: DTensor is left out")
    return {"inference": [], "boxing": []}


def text_of(mesh: Sequence[int]) -> str:
    return "x".join(map(str, mesh))


def tell(rows: list[Row], every: list[Row], moves: list[Row]) -> None:
    for mesh in MESHES:
        some = [row for row in rows if row["mesh"] == mesh]
        lines = [
            (row["operator"], row["signatures"], seconds_text(row["oflow"]),
             seconds_text(row["torch"]) if row.get("torch") else row.get("remark", ""),
             f"x{row['torch'] / row['oflow']:.1f}" if row.get("torch") else "")
            for row in some
        ]  # fmt: skip
        print(table(lines, (f"cold, mesh {text_of(mesh)}", "signatures", "oflow", "DTensor", "")), "\n")
        own = [row["oflow"] for row in every if row["mesh"] == mesh]
        slowest = max((row for row in every if row["mesh"] == mesh), key=lambda row: row["oflow"])
        print(f"all {len(own)} operators: median {seconds_text(median(own))}, slowest {seconds_text(slowest['oflow'])} "
              f"({slowest['operator']})\n")  # fmt: skip
    lines = []
    for row in moves:
        for kind in ("default", "least"):
            if kind in row:
                found = row[kind]
                lines.append((f"{text_of(row['mesh'])}, DTensor {kind}", row["pairs"], found["changed"], found["oflow"], found["peer"],
                              f"x{found['ratio']:.2f}", found["less"], found["more"]))  # fmt: skip
    if lines:
        print(table(lines, ("bytes of boxings", "pairs", "it changes", "oflow", "DTensor", "", "oflow less", "oflow more")))


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, rounds=9, torch="yes")
    rows, every = compared(given.rounds), registry(max(3, given.rounds // 3))
    peers = torch_rows(given.rounds) if given.torch == "yes" else {"inference": [], "boxing": []}
    found = {(tuple(row["mesh"]), row["operator"]): row for row in peers["inference"]}
    for row in rows:
        peer = found.get((row["mesh"], row["operator"]), {})
        row |= {"torch": peer.get("seconds"), "remark": peer.get("remark", "")}
    moves = boxing(peers["boxing"])
    tell(rows, every, moves)
    ratios = {text_of(mesh): [r["torch"] / r["oflow"] for r in rows if r["mesh"] == mesh and r.get("torch")] for mesh in MESHES}
    means = {mesh: geometric_mean(some) for mesh, some in ratios.items() if some}
    print("\nDTensor's time over oflow's, geometric mean:", ", ".join(f"{mesh} x{mean:.1f}" for mesh, mean in means.items()))
    save(given.json, rows, registry=every, boxing=moves, means=means)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
