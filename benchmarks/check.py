"""The proof against the number of actors: seconds of processor time of its parts, with and without machine code.

    python benchmarks/check.py [--largest 1000000] [--plain 10000] [--across 100000] [--limit 600] [--json FILE]

The plan: 16 to 1000 ranks, each with a stream that runs a chain of layers in order. A layer reads what its own rank and the next one
made before it, times differ by layer and by rank, and a second result of each layer lies where that of the layer before the last lay, so
that turns must be proved. "plain": the same loops without machine code, up to `plain` actors. "across": the second result is read by the
next rank, and lies where that of three layers before lay, so that every turn is an order across devices. "verified": the certificate
read back.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import process_time

from report import Row, options, save, table

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PARTS = ("references", "arrays", "rates", "play", "act graph", "memory", "period", "words")


def plan_of(actors: int, *, across: bool = False):  # type: ignore[no-untyped-def]
    """Rows of ranks with times, and second results that share bytes in turn; across: each is read by the next rank."""
    from plans import rows_of_ranks

    from oflow.machine import Cost
    from oflow.plan import ActorTemplate, PortTemplate, RegisterTemplate, aligned
    from oflow.types import TensorType

    ranks = 16 if actors <= 1_000 else 100 if actors <= 10_000 else 1000
    plan = rows_of_ranks(actors // ranks, ranks, slots=2)
    data = TensorType((16,))
    size, base = aligned(data.nbytes), max(plan.arenas.values())
    registers, made = list(plan.register_templates), list[ActorTemplate]()
    before, turns = (tuple((r - 1) % ranks for r in range(ranks)), 3) if across else ((), 2)
    last = len(plan.actor_templates) - 1 - turns * across  # what lies there first in a step waits for what does so last in the step before
    for number, actor in enumerate(plan.actor_templates):
        ports = list(actor.ports)
        if 0 < number <= last:
            ports.append(PortTemplate(len(registers) - 1, "in", peers=before))
        if number < last:
            ports.append(PortTemplate(len(registers), "out"))
            registers.append(RegisterTemplate(f"s{number}", 0, (data,), 1, 0, (base + number % turns * size,)))
        seconds = tuple(1e-5 * (1 + (7 * number + 3 * rank) % 11) for rank in range(ranks))
        made.append(replace(actor, ports=tuple(ports), costs=tuple(Cost(seconds=s) for s in seconds)))
    return replace(
        plan, actor_templates=tuple(made), register_templates=tuple(registers), arenas={d: n + turns * size for d, n in plan.arenas.items()}
    )  # fmt: skip


def measure(actors: int, compiled: bool, across: bool) -> Row:
    """Seconds of each part, of all of `check`, and of the verification of a certificate."""
    from oflow import check
    from oflow.arrays import tables
    from oflow.check.cycle import bound, named_cycle
    from oflow.check.references import check_references

    small = plan_of(64)
    check.steady(check.act_graph(small, check.play(small, compiled=compiled)), compiled=compiled)
    check.check_memory(small, check.act_graph(small, check.play(small)), compiled=compiled)  # loads the machine code
    plan, row = plan_of(actors, across=across), Row(actors=actors)

    def timed(name: str, call: Callable[[], object]):  # type: ignore[no-untyped-def]
        began = process_time()
        found = call()
        row[name] = process_time() - began
        return found

    timed("references", lambda: (check_references(plan), check.check_layouts(plan)))
    t = timed("arrays", lambda: tables(plan))
    timed("rates", lambda: check.check_rates(plan, t))
    fired = timed("play", lambda: check.play(plan, t, compiled=compiled))
    graph = timed("act graph", lambda: check.act_graph(plan, fired, t))
    timed("memory", lambda: check.check_memory(plan, graph, compiled=compiled))
    found = timed("period", lambda: check.steady(graph, compiled=compiled))
    timed("words", lambda: (named_cycle(graph, found), bound(graph, found)))
    row["all"] = sum(row[part] for part in PARTS)
    row["arcs"], row["peak"] = len(graph.sources), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if compiled:
        certificate = check.certify(plan)
        timed("verified", lambda: check.verify(plan, certificate))
    return row


def alone(actors: int, loops: str, limit: float) -> Row:
    """Measured in a process of its own. loops: words of "compiled", "plain", "across"."""
    command = [sys.executable, __file__, "part", str(actors), loops]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        return Row(actors=actors, loops=loops, error=(done.stderr.strip().splitlines() or ["failed"])[-1])
    return Row(json.loads(done.stdout.splitlines()[-1]), loops=loops)


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, largest=1_000_000, plain=10_000, across=100_000, limit=600.0)
    most = {"compiled": given.largest, "plain": given.plain, "compiled, across": given.across}
    rows = [alone(n, loops, given.limit) for loops, largest in most.items() for n in SIZES if n <= largest]
    heads = ("actors", "loops", "arcs", *PARTS, "all", "verified", "peak")
    lines = []
    for row in rows:
        if "error" in row:
            lines.append((f"{row['actors']:,}", row["error"]))
            continue
        seconds = [f"{row[part]:.3f} s" for part in (*PARTS, "all")]
        verified = f"{row['verified']:.3f} s" if "verified" in row else "-"
        lines.append((f"{row['actors']:,}", row["loops"], f"{row['arcs']:,}", *seconds, verified, f"{row['peak'] / 1e6:,.0f} MB"))
    print(table(lines, heads))
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["part"]:
        print(json.dumps(measure(int(sys.argv[2]), "compiled" in sys.argv[3], "across" in sys.argv[3])))
    else:
        sys.exit(main(sys.argv[1:]))
