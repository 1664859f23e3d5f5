"""Compile time against the number of operators: a training step, traced, compiled and proved; nothing is run.

    python benchmarks/operators.py [--sizes 1000,10000,76000] [--cases layers,layers-data,irregular,irregular-data] [--limit 900]
        [--passes yes] [--json FILE]

`layers` is a GPT of so many equal layers on one device, `layers-data` the same on two that split the batch, `irregular` a random
graph of elementwise operators, products, reductions, joins and branches on one device, `irregular-data` on two; each forward, backward
and AdamW. A size is the number of nodes of the logical graph before fusion, with all boxings. Every size has a process of its own.
Seconds are processor seconds of the process and its children, after imports and two small graphs; peak is the resident set.
"""

from __future__ import annotations

import functools
import json
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from time import process_time
from typing import Any
from unittest.mock import patch

from cases import Gpt
from report import Row, options, save, table
from step_oflow import Transformer

import oflow as of
from oflow import compiler, program
from oflow.compiler import passes, variants

SEED = 5
WIDTHS = (16, 32)
BATCH = 8
RECENT, FAR = 24, 0.05
"""An operator reads values among the last so many, and this share of its operands from anywhere before."""

# ---------------------------------------------------------------- graphs


def layers(count: int, devices: int = 1) -> of.Program:
    case = Gpt(32, 16, 2 * devices, 64, layers=count)
    where = of.placement("cpu", list(range(devices)))
    spec = of.spec((case.batch, case.window), "int64", where, of.S(0) if devices > 1 else of.B)
    model = Transformer(case)
    model.to_global(where, of.B)
    return of.compile(lambda x, y: model(x, y), spec, spec, optimizer=of.optim.AdamW(lr=1e-3))


class Irregular(of.nn.Module):
    """`count` random steps, the same for the same seed, over values (BATCH, width) of two widths."""

    def __init__(self, count: int) -> None:
        super().__init__()
        draw = random.Random(SEED)
        self.steps = [self._step(draw) for _ in range(count)]
        self.entry = of.nn.Parameter((WIDTHS[0], WIDTHS[0]))
        for number, (kind, a, b, _) in enumerate(self.steps):
            if kind == "product":
                setattr(self, f"weight{number}", of.nn.Parameter((WIDTHS[a], WIDTHS[b])))

    @staticmethod
    def _step(draw: random.Random) -> tuple[str, int, int, int]:
        """What is done, to a value of which width, with a result of which, and a seed for the choice of the operands."""
        kind = draw.choice(("map", "map", "map", "pair", "pair", "product", "reduce", "branch"))
        a = draw.randrange(2)
        return kind, a, draw.randrange(2) if kind == "product" else a, draw.getrandbits(32)

    def forward(self, x: Any, y: Any) -> Any:
        x = x @ self.entry
        pools, unread = ([x], [of.concat([x, x], axis=1)]), [dict[int, Any](), dict[int, Any]()]
        for number, (kind, a, b, seed) in enumerate(self.steps):
            draw = random.Random(seed)
            first, second = (self._operand(draw, pools[a], unread[a]) for _ in range(2))
            made = self._apply(draw, kind, first, second, getattr(self, f"weight{number}", None))
            pools[b].append(made)
            unread[b][id(made)] = made
        heads = [of.mean(of.square(functools.reduce(of.add, left.values(), pool[0]))) for left, pool in zip(unread, pools, strict=True)]
        return functools.reduce(of.add, heads) + of.mse(x, y)

    @staticmethod
    def _operand(draw: random.Random, pool: list[Any], unread: dict[int, Any]) -> Any:
        read = pool if draw.random() < FAR else pool[-RECENT:]
        found = draw.choice(read) if len(unread) <= RECENT else unread[next(iter(unread))]
        unread.pop(id(found), None)
        return found

    @staticmethod
    def _apply(draw: random.Random, kind: str, first: Any, second: Any, weight: Any) -> Any:
        if kind == "map":
            return draw.choice((of.gelu, of.tanh, of.sigmoid, of.relu, of.sin))(first)
        if kind == "pair":
            return draw.choice((of.add, of.mul, of.maximum))(first, second)
        if kind == "product":
            return first @ weight
        if kind == "reduce":
            return first * draw.choice((of.mean, of.max))(second, axis=1, keepdims=True)
        return of.where(of.less(first, second), of.softmax(first), second)


def irregular(count: int, devices: int = 1) -> of.Program:
    model, where = Irregular(count), of.placement("cpu", list(range(devices)))
    spec = of.spec((BATCH, WIDTHS[0]), "float32", where, of.S(0) if devices > 1 else of.B)
    model.to_global(where, of.B)
    return of.compile(lambda x, y: model(x, y), spec, spec, optimizer=of.optim.AdamW(lr=1e-3))


CASES: dict[str, Callable[[int], of.Program]] = {
    "layers": layers, "layers-data": functools.partial(layers, devices=2), "irregular": irregular,
    "irregular-data": functools.partial(irregular, devices=2),
}  # fmt: skip


def size(made: of.Program) -> int:
    graph = made.passes["split_backward"]
    assert isinstance(graph, of.Graph)
    return len(graph.nodes)


def repeats(case: str, operators: int) -> int:
    """How many layers or steps make about so many operators: from two small graphs."""
    small, large = 80, 320
    few, many = size(CASES[case](small)), size(CASES[case](large))
    return max(1, round(small + (operators - few) * (large - small) / (many - few)))


# ---------------------------------------------------------------- measuring


class Times:
    """Processor seconds by pass."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__

        @functools.wraps(function)
        def wrapped(*args: Any, **words: Any) -> Any:
            began = process_time()
            try:
                return function(*args, **words)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + process_time() - began

        return wrapped

    def everywhere(self) -> AbstractContextManager[Any]:
        """The compiler with all its passes, and what stands around them, timed."""
        stack = ExitStack()
        for name in ("GRAPH_PASSES", "PLAN_PASSES", "FOLDED_PASSES"):
            stack.enter_context(patch.object(compiler, name, tuple(map(self.timed, getattr(compiler, name)))))
        around = ((program, ("capture",)), (compiler, ("expand",)), (passes, ("verify", "check_references")), (variants, ("check",)))
        for room, names in around:
            for name in names:
                stack.enter_context(patch.object(room, name, self.timed(getattr(room, name))))
        return stack


def processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


def part(case: str, operators: int) -> Row:
    count = repeats(case, operators)
    times = Times()
    with times.everywhere():
        began = processor_seconds()
        made = CASES[case](count)
        seconds = processor_seconds() - began
    nodes = size(made)
    return {
        "operators": nodes, "seconds": seconds, "thousand": 1000 * seconds / nodes, "passes": times.seconds,
        "fused": len(made.graph.nodes), "actors": len(made.plan.actors),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip


def measure(case: str, operators: int, limit: float) -> Row:
    """In a process of its own."""
    try:
        done = subprocess.run([sys.executable, __file__, "part", case, str(operators)], capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"remark": f"stopped after {limit:.0f} s"}
    if done.returncode:
        return {"remark": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def line(row: Row) -> tuple[str, ...]:
    if "remark" in row:
        return row["name"], f"{row['asked']:,}", row["remark"], "", "", "", ""
    return (
        row["name"], f"{row['operators']:,}", f"{row['seconds']:.2f}", f"{row['thousand']:.3f}", f"{row['peak'] / 1e6:,.0f}",
        f"{row['fused']:,}", f"{row['actors']:,}",
    )  # fmt: skip


def by_pass(rows: Sequence[Row]) -> str:
    """Processor seconds of every pass, a column a row of the first table."""
    found = [row for row in rows if "passes" in row]
    names = dict.fromkeys(name for row in found for name in row["passes"])
    lines = [(name, *(f"{row['passes'].get(name, 0.0):.2f}" for row in found)) for name in names]
    return table(lines, ("seconds of a pass", *(f"{row['name']} {row['operators']:,}" for row in found)))


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, sizes="1000,10000,76000", cases=",".join(CASES), limit=900.0, passes="yes")
    rows = [
        {"name": case, "asked": operators, **measure(case, operators, given.limit)}
        for case in given.cases.split(",") for operators in map(int, given.sizes.split(","))
    ]  # fmt: skip
    print(table([line(row) for row in rows], ("", "operators", "processor s", "s per 1,000", "peak MB", "after fusion", "actors")))
    if given.passes == "yes":
        print("\n" + by_pass(rows))
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["part"]:
        print(json.dumps(part(sys.argv[2], int(sys.argv[3]))))
    else:
        sys.exit(main(sys.argv[1:]))
