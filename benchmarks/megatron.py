"""Predicted iteration times beside published ones: Megatron-LM's tables on DGX A100s, compiled for `of.preset("a100")`; nothing is run.

    python benchmarks/megatron.py [--rows 22B-full,1.7B,...] [--seconds 900] [--memory 16] [--slots least] [--residual 16]
        [--json FILE]

Each row is `examples/gpt3.py` with the row's sizes, layout, schedule and recomputation, compiled and proved in a process of its own, which
may take so many seconds and so many GB of address space. "error" is of the predicted seconds. "as run" adds the products that Megatron-LM
runs again and oflow does not (the last of a region, which nobody reads), at the rate of the others and with their bubble. "needs" is the
fullest device of the plan; the limit of 80 GB is lifted, so that a plan which needs more is timed too. The residual stream is in 16 bits,
which is Megatron-LM's default, and slots are the fewest at the period that the plan has anyway (`--slots usual`: those of the schedule;
`--residual 32`: float32). Sequences of 2,048, a vocabulary of 51,200.

Sources, and by what the figures here were confirmed:
- Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models" (arXiv 2205.05198), Table 5, seconds of an
  iteration. All eight times, and tensor, pipeline, interleaving, batch and micro-batch of rows, as the authors of Calculon took them
  over (github.com/calculon-ai/calculon: calculon/llm/validation.py and validation/). Heads, widths and layers: the paper, as remembered;
  parameters and utilisations that follow from them are those it states (tests/test_megatron.py).
- Narayanan et al. 2021, "Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM" (arXiv 2104.04473), Table 1,
  teraflops a device by its formula. Sizes, layouts, micro-batches, chunks and full recomputation: its own script
  (github.com/NVIDIA/Megatron-LM: examples/sc21/run_table_1.sh). The teraflops: the paper, as remembered; that the last row is 502
  petaflops on 3,072 devices stands in its abstract.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

from report import Row, options, save, table

EXAMPLES = Path(__file__).parent.parent / "examples"
SEQ, VOCABULARY, DROPOUT = 2048, 51200, 0.1
"""Dropout is Megatron-LM's default, which neither script changes."""
LIFTED = 1 << 40


@dataclass(frozen=True, slots=True)
class Run:
    """A row of a table. chunks: stages on each pipeline rank. sequence: sequence parallelism. Of seconds an iteration and teraflops a
    device the table gives one, the other is 0."""

    name: str
    heads: int
    width: int
    layers: int
    tensor: int
    stages: int
    chunks: int
    devices: int
    batch: int
    micro_batch: int
    recompute: str = "blocks"
    sequence: bool = False
    seconds: float = 0.0
    teraflops: float = 0.0
    seq: int = SEQ
    vocabulary: int = VOCABULARY

    @property
    def data(self) -> int:
        return self.devices // (self.tensor * self.stages)

    @property
    def model_flops(self) -> float:
        """72 B s l h^2 (1 + s / 6h + V / 12lh): products of one step, nothing done twice."""
        s, h, l = self.seq, self.width, self.layers  # the papers' letters
        return 72.0 * self.batch * s * l * h * h * (1 + s / (6 * h) + self.vocabulary / (12 * l * h))

    @property
    def run_flops(self) -> float:
        """Products that Megatron-LM runs in one step: all layers once more, which is Narayanan et al.'s formula
        96 B s l h^2 (1 + s / 6h + V / 16lh), or scores and mixed values once more."""
        s, h, l = self.seq, self.width, self.layers
        if self.recompute == "blocks":
            return 96.0 * self.batch * s * l * h * h * (1 + s / (6 * h) + self.vocabulary / (16 * l * h))
        return self.model_flops + 4.0 * self.batch * s * s * h * l

    @property
    def measured(self) -> float:
        """Seconds an iteration; of teraflops by the paper's formula."""
        return self.seconds or self.run_flops / (self.devices * self.teraflops * 1e12)


def _both(size: str, full: float, selective: float, *shape: int) -> tuple[Run, Run]:
    """A model's rows of Korthikanti et al.: all of each layer again, or attention again with sequence parallelism."""
    return Run(f"{size}-full", *shape, seconds=full), Run(f"{size}-selective", *shape, "attention", True, seconds=selective)


KORTHIKANTI = (  # heads, width, layers, tensor, stages, chunks, devices, batch, micro-batch
    *_both("22B", 1.42, 1.10, 64, 6144, 48, 8, 1, 1, 8, 4, 4),
    *_both("175B", 18.13, 13.75, 96, 12288, 96, 8, 8, 3, 64, 64, 1),
    *_both("530B", 49.05, 37.83, 128, 20480, 105, 8, 35, 3, 280, 280, 1),
    *_both("1T", 94.42, 71.49, 160, 25600, 128, 8, 64, 1, 512, 512, 1),
)
NARAYANAN = (
    Run("1.7B", 24, 2304, 24, 1, 1, 1, 32, 512, 16, teraflops=137),
    Run("3.6B", 32, 3072, 30, 2, 1, 1, 64, 512, 16, teraflops=138),
    Run("7.5B", 32, 4096, 36, 4, 1, 1, 128, 512, 16, teraflops=142),
    Run("18.4B", 48, 6144, 40, 8, 1, 1, 256, 1024, 8, teraflops=135),
    Run("39.1B", 64, 8192, 48, 8, 2, 1, 512, 1536, 4, teraflops=138),
    Run("76.1B", 80, 10240, 60, 8, 4, 3, 1024, 1792, 2, teraflops=140),
    Run("145.6B", 96, 12288, 80, 8, 8, 2, 1536, 2304, 2, teraflops=148),
    Run("310.1B", 128, 16384, 96, 8, 16, 2, 1920, 2160, 1, teraflops=155),
    Run("529.6B", 128, 20480, 105, 8, 35, 3, 2520, 2520, 1, teraflops=163),
    Run("1008B", 160, 25600, 128, 8, 64, 1, 3072, 3072, 1, teraflops=163),
)
RUNS = {run.name: run for run in (*KORTHIKANTI, *NARAYANAN)}
SMALL = "22B-full,22B-selective,175B-full,175B-selective,1.7B,3.6B,7.5B,18.4B"


def built(run: Run, slots: str | None = None, residual: int = 16):  # type: ignore[no-untyped-def]  # of.Program
    """The row as a program. residual: bits of the stream from block to block."""
    sys.path.insert(0, str(EXAMPLES))
    import gpt3

    return gpt3.build(
        layers=run.layers, width=run.width, heads=run.heads, seq=run.seq, vocabulary=run.vocabulary, batch=run.batch,
        micro_batch=run.micro_batch, data=run.data, tensor=run.tensor, stages=run.stages, chunks=run.chunks,
        schedule="interleaved" if run.chunks > 1 else "1f1b", sequence=run.sequence, attention="plain", dropout=DROPOUT,
        recompute=run.recompute, machine="a100", memory=LIFTED, slots=slots, residual=residual,
    )  # fmt: skip


def product_flops(plan) -> float:  # type: ignore[no-untyped-def]
    """Products of one step on all devices."""
    return sum(
        a.acts * (a.costs[0].product_flops * len(plan.rank_table[a.group]) if len(a.costs) == 1 else sum(c.product_flops for c in a.costs))
        for a in plan.actor_templates
    )


def predicted(run: Run, slots: str | None, residual: int) -> Row:
    began = _seconds()
    plan = built(run, slots, residual).plan
    seconds, told = _seconds() - began, plan.report()
    left_out = max(0.0, run.run_flops - product_flops(plan)) / run.devices / plan.machine.device("cuda:0").flops
    as_run = told.period + left_out * (told.computing + told.bubble) / told.computing
    return {
        **asdict(run), "measured": run.measured, "predicted": told.period, "error": told.period / run.measured - 1, "as_run": as_run,
        "as_run_error": as_run / run.measured - 1, "predicted_teraflops": run.run_flops / run.devices / told.period / 1e12,
        "computing": told.computing, "exposed": told.exposed, "bubble": told.bubble, "nbytes": told.arena_nbytes + told.state_nbytes,
        "compile_seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip


def _seconds() -> float:
    return process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def in_a_process(name: str, seconds: int, settings: Sequence[str]) -> Row:
    """The row, or its name and why there is none."""
    words = [sys.executable, __file__, "--one", name, *settings]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"name": name, "failed": f"more than {seconds} s"}
    if done.returncode:
        return {"name": name, "failed": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]}
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def lines(rows: Sequence[Row]) -> str:
    made = [r for r in rows if "failed" not in r]
    text = table(
        [[r["name"], r["devices"], f"{r['measured']:.2f} s", f"{r['predicted']:.2f} s", f"{r['error']:+.1%}", f"{r['as_run']:.2f} s",
          f"{r['as_run_error']:+.1%}", f"{r['teraflops'] or '':}", f"{r['predicted_teraflops']:.0f}", f"{r['computing']:.0%}",
          f"{r['exposed']:.0%}", f"{r['bubble']:.0%}", f"{r['nbytes'] / 1e9:.0f} GB", f"{r['compile_seconds']:.0f} s"] for r in made],
        ("row", "devices", "measured", "predicted", "error", "as run", "error", "teraflops", "predicted", "work", "exposed", "bubble",
         "needs", "compiled in"),
    )  # fmt: skip
    return "\n".join([text, *(f"{r['name']}: {r['failed']}" for r in rows if "failed" in r)])


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, rows=SMALL, seconds=900, memory=16, slots="least", residual=16, one="")
    if given.one:
        resource.setrlimit(resource.RLIMIT_AS, (given.memory * 10**9, given.memory * 10**9))
        print(json.dumps(predicted(RUNS[given.one], "least" if given.slots == "least" else None, given.residual)))
        return 0
    names = given.rows.split(",")
    unknown = [name for name in names if name not in RUNS]
    if unknown:
        raise SystemExit(f"no row {unknown[0]!r}; there are {', '.join(RUNS)}")
    settings = ["--memory", str(given.memory), "--slots", given.slots, "--residual", str(given.residual)]
    rows = []
    for name in names:
        rows.append(in_a_process(name, given.seconds, settings))
        print(lines(rows[-1:]), flush=True)
    print(f"\n{lines(rows)}")
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
