"""Microseconds per act: chains and pipelines of trivial kernels, beside PyTorch's pipeline runtime on gloo.

    python benchmarks/overhead.py [seconds=1.0] [torch=yes|no]

An act is one kernel call with its messages: take slots, launch, Req to the readers, Ack to the producer. The kernels do
nothing, so this is the cost of the runtime alone, as steady throughput of a busy session. PyTorch's figure is the time of
one schedule step over 2 processes on the loopback interface divided by the forward and backward actions of one rank.

The plans are the small hand-built ones of the tests (`tests/plans.py`), so this file needs the whole checkout, not the
package alone; it may be started from any folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from oflow.actors import simulator, threads
from oflow.actors.session import Session
from oflow.plan import Plan
from tests.actors.kernels import training
from tests.plans import chain, pipeline_1f1b

REPEATS = 5
STAGES, MICRO_BATCHES = 2, 8
MICRO_BATCHES_OF_STEP = 4


def nothing(act: int, slots: tuple[int, ...]) -> None:
    pass


def microseconds_per_act(start: Callable[[], Session], plan: Plan, seconds: float) -> float:
    """Median over REPEATS of the time of many steps, per act."""
    acts = sum(actor.acts for actor in plan.actors)
    with start() as session:
        session.drain(20)
        done, steps, found = 20, 20, []
        while len(found) < REPEATS:
            began = perf_counter()
            session.drain(done + steps)
            took = perf_counter() - began
            done += steps
            if took < seconds / REPEATS / 2:
                steps *= 2
            else:
                found.append(took / steps / acts * 1e6)
    return median(found)


def step_latency(workers: int, steps: int = 500) -> float:
    """Microseconds of one feed, step and fetch of a small plan by a caller that waits for each."""
    plan, _ = training(MICRO_BATCHES_OF_STEP)
    found = []
    with threads(plan, [nothing] * len(plan.actors), workers=workers) as session:
        for _ in range(steps):
            began = perf_counter()
            session.act(session.wait({0}))
            session.act(session.wait({4}))
            found.append((perf_counter() - began) * 1e6)
    return median(found)


def torch_stage(rank: int, port: int, kind: str, steps: int, out: object) -> None:
    """One rank of PyTorch's pipeline: an identity-like stage on an 8-element activation."""
    import torch
    import torch.distributed as dist
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=STAGES)
    module = torch.nn.Linear(8, 8)
    stage = PipelineStage(module, rank, STAGES, torch.device("cpu"), input_args=(torch.zeros(1, 8),))
    schedule = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}[kind](stage, MICRO_BATCHES, loss_fn=lambda y, t: (y - t).sum())
    x = torch.zeros(MICRO_BATCHES, 8)
    times = []
    for _ in range(steps):
        began = perf_counter()
        if rank == 0:
            schedule.step(x)
        else:
            schedule.step(target=x)
        times.append(perf_counter() - began)
    dist.barrier()
    if rank == STAGES - 1:
        out.put(median(times[steps // 4 :]))  # type: ignore[attr-defined]
    dist.destroy_process_group()


def torch_microseconds(kind: str, steps: int = 100) -> float:
    """Per action of one rank (a forward or a backward of one micro-batch with its send and receive)."""
    import multiprocessing
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    out = spawn.SimpleQueue()
    ranks = [spawn.Process(target=torch_stage, args=(rank, port, kind, steps, out)) for rank in range(STAGES)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    if any(process.exitcode for process in ranks):
        raise RuntimeError(f"a rank failed: exit codes {[process.exitcode for process in ranks]}")
    return float(out.get()) / (2 * MICRO_BATCHES) * 1e6


def main(words: list[str]) -> None:
    options = {"seconds": "1.0", "torch": "yes"} | dict(word.split("=", 1) for word in words)
    plans = {
        "chain of 16, 2 devices, 2 slots": chain(16, 2, devices=2),
        "chain of 16, 2 devices, 8 slots": chain(16, 8, devices=2),
        "1F1B, 2 stages x 8, updates": pipeline_1f1b(2, 8),
        "1F1B, 4 stages x 8, updates": pipeline_1f1b(4, 8),
    }
    print(f"{'microseconds per act':36}{'simulator':>12}{'caller':>12}{'1 worker':>12}{'2 workers':>12}")
    for name, plan in plans.items():
        launch = [nothing] * len(plan.actors)
        starts: list[Callable[[], Session]] = [lambda p=plan, k=launch: simulator(p, k)]  # type: ignore[misc]
        starts += [lambda p=plan, k=launch, w=w: threads(p, k, workers=w) for w in (0, 1, 2)]  # type: ignore[misc]
        cells = [microseconds_per_act(start, plan, float(options["seconds"])) for start in starts]
        print(f"{name:36}" + "".join(f"{cell:12.2f}" for cell in cells))
    latencies = [step_latency(workers) for workers in (0, 1, 2)]
    acts = sum(actor.acts for actor in training(MICRO_BATCHES_OF_STEP)[0].actors)
    print(f"{f'a whole step ({acts} acts), us a step':36}{'':12}" + "".join(f"{cell:12.1f}" for cell in latencies))
    if options["torch"] != "yes":
        return
    try:
        import torch
    except ImportError:
        print("PyTorch pipelining on gloo: skipped: torch not installed")
        return
    for kind in ("gpipe", "1f1b"):
        took = torch_microseconds(kind)
        print(f"PyTorch {torch.__version__} {kind}, {STAGES} processes x {MICRO_BATCHES}, gloo: {took:.1f} us per action")


if __name__ == "__main__":
    main(sys.argv[1:])
