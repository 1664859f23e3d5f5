"""Machine models: how long an act takes. Data only; measured machines come from a calibration, presets are constants.

A device computes at `flops` and touches memory at `memory_bandwidth`; a link costs alpha + bytes / beta (Hockney 1994); each
kernel call adds `launch` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from oflow.errors import PlanError


@dataclass(frozen=True, slots=True)
class Device:
    """One kind of device: flops per second, memory bytes per second, seconds per kernel call, bytes of memory."""

    flops: float = 1e11
    memory_bandwidth: float = 1e10
    launch: float = 1e-6
    memory_nbytes: int = 16 << 30


@dataclass(frozen=True, slots=True)
class Link:
    """A connection between two devices: `latency` seconds plus bytes / `bandwidth` bytes per second."""

    latency: float = 1e-6
    bandwidth: float = 1e10

    def seconds(self, nbytes: int) -> float:
        return self.latency + nbytes / self.bandwidth if nbytes else 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one act does, independent of any machine. `received`: (source device, bytes) read from other devices."""

    flops: float = 0.0
    nbytes: float = 0.0
    calls: int = 0
    received: tuple[tuple[str, int], ...] = ()
    seconds: float | None = None
    """A time given by hand or measured; overrides the model."""

    def __add__(self, other: Cost) -> Cost:
        moved = dict(self.received)
        for source, nbytes in other.received:
            moved[source] = moved.get(source, 0) + nbytes
        fixed = None if self.seconds is None and other.seconds is None else (self.seconds or 0.0) + (other.seconds or 0.0)
        return Cost(
            self.flops + other.flops, self.nbytes + other.nbytes, self.calls + other.calls, tuple(moved.items()), fixed
        )


@dataclass(frozen=True, slots=True)
class Machine:
    """Devices by kind and links by pair of device names; a pair that is not listed uses `link`."""

    name: str
    devices: dict[str, Device] = field(default_factory=dict)
    link: Link = Link()
    links: dict[str, Link] = field(default_factory=dict)
    """Keys are ``"cpu:0>cpu:1"``."""

    def device(self, name: str) -> Device:
        kind = name.partition(":")[0]
        found = self.devices.get(name) or self.devices.get(kind)
        if found is None:
            raise PlanError(f"machine {self.name!r} has no device of kind {kind!r}; it has {', '.join(self.devices)}")
        return found

    def link_between(self, source: str, target: str) -> Link:
        return self.links.get(f"{source}>{target}", self.link)

    def seconds(self, cost: Cost, device: str) -> float:
        """Predicted duration of one act on `device`."""
        if cost.seconds is not None:
            return cost.seconds
        model = self.device(device)
        local = cost.calls * model.launch + max(cost.flops / model.flops, cost.nbytes / model.memory_bandwidth)
        return local + sum(self.link_between(source, device).seconds(n) for source, n in cost.received)


def preset(name: str = "reference") -> Machine:
    """A constant machine, so that plans are reproducible: "reference" is a generic CPU core per device."""
    if name != "reference":
        raise PlanError(f"no machine preset {name!r}; there is 'reference'")
    core = Device(flops=1e11, memory_bandwidth=1e10, launch=2e-6, memory_nbytes=16 << 30)
    gpu = Device(flops=1e14, memory_bandwidth=2e12, launch=5e-6, memory_nbytes=80 << 30)
    return Machine("reference", {"cpu": core, "host": core, "cuda": gpu}, Link(latency=1e-5, bandwidth=1e10))
