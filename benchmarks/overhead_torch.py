"""PyTorch's pipeline runtime: two processes on gloo, stages that do next to nothing."""

from __future__ import annotations

import multiprocessing
import socket
from statistics import median
from time import perf_counter
from typing import Any

STAGES, MICRO_BATCHES = 2, 8


def _stage(rank: int, port: int, kind: str, steps: int, out: Any) -> None:
    """One rank: an identity-like stage on an 8-element activation."""
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
        out.put(median(times[steps // 4 :]))
    dist.destroy_process_group()


def seconds_per_action(kind: str, steps: int = 100) -> float:
    """Of one rank: a forward or a backward of one micro-batch with its send and receive."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    out = spawn.SimpleQueue()
    ranks = [spawn.Process(target=_stage, args=(rank, port, kind, steps, out)) for rank in range(STAGES)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    if any(process.exitcode for process in ranks):
        raise RuntimeError(f"a rank failed: exit codes {[process.exitcode for process in ranks]}")
    return float(out.get()) / (2 * MICRO_BATCHES)
