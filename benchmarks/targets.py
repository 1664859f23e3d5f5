"""What is to be reached, and what the measured JSON says of it: a row for each target."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from report import Row, seconds_text
from train_step import OWN, best_own

Results = Mapping[str, Mapping[str, list[Row]]]
"""By benchmark: its JSON."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: what, the target in words, the figure in words, and whether it is reached.

    quiet: whether the machine was while it was measured; a figure of a busy machine shows nothing, good or bad.
    """

    what: str
    target: str
    found: str
    reached: bool
    quiet: bool = True

    @property
    def verdict(self) -> str:
        if not self.quiet:
            return "not shown: machine busy"
        return "yes" if self.reached else "**no**"


def _ratios(results: Results, case: str, threads: int) -> dict[str, float]:
    """The peers' time over oflow's; nothing where the case was left out."""
    rows = [row for row in results["train_step"]["rows"] if row["case"] == case and row["threads"] == threads]
    if not rows:
        return {}
    own = best_own(rows)["seconds"]
    return {row["name"]: row["seconds"] / own for row in rows if row["name"] not in OWN}


def _quiet(results: Results, case: str, threads: int) -> bool:
    rows = [row for row in results["train_step"]["rows"] if row["case"] == case and row["threads"] == threads]
    return all(row["clock"] != "all" for row in rows)


def _beside(found: Mapping[str, float], wanted: Mapping[str, float]) -> tuple[str, bool]:
    text = ", ".join(f"{found[name]:.2f} {name}" for name in wanted if name in found)
    return text, all(found.get(name, math.inf) >= least for name, least in wanted.items())


def _wanted(wanted: Mapping[str, float]) -> str:
    return "at least " + ", ".join(f"{least:g} {name}" for name, least in wanted.items())


def _steps(results: Results) -> Iterator[Line]:
    large = {"torch eager": 1.15, "torch.compile": 1.12, "jax jit": 1.6}
    for case, threads, wanted in (
        ("GPT d256 T128 B8 V4096", 2, large),
        ("GPT d64 T32 B2 V256", 2, {"torch eager": 3.5, "jax jit": 2.0}),
        ("MLP4 16x64", 1, {"torch eager": 12.0, "jax jit": 3.0}),
    ):
        found = _ratios(results, case, threads)
        if not found:
            continue
        text, reached = _beside(found, wanted)
        what = f"{case}, {threads} thread{'s'[: threads - 1]}, times faster"
        yield Line(what, _wanted(wanted), text, reached, _quiet(results, case, threads))


def _layouts(results: Results) -> Iterator[Line]:
    cases = ("MLP4 256x1024", "MLP4 1024x1024", "MLP4 256x2048")
    found = {case: ratios for case in cases if (ratios := _ratios(results, case, 2))}
    if len(found) < len(cases):
        return
    least = min(min(ratios.values()) for ratios in found.values())
    mean = math.exp(sum(math.log(ratios["torch eager"]) for ratios in found.values()) / len(found))
    text = ", ".join(f"{case.split()[1]}: {min(ratios.values()):.2f}" for case, ratios in found.items())
    yield Line(
        "large MLPs, 2 threads, layout by the cost model, against the best peer", "never below 0.97; geometric mean over torch 1.1",
        f"{text}; mean {mean:.2f}", least >= 0.97 and mean >= 1.1, all(_quiet(results, case, 2) for case in cases),
    )  # fmt: skip


def _kernels(results: Results) -> Iterator[Line]:
    wanted = {"torch eager": 2.3, "torch.compile": 2.3, "jax jit": 2.5}
    for size, means in results["kernels"]["means"].items():  # type: ignore[attr-defined]
        rows = [row["seconds"] for row in results["kernels"]["rows"] if row["size"] == size]
        least = min(s[name] / s["oflow"] for s in rows for name in s)
        text, reached = _beside(means, wanted)
        target = f"{_wanted(wanted)}; none below 1"
        yield Line(f"six fused kernels, {size}, geometric mean", target, f"{text}; least {least:.2f}", reached and least >= 1.0)


def _overhead(results: Results) -> Iterator[Line]:
    rows = results["overhead"]["rows"]
    for kind, most in (("one thread", 40e-9), ("crossing threads", 60e-9), ("crossing processes", 80e-9)):
        own = [row for row in rows if row["name"].startswith(kind) and "2 slots" in row["name"]]
        text = ", ".join(f"{seconds_text(row['seconds'])} ({row['name'].rpartition(', ')[2]})" for row in own)
        reached = bool(own) and min(row["seconds"] for row in own) <= most
        quiet = all(row["quiet"] for row in own)
        yield Line(f"overhead an act, {kind}, 2 slots", f"at most {most * 1e9:.0f} ns", text, reached, quiet)


def _pipeline(results: Results) -> Iterator[Line]:
    for shapes, least, words in (((16,), 1.5, "about 1 us"), ((64, 128), 1.85, "18 us and more")):
        rows = [row for row in results["pipeline"]["rows"] if row["shape"][0] in shapes]
        best: dict[str, float] = {}
        for row in rows:
            key = "x".join(map(str, row["shape"]))
            best[key] = max(best.get(key, 0.0), row["speed_up"])
        text = ", ".join(f"{key}: {value:.2f}" for key, value in best.items())
        quiet = all(row["quiet"] for row in rows)
        what = f"pipeline on two workers, kernels of {words}, best slots"
        yield Line(what, f"at least {least}", text, min(best.values()) >= least, quiet)


def _memory(results: Results) -> Iterator[Line]:
    rows = {row["name"]: row for row in results["memory"]["rows"]}
    own = rows["oflow"]
    base = rows["torch eager"]["peak"]
    exact = own["arena"] == own["allocated_arena"] and own["state"] == own["allocated_state"]
    found = f"{own['peak'] / base:.2f} ({own['peak'] / 1e6:.0f} of {base / 1e6:.0f} MB)"
    planned = f"planned {own['arena'] + own['state']:,} bytes, allocated {own['allocated_arena'] + own['allocated_state']:,}"
    yield Line(
        f"peak memory, {own['case']}, over torch eager", "at most 0.65, planned to the byte", f"{found}; {planned}",
        own["peak"] / base <= 0.65 and exact,
    )  # fmt: skip


def _compile(results: Results) -> Iterator[Line]:
    for word, most in (("oflow", 5.0), ("actors", 2.0)):
        row = next(row for row in results["compile_time"]["rows"] if word in row["name"])
        seconds = row["seconds"]
        text = f"{seconds:.2f} s; {row['remark']}" if seconds is not None else row["remark"]
        yield Line(row["name"], f"under {most:g} s", text, seconds is not None and seconds < most)


def _cold(results: Results) -> Iterator[Line]:
    rows = {row["name"]: row for row in results["cold_start"]["rows"]}
    text = ", ".join(f"{row['after_imports']:.2f} s {name}" for name, row in rows.items())
    own = rows["oflow"]
    yield Line(f"first step after imports, cold process, {own['case']}", "under 1 s", text, own["after_imports"] < 1.0)


def _busy(results: Results) -> Iterator[Line]:
    for case in dict.fromkeys(row["case"] for row in results["busy"]["rows"]):
        found = {row["name"]: row["slowdown"] for row in results["busy"]["rows"] if row["case"] == case}
        own = found.get("oflow auto", found.get("oflow", math.inf))
        text = ", ".join(f"{value:.2f} {name}" for name, value in found.items())
        quiet = all(row["undisturbed"] for row in results["busy"]["rows"] if row["case"] == case)
        reached = own <= found.get("torch eager", math.inf)
        yield Line(f"{case}, two foreign processes: slower by", "no more than torch eager", text, reached, quiet)


def _sbp(results: Results) -> Iterator[Line]:
    found = results["sbp"]
    axes = {len(row["mesh"]): row["mesh"] for row in found["registry"]}
    slowest = max((row for row in found["registry"] if len(row["mesh"]) == max(axes)), key=lambda row: row["oflow"])
    what = f"all signatures of an operator on {max(axes)} mesh axes, cold"
    text = f"{seconds_text(slowest['oflow'])} ({slowest['operator']}, the slowest of {len(found['registry']) // len(axes)})"
    yield Line(what, "under 1 ms for every operator", text, slowest["oflow"] < 1e-3)
    if found["means"]:
        text = ", ".join(f"{mean:.1f} on {mesh}" for mesh, mean in found["means"].items())  # type: ignore[attr-defined]
        yield Line("the same beside DTensor's propagation, times faster", "at least 1", text, min(found["means"].values()) >= 1)  # type: ignore[attr-defined]
    moves = [(row, row[kind]) for row in found["boxing"] for kind in ("default", "least") if kind in row]
    if moves:
        text = ", ".join(f"{one['ratio']:.2f} {'x'.join(map(str, row['mesh']))} {kind}" for row in found["boxing"]
                         for kind in ("default", "least") if (one := row.get(kind)))  # fmt: skip
        reached = all(one["more"] == 0 for _, one in moves)
        yield Line("bytes of all changes of layout, DTensor's over oflow's", "no pair with more bytes", text, reached)


PARTS: dict[str, Sequence[Callable[[Results], Iterator[Line]]]] = {
    "train_step": (_steps, _layouts), "kernels": (_kernels,), "overhead": (_overhead,), "pipeline": (_pipeline,), "memory": (_memory,),
    "compile_time": (_compile,), "cold_start": (_cold,), "busy": (_busy,),
    "sbp": (_sbp,),
}  # fmt: skip


def lines(results: Results) -> list[Line]:
    """A line for each target whose benchmark was measured."""
    return [line for name, parts in PARTS.items() if name in results for part in parts for line in part(results)]
