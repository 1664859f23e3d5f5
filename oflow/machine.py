"""Machine models: how long an act takes. Data only; measured machines come from `oflow bench machine`, presets are constants.

A device without rates computes at `flops` and touches memory at `memory_bandwidth`; a link costs alpha + bytes / beta (Hockney
1994); each kernel call adds `launch` seconds. A measured device has `Rates`: what calls of each kind took, by size.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from oflow.errors import PlanError
from oflow.native.library import cache_folder
from oflow.sbp import Placement, Traffic

PRODUCTS = ("product.nn", "product.nt", "product.tn")
"""The kernels of matrix products, `Work.shape` says of which: n as in (m, k) x (k, n), t where that operand is stored the other
way round. Every other kernel has the name of its operator."""
SINGLE = 4
"""Bytes of the numbers that rates are for; wider ones take proportionally longer."""


# ---------------------------------------------------------------- what acts do


@dataclass(frozen=True, slots=True)
class Work:
    """One call of a kernel, in the terms that decide its time on any machine.

    shape: (batch, m, n, k) of a product. rows: how many inner loops it starts. operations: scalar operations by kind.
    touched: (reach, bytes) parts of what it reads and writes; reach is how many bytes are touched between two uses of these,
    which says in which cache they are (0: not known, all that the call touches).
    """

    kernel: str
    touched: tuple[tuple[float, float], ...] = ()
    shape: tuple[int, ...] = ()
    rows: float = 0.0
    operations: tuple[tuple[str, float], ...] = ()
    itemsize: int = SINGLE
    times: float = 1.0

    @property
    def nbytes(self) -> float:
        return sum(n for _, n in self.touched)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one act does, independent of any machine. `received`: (source device, bytes) read from other devices.

    works: the calls one by one, for machines that were measured; the totals serve those that have constants only.
    """

    flops: float = 0.0
    nbytes: float = 0.0
    calls: int = 0
    received: tuple[tuple[str, int], ...] = ()
    seconds: float | None = None
    """A time given by hand or measured; overrides the model."""
    works: tuple[Work, ...] = ()
    roofs: tuple[tuple[float, float], ...] = ()
    """Of several calls one after the other: (flops, bytes) of those alike in flops a byte. Each takes the longer of the two times
    (Williams et al. 2009), so a product does not hide the memory that the next kernel waits for. Empty: flops and nbytes are one call's."""

    @property
    def product_flops(self) -> float:
        """Multiplications and additions of matrix products, those inside attention included."""
        found = 0.0
        for work in self.works:
            if work.kernel in PRODUCTS:
                found += 2.0 * work.times * math.prod(work.shape)
            found += sum(2.0 * work.times * count for kind, count in work.operations if kind.endswith(".product"))
        return found

    def __add__(self, other: Cost) -> Cost:
        return total((self, other))


def total(costs: Iterable[Cost], works: tuple[Work, ...] | None = None) -> Cost:
    """The cost of doing all of them, one after the other. Equal works are one that is done several times. works: theirs, if known."""
    flops, nbytes, calls, seconds = 0.0, 0.0, 0, None
    moved: dict[str, int] = {}
    done: dict[Work, float] = {}
    roofs: dict[float, tuple[float, float]] = {}
    for cost in costs:
        for more, further in cost.roofs or ((cost.flops, cost.nbytes),):
            if more or further:
                ratio = more / further if further else math.inf
                before = roofs.get(ratio, (0.0, 0.0))
                roofs[ratio] = before[0] + more, before[1] + further
        flops, nbytes, calls = flops + cost.flops, nbytes + cost.nbytes, calls + cost.calls
        for source, received in cost.received:
            moved[source] = moved.get(source, 0) + received
        for work in cost.works if works is None else ():
            one = work if work.times == 1 else replace(work, times=1.0)
            done[one] = done.get(one, 0.0) + work.times
        if cost.seconds is not None:
            seconds = (seconds or 0.0) + cost.seconds
    if works is None:
        works = tuple(one if times == 1 else replace(one, times=times) for one, times in done.items())
    return Cost(flops, nbytes, calls, tuple(moved.items()), seconds, works, tuple(roofs.values()) if len(roofs) > 1 else ())


# ---------------------------------------------------------------- rates that were measured


@dataclass(frozen=True, slots=True)
class Curve:
    """A positive function of one size, measured at some: linear between them in logarithms, constant outside."""

    sizes: tuple[float, ...]
    values: tuple[float, ...]

    def at(self, size: float) -> float:
        low, share = _place(self.sizes, size)
        if share == 0.0:
            return self.values[low]
        a, b = self.values[low], self.values[low + 1]
        return a * math.exp(share * math.log(b / a))


@dataclass(frozen=True, slots=True)
class Products:
    """Flops per second of products (m, k) x (k, n) at a grid of sizes, single precision; linear between in logarithms.

    rates: by m, then n, then k. call: seconds of a call that multiplies nothing. cold: the share of the time to bring operands
    from far that the product does not hide.
    """

    m: tuple[float, ...]
    n: tuple[float, ...]
    k: tuple[float, ...]
    rates: tuple[float, ...]
    cold: float = 0.0

    def rate(self, m: float, n: float, k: float) -> float:
        places = [_place(axis, size) for axis, size in ((self.m, m), (self.n, n), (self.k, k))]
        logarithm = 0.0
        for corner in range(8):
            share, index = 1.0, 0
            for number, ((low, part), axis) in enumerate(zip(places, (self.m, self.n, self.k), strict=True)):
                high = corner >> number & 1
                share *= part if high else 1.0 - part
                index = index * len(axis) + min(low + high, len(axis) - 1)
            if share:
                logarithm += share * math.log(self.rates[index])
        found = math.exp(logarithm)
        for axis, size in ((self.m, m), (self.n, n), (self.k, k)):
            found *= min(1.0, size / axis[0])  # below the grid a call takes as long as on its edge
        return found


def _place(sizes: tuple[float, ...], size: float) -> tuple[int, float]:
    """The measured size below, and how far `size` is on the way to the next, in logarithms."""
    if size <= sizes[0]:
        return 0, 0.0
    if size >= sizes[-1]:
        return len(sizes) - 1, 0.0
    low = bisect_right(sizes, size) - 1
    return low, math.log(size / sizes[low]) / math.log(sizes[low + 1] / sizes[low])


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel as it was measured: seconds of a call that does nothing, of a row, and of a byte touched, by reach."""

    call: float
    row: float
    byte: Curve

    def seconds(self, work: Work, crowded: Curve | None) -> float:
        whole = work.nbytes
        found = self.call + work.rows * self.row
        for reach, nbytes in work.touched:
            size = reach or whole
            found += nbytes * self.byte.at(size) * (crowded.at(size) if crowded else 1.0)
        return found


@dataclass(frozen=True, slots=True)
class Rates:
    """What a measured device takes.

    products: by kernel, see PRODUCTS. byte: seconds a byte that is read or written by a plain loop, by reach. operations: seconds
    of a scalar operation in such a loop, by kind. kernels: those that were measured themselves, by operator. crowded: by how much
    a byte takes longer when all workers are busy, by reach; crowded_products: the same for products.
    """

    products: dict[str, Products]
    byte: Curve
    operations: dict[str, float]
    kernels: dict[str, Kernel] = field(default_factory=dict)
    crowded: Curve = Curve((1.0,), (1.0,))
    crowded_products: float = 1.0

    def seconds(self, work: Work, busy: bool = False) -> float:
        """One call of `work`; `busy`: other workers are at work too."""
        crowded = self.crowded if busy else None
        if work.kernel in PRODUCTS:
            return self._product(work, crowded) * (self.crowded_products if busy else 1.0)
        kernel = self.kernels.get(work.kernel)
        if kernel is not None:
            return kernel.seconds(work, crowded)
        computing = sum(count * self.operations.get(kind, self.operations[ARITHMETIC]) for kind, count in work.operations)
        plain = self.kernels[PLAIN]
        moving = Kernel(0.0, 0.0, self.byte).seconds(work, crowded)
        return plain.call + work.rows * plain.row + max(computing * work.itemsize / SINGLE, moving)

    def _product(self, work: Work, crowded: Curve | None) -> float:
        batch, m, n, k = work.shape
        flops = 2.0 * batch * m * n * k
        if not flops:
            return 0.0
        products = self.products[work.kernel]
        computing = flops / products.rate(m, n, k) * work.itemsize / SINGLE
        near = min(self.byte.values)
        far = sum(nbytes * (self.byte.at(reach) * (crowded.at(reach) if crowded else 1.0) - near) for reach, nbytes in work.touched)
        return computing + products.cold * max(0.0, far)


ARITHMETIC, PLAIN = "arithmetic", "plain"
"""The kind of operation that kinds without a measurement count as; the kernel whose call and row others have that were not
measured."""


# ---------------------------------------------------------------- machines


@dataclass(frozen=True, slots=True)
class Device:
    """One kind of device: flops per second, memory bytes per second, seconds per kernel call, bytes of memory.

    act: seconds that the driver adds to an act. rates: what was measured; the constants then serve for what was not. peak: flops per
    second that utilisation is measured against (0: `flops`).
    """

    flops: float = 1e11
    memory_bandwidth: float = 1e10
    launch: float = 1e-6
    memory_nbytes: int = 16 << 30
    act: float = 0.0
    rates: Rates | None = None
    peak: float = 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """A connection between two devices: `latency` seconds plus bytes / `bandwidth` bytes per second.

    bandwidth: bytes that lie in the receiver's memory (added up, where they are to be) each second. That is what NCCL reports and what
    `oflow bench machine` measures, so a pull copies only what is the device's own.
    """

    latency: float = 1e-6
    bandwidth: float = 1e10

    def seconds(self, nbytes: int) -> float:
        return self.latency + nbytes / self.bandwidth if nbytes else 0.0


def pull_cost(received: Iterable[tuple[str, int]], own: int, regions: int, itemsize: int) -> Cost:
    """What one rank of a boxing does: bytes it receives from other devices, bytes of its own, and in how many regions."""
    moved = tuple(received)
    work = Work("boxing", touched=((0.0, 2.0 * own),), rows=float(regions), itemsize=itemsize)
    return Cost(nbytes=2.0 * own, calls=1, received=moved, works=(work,))


def pull_costs(traffic: Traffic) -> list[Cost]:
    """What every consumer of a boxing does."""
    devices = traffic.src.placement.devices
    own = (traffic.elements.sum(1) * traffic.itemsize - traffic.moved.sum(1)).tolist()
    regions = (traffic.elements > 0).sum(1).tolist()
    found: list[list[tuple[str, int]]] = [[] for _ in own]
    consumers, slots = np.nonzero(traffic.moved)
    producers, sizes = traffic.source[consumers, slots].tolist(), traffic.moved[consumers, slots].tolist()
    for consumer, producer, nbytes in zip(consumers.tolist(), producers, sizes, strict=True):
        found[consumer].append((devices[producer], nbytes))
    return [pull_cost(moved, n, count, traffic.itemsize) for moved, n, count in zip(found, own, regions, strict=True)]


def together(pulls: Sequence[Cost]) -> Cost:
    """What one rank does that pulls all of these in one call: one message from each source, one walk over all regions."""
    everything = total(pulls)
    works = [work for cost in pulls for work in cost.works]
    itemsize = min((work.itemsize for work in works), default=1)
    one = Work("boxing", touched=((0.0, sum(w.nbytes for w in works)),), rows=sum(w.rows for w in works), itemsize=itemsize)
    return replace(everything, calls=1, works=(one,))


@dataclass(frozen=True, slots=True)
class Machine:
    """Devices by kind and links by pair of device names; a pair that is not listed uses `link`.

    workers: how many acts can run at once where devices share workers (0: every device has its own). node_size: how many devices
    of consecutive numbers make a node (0: all of them do); devices of one kind in different nodes use `inter`.
    """

    name: str
    devices: dict[str, Device] = field(default_factory=dict)
    link: Link = Link()
    links: dict[str, Link] = field(default_factory=dict)
    """Keys are ``"cpu:0>cpu:1"``."""
    workers: int = 0
    node_size: int = 0
    inter: Link | None = None
    host: Link | None = None
    """Between a device and its host's memory (None: `link`)."""

    def device(self, name: str) -> Device:
        kind = name.partition(":")[0]
        found = self.devices.get(name) or self.devices.get(kind)
        if found is None:
            raise PlanError(f"machine {self.name!r} has no device of kind {kind!r}; it has {', '.join(self.devices)}")
        return found

    def link_between(self, source: str, target: str) -> Link:
        found = self.links.get(f"{source}>{target}")
        if found is None and self.host is not None and source.startswith("host:") != target.startswith("host:"):
            return self.host
        if found is not None or self.inter is None or not self.node_size:
            return found or self.link
        (kind, _, number), (other, _, number_there) = source.partition(":"), target.partition(":")
        across = kind == other and int(number) // self.node_size != int(number_there) // self.node_size
        return self.inter if across else self.link

    def seconds(self, cost: Cost, device: str, busy: bool = False, near: Collection[str] = ()) -> float:
        """Predicted duration of one act on `device`.

        busy: other workers are at work too and share caches and memory. near: devices whose bytes cross no link, because the same
        worker has both.
        """
        if cost.seconds is not None:
            return cost.seconds
        model = self.device(device)
        if model.rates is None or not cost.works:
            roofs = cost.roofs or ((cost.flops, cost.nbytes),)
            local = cost.calls * model.launch + sum([max(f / model.flops, n / model.memory_bandwidth) for f, n in roofs])
        else:
            local = model.act + cost.calls * model.launch
            for work in cost.works:
                local += work.times * model.rates.seconds(work, busy)
        return local + sum(self._receiving(source, device, n, near) for source, n in cost.received)

    def boxing(self, traffic: Traffic) -> float:
        """Seconds of one boxing: of its busiest consumer, charged as `seconds` charges the act."""
        where = traffic.dst.placement
        if self.is_measured(where):
            return max(self.seconds(cost, device) for device, cost in zip(where.devices, pull_costs(traffic), strict=True))
        model = self.device(where.devices[0])
        own = traffic.elements.sum(1) * traffic.itemsize - traffic.moved.sum(1)
        latency, byte = self._rates(traffic)
        local = own * (2.0 / model.memory_bandwidth)
        return float((local + ((traffic.moved > 0) * latency + traffic.moved * byte).sum(1)).max()) + model.launch

    def boxing_floor(self, traffic: Traffic, dealt: bool) -> float:
        """Seconds that two boxings take at least which bring every consumer as much, or as much in total: two calls, one message
        over the best link."""
        model = self.device(traffic.dst.placement.devices[0])
        links = [self.link, *self.links.values(), *([self.inter] if self.inter else [])]
        latency, bandwidth = min(link.latency for link in links), max(link.bandwidth for link in links)
        moved = traffic.moved.sum(1)
        if dealt or self.is_measured(traffic.dst.placement):
            return float(moved.mean() if dealt else moved.max()) / bandwidth + latency * bool(moved.any())
        own = traffic.elements.sum(1) * traffic.itemsize - moved
        local = own * min(2.0 / model.memory_bandwidth, 1.0 / bandwidth)  # on another way it may come over a link
        return float((local + (moved > 0) * latency + moved / bandwidth).max()) + 2 * model.launch

    def nodes(self, where: Placement) -> tuple[int, ...] | None:
        """The node of each device; None where all links are alike."""
        if self.inter is None or not self.node_size:
            return None
        return tuple(rank // self.node_size for rank in where.ranks)

    def unit(self) -> int:
        """How many consecutive devices make a group whose number does not matter; 0 where devices or links have models of their own."""
        if self.links or any(":" in name for name in self.devices):
            return 0
        return self.node_size if self.inter is not None and self.node_size else 1

    def is_measured(self, where: Placement) -> bool:
        """Whether devices of this kind have measured rates, or models of their own."""
        return any(name.partition(":")[0] == where.kind and (":" in name or model.rates) for name, model in self.devices.items())

    def _rates(self, traffic: Traffic) -> tuple[Any, Any]:
        """Latency and seconds a byte of each read: one number where all links are alike, else (consumers, contributions)."""
        if self.host is not None and (traffic.src.placement.kind == "host") != (traffic.dst.placement.kind == "host"):
            return self.host.latency, 1.0 / self.host.bandwidth
        if not self.links and (self.inter is None or not self.node_size):
            return self.link.latency, 1.0 / self.link.bandwidth
        src, dst = traffic.src.placement, traffic.dst.placement
        latency, byte = _between(self.link, tuple(self.links.items()), self.node_size, self.inter, src.devices, dst.devices)
        consumers = np.arange(dst.size)[:, None]
        return latency[consumers, traffic.source], byte[consumers, traffic.source]

    def _receiving(self, source: str, device: str, nbytes: int, near: Collection[str]) -> float:
        rates = self.device(device).rates
        if source in near and rates is not None:
            return 2.0 * nbytes * rates.byte.at(4.0 * nbytes)
        return self.link_between(source, device).seconds(nbytes)


@lru_cache(maxsize=4096)
def _between(
    link: Link, links: tuple[tuple[str, Link], ...], node_size: int, inter: Link | None, sources: tuple[str, ...], targets: tuple[str, ...]
) -> tuple[Any, Any]:
    """(targets, sources) latencies, and seconds a byte."""
    machine = Machine("", link=link, links=dict(links), node_size=node_size, inter=inter)
    found = [[machine.link_between(source, target) for source in sources] for target in targets]
    return np.array([[each.latency for each in row] for row in found]), np.array([[1.0 / each.bandwidth for each in row] for row in found])


# ---------------------------------------------------------------- files


def measured_path() -> Path:
    """Where `oflow bench machine` stores this machine."""
    return cache_folder() / "machine.json"


def save(machine: Machine, path: str | Path | None = None) -> Path:
    """Write a machine as JSON (default: as this one, for `preset("measured")`). Returns the file."""
    target = Path(path) if path is not None else measured_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(machine), indent=1))
    part.replace(target)
    return target


def load(path: str | Path | None = None) -> Machine:
    """The machine in a file (default: this one, as it was measured). Raises PlanError, with what to do, where there is none."""
    source = Path(path) if path is not None else measured_path()
    try:
        found = msgspec.json.decode(source.read_bytes(), type=Machine)
    except FileNotFoundError as e:
        wanted = "this machine was not measured yet" if path is None else f"there is no machine file {path}"
        raise PlanError(f"{wanted}; run: oflow bench machine" + (f" -o {path}" if path is not None else "")) from e
    except msgspec.DecodeError as e:
        raise PlanError(f"{source} is no machine file: {e}; run: oflow bench machine") from e
    _verify(found, source)
    return found


def _verify(machine: Machine, source: Path) -> None:
    """Raises PlanError unless every rate is a positive number, sizes rise, and columns are equally long."""
    for device in machine.devices.values():
        if device.rates is None:
            continue
        products = device.rates.products
        curves = [device.rates.byte, device.rates.crowded, *(kernel.byte for kernel in device.rates.kernels.values())]
        grids = [(one.m, one.n, one.k) for one in products.values()]
        sizes = [*(axis for grid in grids for axis in grid), *(curve.sizes for curve in curves)]
        fits = {*PRODUCTS} <= products.keys() and all(len(c.sizes) == len(c.values) for c in curves)
        fits &= all(math.prod(map(len, grid)) == len(p.rates) for grid, p in zip(grids, products.values(), strict=True))
        measured = (*(x for one in products.values() for x in one.rates), *(v for c in curves for v in c.values))
        positive = all(0 < x < math.inf for x in measured)
        rising = all(one and one[0] > 0 and all(a < b for a, b in pairwise(one)) for one in sizes)
        if not (fits and positive and rising and {ARITHMETIC} <= device.rates.operations.keys() and PLAIN in device.rates.kernels):
            raise PlanError(f"{source} holds rates that no machine has; run: oflow bench machine")
