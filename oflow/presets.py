"""Machines by name. Clusters are made of published figures: peaks of the data sheets, and what of them is reached.

Peaks. A100: NVIDIA A100 80GB SXM data sheet: 312 TFLOP/s dense bfloat16, 2,039 GB/s HBM2e, NVLink 600 GB/s, which is 300 GB/s each way;
DGX A100: 8 of them and eight 200 Gb/s HDR InfiniBand ports a node, 25 GB/s a device. H100: NVIDIA H100 SXM data sheet: 989 TFLOP/s
dense bfloat16, 3.35 TB/s HBM3, NVLink 900 GB/s (450 each way); DGX H100: eight 400 Gb/s NDR ports, 50 GB/s a device.

Links, what NCCL gets of them in large messages, by its authors: A100 NVLink 230 GB/s (github.com/NVIDIA/nccl-tests issue 149), H100 NVLink
370 GB/s without NVLink SHARP (nccl-tests issue 212), 192 GB/s over the 8 HDR ports of a DGX A100 (github.com/NVIDIA/nccl issue 812), 46 to
48 GB/s an NDR port (nccl-tests issue 290). Latencies, 2 us inside a node and 5 us across, are assumed, in the range of the hop times in
NCCL's own model (src/graph/tuning.cc: 0.6 to 3.4 us over NVLink, 2.7 to 14 us over a network, by protocol).

Assumed: products reach 80 % of the peak (the best of an H100 that was seen published is 780 TFLOP/s, 79 %; no source for the A100),
streaming kernels 85 % of the memory's rate, a kernel takes 3 us to start. No figure is fitted to a run; `benchmarks/megatron.py` holds the
times that follow against published ones (docs/scale.md).
"""

from __future__ import annotations

from oflow.errors import PlanError, user_line
from oflow.machine import Device, Link, Machine, load

PRODUCTS_REACHED, MEMORY_REACHED = 0.80, 0.85
NODE = 8
PCIE_4 = Link(latency=1e-5, bandwidth=16e9 * 16 * 128 / 130 / 8)
"""PCI Express 4.0 with 16 lanes: 16 GT/s each, 128b/130b coding, 31.5 GB/s a direction (PCI-SIG, PCI Express Base Specification 4.0)."""
PCIE_5 = Link(latency=1e-5, bandwidth=32e9 * 16 * 128 / 130 / 8)
"""5.0: 32 GT/s."""


def _cluster(name: str, peak: float, memory_bandwidth: float, inside: float, across: float, to_host: Link) -> Machine:
    """peak: dense bfloat16 flops per second; memory_bandwidth: its peak; inside, across: bytes per second that links reach each way."""
    device = Device(
        flops=PRODUCTS_REACHED * peak, memory_bandwidth=MEMORY_REACHED * memory_bandwidth, launch=3e-6, memory_nbytes=80 << 30,
        peak=peak,
    )  # fmt: skip
    host = Device(flops=1e12, memory_bandwidth=1e11, launch=1e-6, memory_nbytes=1 << 40)
    link, far = Link(2e-6, inside), Link(5e-6, across)
    return Machine(name, {"cpu": device, "cuda": device, "host": host}, link, node_size=NODE, inter=far, host=to_host)


CLUSTERS = {
    "a100": _cluster("a100", 312e12, 2.039e12, 230e9, 24e9, PCIE_4),
    "h100": _cluster("h100", 989e12, 3.35e12, 370e9, 47e9, PCIE_5),
}
"""Nodes of 8 devices (of kind "cuda" or "cpu"), NVLink inside a node, InfiniBand across."""


def preset(name: str = "reference") -> Machine:
    """A machine by name: "reference", a constant generic CPU core a device, so that plans are reproducible; "two-level", a constant
    generic accelerator a device, of any kind, in nodes of 8, 2 us and 100 GB/s inside a node, 10 us and 10 GB/s across, PCI Express 4.0
    x16 to the host; "a100" and "h100", clusters of these (the figures are the module's); "measured", what `oflow bench machine` stored.

    Raises PlanError where there is none.
    """
    if name == "measured":
        return load()
    if name in CLUSTERS:
        return CLUSTERS[name]
    if name not in ("reference", "two-level"):
        there_are = ", ".join(map(repr, CLUSTERS))
        raise PlanError(f"no machine preset {name!r}; there are {there_are}, 'two-level', 'reference' and 'measured'", line=user_line())
    core = Device(flops=1e11, memory_bandwidth=1e10, launch=2e-6, memory_nbytes=16 << 30)
    gpu = Device(flops=1e14, memory_bandwidth=2e12, launch=5e-6, memory_nbytes=80 << 30)
    far = Link(latency=1e-5, bandwidth=1e10)
    if name == "two-level":
        near = Link(latency=2e-6, bandwidth=1e11)
        return Machine(name, {"cpu": gpu, "host": core, "cuda": gpu}, near, node_size=NODE, inter=far, host=PCIE_4)
    return Machine(name, {"cpu": core, "host": core, "cuda": gpu}, far)
