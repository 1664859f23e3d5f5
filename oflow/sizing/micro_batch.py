"""One micro-batch in the steady state: the sizing problem of a plan without its ramps and once-a-step work.

Every act of a micro-batch is a node, the period is that of a micro-batch, and a register of one turn a micro-batch is one arc of
data and one of slots (a marked graph). A stream runs its nodes one at a time. Where the middle of the plan's own order is cyclic it
does so in that order; where a stream's order never gets there (GPipe, or too few micro-batches) the nodes of one stage and phase stay
one after the other, and `modulo` looks for the order of these blocks that needs the fewest bytes; without an order in the plan
every node is a block.

With stages of equal seconds, no transfer time and the period of a busy stage, a stash is held from a forward to the end of its backward:
(S - 1 - i) stages on, the same way back, and its own two acts: S - i periods exactly, which are 1F1B's slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from oflow.check.acts import ActGraph
from oflow.check.period import PER_SECOND
from oflow.sizing.classes import representatives
from oflow.sizing.flow import Arc, Buffer, Flow, HandOver, chosen_registers, slot_nbytes


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream without a steady order. Nodes of one block follow each other; blocks may run in any order, one at a time."""

    name: str
    blocks: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class SteadyState:
    """`flow`: nodes and arcs of one micro-batch. free: the streams whose order is still open. partners: nodes that start together.

    busiest: femtoseconds of acts of the stream that has most of them, which no period can be shorter than.
    """

    flow: Flow
    free: tuple[Stream, ...]
    partners: tuple[tuple[int, ...], ...]
    busiest: Fraction


def steady_state(graph: ActGraph, *, free: bool = False) -> SteadyState:
    """The steady state of a plan's micro-batches. free: do not take streams' orders from the plan."""
    return _SteadyState(graph).made(free)


class _SteadyState:
    def __init__(self, graph: ActGraph) -> None:
        self.graph, self.plan = graph, graph.plan
        weights = [round(s * PER_SECOND) for s in graph.seconds]
        shown = representatives(graph, weights)
        many = self.plan.micro_batches
        self.stands = [graph.owners[shown[base]] for base in graph.bases[:-1]]
        """The actor row that stands for each actor row."""
        self.first: dict[int, int] = {}
        """The first node of each row that acts at least once a micro-batch and stands for its class."""
        self.weights, self.owners = list[int](), list[int]()
        for actor in self.plan.actors:
            if self.stands[actor.id] == actor.id and actor.acts % many == 0:
                self.first[actor.id] = len(self.weights)
                self.weights += [weights[graph.bases[actor.id]]] * (actor.acts // many)
                self.owners += [actor.id] * (actor.acts // many)
        self.arcs: dict[Arc, None] = {}
        self._meet()

    def _meet(self) -> None:
        """Partners of a rendezvous start together: at a node of no length that waits for what each of them waits for."""
        self.meeting: dict[int, int] = {}
        named: dict[tuple[str, int], int] = {}
        for row, first in self.first.items():
            name = self.plan.actors[row].rendezvous
            for act in range(self._acts(row) if name else 0):
                node = named.setdefault((name, act), len(self.weights))
                if node == len(self.weights):
                    self.weights.append(0)
                    self.owners.append(-1)
                self.meeting[first + act] = node
                self.arcs[node, first + act, 0] = None

    def _acts(self, row: int) -> int:
        return self.plan.actors[row].acts // self.plan.micro_batches

    def _wait(self, source: int, target: int, distance: int) -> None:
        self.arcs[source, self.meeting.get(target, target), distance] = None

    def made(self, free: bool) -> SteadyState:
        open_streams, busiest = list[Stream](), 0
        for stream, rows in self.plan.streams.items():
            mine = [row for row in rows if row in self.first]
            order = () if free else self.graph.orders.get(stream, ())
            blocks = self._blocks(order, mine)
            cyclic = self._window(order, mine)
            if stream.startswith("host:"):  # the caller's thread: each of its actors by itself
                blocks = [[self.first[row] + act for act in range(self._acts(row))] for row in mine]
            else:
                busiest = max(busiest, sum(self.weights[n] for block in blocks for n in block))
            if cyclic and not stream.startswith("host:"):
                self._cycle(cyclic)
                continue
            for block in blocks:
                self._cycle([(node, 0) for node in block])
            if len(blocks) > 1 and not stream.startswith("host:"):
                open_streams.append(Stream(stream, tuple(map(tuple, blocks))))
        buffers = self._buffers()
        together: dict[int, list[int]] = {}
        for node, meeting in self.meeting.items():
            together.setdefault(meeting, [meeting]).append(node)
        flow = Flow(tuple(self.weights), tuple(self.arcs), buffers, tuple(self.owners))
        return SteadyState(flow, tuple(open_streams), tuple(map(tuple, together.values())), Fraction(busiest))

    def _blocks(self, order: tuple[int, ...], rows: list[int]) -> list[list[int]]:
        """The nodes of each stage and phase as the order has them for the first micro-batch; each act its own block without one."""
        if not order:
            return [[self.first[row] + act for act in range(self._acts(row))] for row in rows]
        found: dict[tuple[int, str], list[int]] = {}
        done = dict.fromkeys(rows, 0)
        for row in order:
            if row in done and done[row] < self._acts(row):
                actor = self.plan.actors[row]
                found.setdefault((actor.stage, actor.phase), []).append(self.first[row] + done[row])
                done[row] += 1
        return list(found.values())

    def _cycle(self, turn: list[tuple[int, int]]) -> None:
        """(node, micro-batches that it is ahead of the first) in the order of a stream: each waits for the one before."""
        for (node, ahead), (after, its) in zip(turn, [*turn[1:], (turn[0][0], turn[0][1] + 1)], strict=True):
            self._wait(node, after, its - ahead)

    def _window(self, order: tuple[int, ...], rows: list[int]) -> list[tuple[int, int]]:
        """A stretch of the plan's order in which every row acts as often as in one micro-batch; () where there is none."""
        wanted, done, turn = set(rows), dict.fromkeys(rows, 0), list[tuple[int, int, int]]()
        for row in order:
            if row in wanted:
                turn.append((row, *reversed(divmod(done[row], self._acts(row)))))
                done[row] += 1
        starts = [i for i, (row, act, _) in enumerate(turn) if rows and row == turn[0][0] and act == 0] + [len(turn)]
        middle = len(starts) // 2
        for at in sorted(range(len(starts) - 1), key=lambda i: abs(i - middle)):
            window = turn[starts[at] : starts[at + 1]]
            if sorted((row, act) for row, act, _ in window) == sorted((row, act) for row in rows for act in range(self._acts(row))):
                return [(self.first[row] + act, micro_batch - window[0][2]) for row, act, micro_batch in window]
        return []

    def _buffers(self) -> tuple[Buffer, ...]:
        """Data arcs of all registers between these rows, and the buffers among them."""
        chosen, found = chosen_registers(self.plan), dict[int, dict[HandOver, None]]()
        for template, initial, slots, written, read in self._registers():
            turns = len(read)
            for j, (start, _) in enumerate(read):
                back, needed = divmod(j - initial, turns)
                self._wait(written[needed][1], start, -back)
            made = HandOver(tuple(self.meeting.get(n, n) for n, _ in written), tuple(n for _, n in read))
            if template in chosen:
                found.setdefault(template, {})[made] = None
            else:
                for source, target, distance in Buffer(template, 0, slots, 1, initial, (made,)).arcs(slots):
                    self._wait(source, target, distance)
        templates = self.plan.register_templates
        return tuple(
            Buffer(row, slot_nbytes(self.plan, t := templates[row]), t.slots, max(1, t.initial), t.initial, tuple(pairs))
            for row, pairs in sorted(found.items())
        )

    def _registers(self) -> Iterator[tuple[int, int, int, list[tuple[int, int]], list[tuple[int, int]]]]:
        """(template, initial, slots, turns of the writer, turns of a reader) of what is handed over within a micro-batch.

        A turn is its first and its last node."""
        for register in self.plan.registers:
            if register.producer not in self.first:
                continue
            written = self._turns(register.producer, register.id)
            for row in register.consumers if written else ():
                stands = self.stands[row]
                read = self._turns(stands, register.id, as_row=row) if stands in self.first else []
                if len(read) == len(written):
                    yield register.template, register.initial, register.slots, written, read

    def _turns(self, row: int, register: int, as_row: int = -1) -> list[tuple[int, int]]:
        every, acts = self.graph.everys[row if as_row < 0 else as_row, register], self._acts(row)
        if not every or acts % every:
            return []
        return [(self.first[row] + turn, self.first[row] + turn + every - 1) for turn in range(0, acts, every)]
