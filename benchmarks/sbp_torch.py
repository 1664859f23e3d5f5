"""PyTorch's DTensor on a fake process group: one process that stands for rank 0 of 8 devices.

    python benchmarks/sbp_torch.py ROUNDS        prints JSON: seconds by operator and mesh, bytes by mesh and pair of layouts

Bytes are those of the collectives that `redistribute` calls, at what their best algorithms receive on all ranks together: an
all-gather of n bytes a rank among g (g-1) n, a reduce-scatter and an all-to-all of n bytes (g-1)/g n, an all-reduce twice that. On
a CPU mesh DTensor replaces the all-to-all by an all-gather, because gloo has none; it is counted as the all-to-all of a GPU mesh.
"""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from statistics import median
from time import process_time
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.tensor._redistribute as redistribution
import torch.distributed.tensor.placement_types as placement_types
from sbp_cases import BOXING_MESHES, MESHES, OPERATORS, TENSOR, pairs
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.distributed_c10d import _resolve_process_group
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
CALLS: dict[str, Callable[..., tuple[Any, tuple[Any, ...]]]] = {
    "add": lambda a, b: (aten.add.Tensor, (a, b)),
    "relu": lambda a: (aten.relu.default, (a,)),
    "gelu": lambda a: (aten.gelu.default, (a,)),
    "where": lambda c, a, b: (aten.where.self, (c, a, b)),
    "matmul": lambda a, b: (aten.mm.default, (a, b)),
    "softmax": lambda a: (aten._softmax.default, (a, -1, False)),
    "log_softmax": lambda a: (aten._log_softmax.default, (a, -1, False)),
    "layer_norm": lambda a, w, b: (aten.native_layer_norm.default, (a, [a.shape[-1]], w, b, 1e-5)),
    "sum": lambda a: (aten.sum.dim_IntList, (a, [0])),
    "max": lambda a: (aten.amax.default, (a, [0])),
    "cumsum": lambda a: (aten.cumsum.default, (a, 0)),
    "sort": lambda a: (aten.sort.default, (a, -1)),
    "topk": lambda a: (aten.topk.default, (a, 4)),
    "transpose": lambda a: (aten.permute.default, (a, [1, 0])),
    "reshape": lambda a: (aten.view.default, (a, [4, 4, 16])),
    "broadcast_to": lambda a: (aten.expand.default, (a, [16, 16])),
    "concat": lambda a, b: (aten.cat.default, ([a, b], 0)),
    "stack": lambda a, b: (aten.stack.default, ([a, b], 0)),
    "slice": lambda a: (aten.slice.Tensor, (a, 0, 2, 14)),
    "embedding": lambda t, ids: (aten.embedding.default, (t, ids)),
    "take": lambda t, ids: (aten.index_select.default, (t, 0, ids)),
    "conv2d": lambda x, w: (aten.convolution.default, (x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)),
}
PLACED = {"B": Replicate, "S(0)": lambda: Shard(0), "S(1)": lambda: Shard(1), "P": Partial}


# ------------------------------------------------------------ inference


def caches() -> list[Any]:
    """Every function of DTensor that remembers its results."""
    found: dict[int, Any] = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith("torch.distributed.tensor"):
            continue
        things = list(vars(module).values())
        things += [each for thing in things if isinstance(thing, type) for each in vars(thing).values()]
        found |= {id(thing): thing for thing in things if isinstance(thing, functools._lru_cache_wrapper)}
    return list(found.values())


def operands(name: str, mesh: Any) -> list[DTensor]:
    made = []
    for i, shape in enumerate(OPERATORS[name]):
        t = torch.ones(shape, dtype=torch.bool) if name == "where" and not i else torch.ones(shape)
        t = torch.zeros(shape, dtype=torch.int64) if name in ("embedding", "take") and i else t
        made.append(DTensor.from_local(t, mesh, [Replicate()] * mesh.ndim, run_check=False))
    return made


def infer(rounds: int) -> list[dict[str, Any]]:
    """CPU seconds of DTensor's sharding propagation, whole operands, nothing remembered."""
    dispatcher = DTensor._op_dispatcher
    rows = []
    for mesh in MESHES:
        devices = DeviceMesh("cpu", torch.arange(math.prod(mesh)).reshape(mesh))
        for name, call in CALLS.items():
            took, remark = [], ""
            try:
                op, args = call(*operands(name, devices))
                schema = dispatcher.unwrap_to_op_info(op, args, {}).schema
                dispatcher.sharding_propagator.propagate_op_sharding_non_cached(schema)  # what is imported on first use
                for _ in range(rounds):
                    for cache in caches():
                        cache.cache_clear()
                    began = process_time()
                    dispatcher.sharding_propagator.propagate_op_sharding_non_cached(schema)
                    took.append(process_time() - began)
            except (NotImplementedError, RuntimeError) as e:
                remark = str(e).splitlines()[0][:80]
            rows.append({"mesh": mesh, "operator": name, "seconds": median(took) if took else None, "remark": remark})
    return rows


# ------------------------------------------------------------ bytes


SHARES: dict[str, Callable[[int], float]] = {
    "all_gather_into_tensor": lambda g: g - 1,
    "reduce_scatter_tensor": lambda g: (g - 1) / g,
    "all_reduce": lambda g: 2 * (g - 1) / g,
}
"""Bytes that a rank receives, over those it holds, by the size of its group."""


class Received(TorchDispatchMode):
    """Bytes that this rank receives in the collectives it calls."""

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        space, _, name = str(func).rpartition(".")[0].partition(".")
        if "c10d_functional" in space and name in SHARES:
            size = (_resolve_process_group(args[-1]) if isinstance(args[-1], str) else args[-1]).size()
            self.nbytes += args[0].nbytes * SHARES[name](size)
        return func(*args, **(kwargs or {}))

    def all_to_all(self, input: Any, gather_dim: int, shard_dim: int, mesh: Any, mesh_dim: int) -> Any:
        size = mesh.size(mesh_dim)
        self.nbytes += input.nbytes * (size - 1) / size
        shape = list(input.shape)
        shape[gather_dim] *= size
        shape[shard_dim] //= size
        return input.new_zeros(shape)


@contextmanager
def counting() -> Iterator[Received]:
    own = placement_types.shard_dim_alltoall
    with Received() as found:
        placement_types.shard_dim_alltoall = found.all_to_all
        try:
            yield found
        finally:
            placement_types.shard_dim_alltoall = own


def moved(src: Sequence[str], dst: Sequence[str], mesh: Any, least: bool) -> int | None:
    """Bytes over all links; None where DTensor refuses. least: by its planner of least cost, not the default one."""
    shape, before = list(TENSOR), [PLACED[name]() for name in src]
    for size, placed in zip(mesh.shape, before, strict=True):
        if isinstance(placed, Shard):
            shape[placed.dim] //= size
    t = DTensor.from_local(torch.ones(shape), mesh, before, run_check=False)
    redistribution.clear_redistribute_planner_cache()
    redistribution._gen_transform_infos.cache_clear()
    planner = redistribution.use_min_cost_redistribution_plan() if least else nullcontext()
    try:
        with planner, counting() as found:
            t.redistribute(placements=[PLACED[name]() for name in dst])
    except (NotImplementedError, RuntimeError, ValueError, AssertionError):
        return None
    return round(found.nbytes * mesh.size())


def move() -> list[dict[str, Any]]:
    rows = []
    for mesh in BOXING_MESHES:
        devices = DeviceMesh("cpu", torch.arange(math.prod(mesh)).reshape(mesh))
        for least in (False, True):
            rows.append({"mesh": mesh, "least": least, "nbytes": [moved(*pair, devices, least) for pair in pairs(len(mesh))]})
    return rows


def main(words: Sequence[str]) -> int:
    torch.set_num_threads(1)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=8)
    print(json.dumps({"version": torch.__version__, "inference": infer(int(words[0])), "boxing": move()}))
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
