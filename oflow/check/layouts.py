"""What is read from other ranks means what the layouts say: shards are those of their layout, and every pull leaves its own.

The pulls of a boxing are run on numbers: all that it does not cut apart is one cell, every contribution to a cell is a random whole
number, and what the ranks hold afterwards must join to what they held before. So a wrong region, a wrong peer, a contribution that is
missing or taken twice shows in sums with a chance of all but 2^-40; for maxima and minima every contribution is the largest
and the smallest once. Nothing of what made the pulls is used, only what a layout is (`Layout.box`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oflow.errors import OflowError, PlanError
from oflow.live import phase
from oflow.plan import ActorTemplate, Arg, Call, Plan, PortTemplate, RegisterTemplate, at_rank
from oflow.sbp import Box, Layout, Placement, Sbp

JOIN = {"sum": np.add, "max": np.maximum, "min": np.minimum}
NOTHING = {"sum": 0, "max": -(1 << 62), "min": 1 << 62}
RANDOM, RAISE = 1 << 40, 1 << 41
Pull = tuple[int, Box, Box]
"""(source among those that the rank reads, region of the source's shard, region of the own shard)."""
Cuts = dict[int, int]
"""Of one axis: for each place where something begins or ends, the number of the cell that begins there."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the ranks of a register hold: a layout of a tensor of this shape."""

    layout: Layout
    shape: tuple[int, ...]

    def seen(self, every: int, flat: bool) -> Held:
        """A part of `every` of axis 0; flat: of all elements as one axis."""
        shape = (self.shape[0] // every, *self.shape[1:]) if every > 1 and self.shape else self.shape
        return Held(self.layout, (math.prod(shape),) if flat else shape)

    @property
    def boxes(self) -> list[Box]:
        return [self.layout.box(self.shape, place) for place in range(self.layout.placement.size)]

    def __str__(self) -> str:
        return f"{self.layout.sbp_text} of {list(self.shape)}"


class _Wrong(Exception):
    """What is wrong at a rank of an actor."""

    def __init__(self, rank: int, text: str) -> None:
        self.rank = rank
        super().__init__(text)


@phase("check layouts")
def check_layouts(plan: Plan) -> None:
    """Raises PlanError, naming actor and register, where a shard is not its layout's, or what an actor reads from other ranks is
    not what the layouts make of it. Registers that say no layout, scratch, and what is read in another shape are not looked at."""
    held = _held(plan)
    seen: set[Any] = set()
    for number, actor in enumerate(plan.actor_templates):
        for call in actor.calls:
            is_boxing = any(name == "pulls" for name, _ in call.attrs[0])
            try:
                if is_boxing:
                    _check_boxing(plan, held, actor, call, seen)
                else:
                    _check_peers(plan, held, actor, call)
            except _Wrong as e:
                raise PlanError(f"{plan.actor_label(plan.actor_bases[number] + e.rank)}: {e}", actor=actor.name, line=call.line) from None


# ---------------------------------------------------------------- registers


def _held(plan: Plan) -> list[Held | None]:
    """What each register template holds, where it says so; the types of its shards are verified."""
    known: dict[Any, Held] = {}
    found: list[Held | None] = []
    for template in plan.register_templates:
        if not template.mesh:
            found.append(None)
            continue
        key = template.group, template.layout, template.mesh, template.shape, template.types
        if key not in known:
            known[key] = _verified(template, plan.rank_table[template.group])
        found.append(known[key])
    return found


def _verified(template: RegisterTemplate, devices: Sequence[str]) -> Held:
    try:
        sbps = tuple(Sbp.parse(part.rpartition("=")[2]) for part in template.layout.split(","))
        kinds = [device.partition(":") for device in devices]
        layout = Layout(Placement(kinds[0][0], tuple(int(number) for _, _, number in kinds), template.mesh), sbps)
        layout.check_shape(template.shape)
    except (OflowError, ValueError) as e:
        raise PlanError(f"register {template.name}: {template.layout!r} on a mesh {template.mesh} is no layout: {e}") from None
    found = Held(layout, template.shape)
    for rank, box in enumerate(found.boxes):
        kind, shape = at_rank(template.types, rank), tuple(stop - start for start, stop in box)
        if kind.shape != shape:
            raise PlanError(
                f"register {template.name}@{devices[rank]} has a shard {kind}, but {found} has {list(shape)} there",
                register=f"{template.name}@{devices[rank]}",
            )  # fmt: skip
    return found


# ---------------------------------------------------------------- shards that are read where they lie


def _check_peers(plan: Plan, held: list[Held | None], actor: ActorTemplate, call: Call) -> None:
    """A call that reads other ranks' shards reads all summands of its own elements in rank order, or all shards in order."""
    by_register: dict[int, list[PortTemplate]] = {}
    for port in _ports(actor, call.ins):
        if port.peers:
            by_register.setdefault(port.register, []).append(port)
    for register, ports in by_register.items():
        holds = held[register]
        if holds is None or (not holds.layout.is_partial and holds.layout.is_broadcast):
            continue
        for rank in range(len(plan.rank_table[actor.group])):
            read = [port.peers[rank] for port in ports if port.peers[rank] >= 0]
            wanted = _contributions(holds.layout, rank) if holds.layout.is_partial else list(range(holds.layout.placement.size))
            if read != wanted:
                name = plan.register_templates[register].name
                raise _Wrong(rank, f"{call.op} reads shards {read} of {name}; together {holds.layout.sbp_text} are shards {wanted}")


def _ports(actor: ActorTemplate, args: Sequence[Arg]) -> list[PortTemplate]:
    return [actor.ports[arg.index] for arg in args if arg.kind == "port"]


def _contributions(layout: Layout, rank: int) -> list[int]:
    """The ranks that hold contributions to what `rank` has."""
    place = layout.placement
    axes = [
        range(n) if s.is_partial else (at,) for s, n, at in zip(layout.sbp, place.mesh, place.coordinates(rank), strict=True)
    ]
    return [place.index(each) for each in itertools.product(*axes)]


# ---------------------------------------------------------------- boxings


def _check_boxing(plan: Plan, held: list[Held | None], actor: ActorTemplate, call: Call, seen: set[Any]) -> None:
    ports, outs = _ports(actor, call.ins), _ports(actor, call.outs)
    registers = {port.register for port in ports}
    if len(ports) != len(call.ins) or len(outs) != len(call.outs) or any(arg.types for arg in (*call.ins, *call.outs)):
        return
    if not registers and outs and not any(kind.size for kind in plan.register_templates[outs[0].register].types):
        return  # nothing is needed to make nothing
    if len(registers) != 1 or len(outs) != 1:
        raise _Wrong(0, f"{call.op} reads {len(registers)} registers and writes {len(outs)}, not one")
    (source,) = registers
    before, after = held[source], held[outs[0].register]
    if before is None or after is None:
        return
    attrs, flat = call.attrs_of(0), bool(call.attrs_of(0)["flat"])
    before, after = before.seen(_parts(ports[0]), flat), after.seen(_parts(outs[0]), flat)
    key = before, after, call.attrs, tuple(port.peers for port in ports), outs[0].peers
    if key in seen:
        return
    names = f"{plan.register_templates[source].name} ({before})", f"{plan.register_templates[outs[0].register].name} ({after})"
    if before.shape != after.shape:
        raise _Wrong(0, f"{names[1]} cannot be made of {names[0]}: they are not one tensor")
    moves = _Moves(before, after, names, str(attrs["op"]), [
        _sources(ports, outs[0], call, rank) for rank in range(len(plan.rank_table[actor.group]))
    ])  # fmt: skip
    moves.verify()
    seen.add(key)


def _parts(port: PortTemplate) -> int:
    return port.every if port.mode == "slice" else 1


def _sources(ports: Sequence[PortTemplate], out: PortTemplate, call: Call, rank: int) -> list[tuple[int, Box, Box]]:
    """The pulls of a rank, their sources as positions in the source's layout."""
    places = [port.peers[rank] if port.peers else rank for port in ports]
    bound = [place for place in places if place >= 0]
    pulls: list[Pull] = call.attrs_of(rank)["pulls"]
    wrong = next((number for number, _, _ in pulls if not 0 <= number < len(bound)), None)
    if wrong is not None:
        raise _Wrong(rank, f"it pulls from source {wrong}, but it reads {len(bound)}")
    if out.peers and out.peers[rank] != rank:
        raise _Wrong(rank, "it writes another rank's shard")
    return [(bound[number], take, put) for number, take, put in pulls]


@dataclass(frozen=True, slots=True)
class _Moves:
    """A boxing: what is held before and after, names for words, how contributions are joined, and the pulls of every rank."""

    before: Held
    after: Held
    names: tuple[str, str]
    op: str
    pulls: list[list[tuple[int, Box, Box]]]

    def verify(self) -> None:
        if self.op not in JOIN:
            raise _Wrong(0, f"contributions cannot be joined by {self.op!r}")
        here, there = self.before.boxes, self.after.boxes
        edges: list[set[int]] = [{0, n} for n in self.before.shape]
        for boxes in (here, there, self._regions(here, there)):
            for box in boxes:
                for axis, span in enumerate(box):
                    edges[axis].update(span)
        cuts = [{edge: cell for cell, edge in enumerate(sorted(axis))} for axis in edges]
        random = np.random.default_rng(0)
        cells = random.integers(0, RANDOM, (self._count(), *(max(len(c) - 1, 0) for c in cuts)))
        for values in self._rounds(cells):
            self._compare(values, here, there, cuts, random)

    def _regions(self, here: list[Box], there: list[Box]) -> Iterator[Box]:
        """Of the whole tensor, all that is moved; each must lie in the shard, and be the same elements on both sides."""
        for rank, pulls in enumerate(self.pulls):
            for source, take, put in pulls:
                if source >= len(here):
                    raise _Wrong(rank, f"{self.names[0]} has no shard {source}")
                sides = []
                for box, region, name in ((here[source], take, self.names[0]), (there[rank], put, self.names[1])):
                    fits = len(region) == len(box) and all(0 <= a <= b <= hi - lo for (a, b), (lo, hi) in zip(region, box, strict=True))
                    if not fits:
                        raise _Wrong(rank, f"{_text(region)} lies outside the shard {_text(box)} of {name}")
                    sides.append(_moved(region, box))
                if sides[0] != sides[1]:
                    raise _Wrong(
                        rank, f"it brings elements {_text(sides[0])} of {self.names[0]}, from shard {source}, to where {self.names[1]} has "
                        f"{_text(sides[1])}",
                    )  # fmt: skip
                yield sides[0]

    def _count(self) -> int:
        """Contributions to every element before."""
        layout = self.before.layout
        return math.prod(n for s, n in zip(layout.sbp, layout.placement.mesh, strict=True) if s.is_partial)

    def _rounds(self, cells: np.ndarray) -> Iterator[np.ndarray]:
        ops = {s.op for held in (self.before, self.after) for s in held.layout.sbp if s.is_partial}
        yield cells
        for sign, op in ((1, "max"), (-1, "min")):
            for contribution in range(len(cells) if op in ops else 0):
                raised = cells.copy()
                raised[contribution] += sign * RAISE
                yield raised

    def _compare(
        self, values: np.ndarray, here: list[Box], there: list[Box], cuts: list[Cuts], random: np.random.Generator
    ) -> None:
        layout = self.before.layout
        sizes = [n for s, n in zip(layout.sbp, layout.placement.mesh, strict=True) if s.is_partial]
        wanted = values.reshape((*sizes, *values.shape[1:]))
        for s in reversed([s for s in layout.sbp if s.is_partial]):
            wanted = JOIN[s.op].reduce(wanted, axis=len(sizes) - 1)
            sizes.pop()
        found = {
            self.after.layout.placement.coordinates(rank): self._received(rank, values, here, there[rank], cuts, random)
            for rank in range(len(there))
        }
        for place, joined in self._joined(found).items():
            rank = self.after.layout.placement.index(place)
            if not np.array_equal(joined, wanted[_cells(there[rank], cuts)]):
                raise _Wrong(
                    rank, f"elements {_text(there[rank])} of {self.names[1]} are not all contributions to them in {self.names[0]}, each "
                    "once: some are missing, repeated or another's",
                )  # fmt: skip

    def _received(
        self, rank: int, values: np.ndarray, here: list[Box], own: Box, cuts: list[Cuts], random: np.random.Generator
    ) -> np.ndarray:
        """What the rank holds after its pulls: a region that comes again is joined, what nobody writes is filled, as the kernel does."""
        whole = np.full(values.shape[1:], NOTHING[self.op])
        written = dict.fromkeys(put for _, _, put in self.pulls[rank])
        if sum(_size(put) for put in written) >= _size(own):
            whole = random.integers(RANDOM, 2 * RANDOM, values.shape[1:])  # what the slot held before
        fresh = set(written)
        for source, take, put in self.pulls[rank]:
            region, brought = _cells(_moved(put, own), cuts), values[self._contribution(source)][_cells(_moved(take, here[source]), cuts)]
            whole[region] = brought if put in fresh else JOIN[self.op](whole[region], brought)
            fresh.discard(put)
        return whole[_cells(own, cuts)]

    def _contribution(self, place: int) -> int:
        """The number of the contribution that a shard holds."""
        layout, found = self.before.layout, 0
        for s, n, at in zip(layout.sbp, layout.placement.mesh, layout.placement.coordinates(place), strict=True):
            found = found * n + at if s.is_partial else found
        return found

    def _joined(self, found: dict[tuple[int, ...], np.ndarray]) -> dict[tuple[int, ...], np.ndarray]:
        """What ranks hold together, by the first of them: joined along partial axes, the inner ones first; copies must be equal."""
        for axis, sbp in reversed(list(enumerate(self.after.layout.sbp))):
            if sbp.is_split:
                continue
            groups: dict[tuple[int, ...], np.ndarray] = {}
            for place, mine in found.items():
                first = (*place[:axis], 0, *place[axis + 1 :])
                if first not in groups:
                    groups[first] = mine
                elif sbp.is_partial:
                    groups[first] = JOIN[sbp.op](groups[first], mine)
                elif not np.array_equal(groups[first], mine):
                    rank = self.after.layout.placement.index(place)
                    raise _Wrong(rank, f"what it leaves of {self.names[1]} is not the copy of what the others have")
            found = groups
        return found


def _moved(region: Box, box: Box) -> Box:
    """The region of a shard as a region of the tensor, of which the shard is `box`."""
    return tuple((low + a, low + b) for (a, b), (low, _) in zip(region, box, strict=True))


def _cells(region: Box, cuts: list[Cuts]) -> tuple[slice, ...]:
    return tuple([slice(axis[start], axis[stop]) for (start, stop), axis in zip(region, cuts, strict=True)])


def _size(region: Box) -> int:
    return math.prod(stop - start for start, stop in region)


def _text(region: Box) -> str:
    return f"[{', '.join(f'{start}:{stop}' for start, stop in region)}]"
