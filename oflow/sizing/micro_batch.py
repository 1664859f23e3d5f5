"""One micro-batch in the steady state: the sizing problem of a plan without its ramps and once-a-step work.

Every act of a micro-batch is a node, the period is that of a micro-batch, and a register of one turn a micro-batch is one arc of
data and one of slots (a marked graph). A stream runs its nodes one at a time: those of one stage and phase in the plan's order, one
after the other, and these blocks in the order, and as many micro-batches apart, as needs the fewest bytes (`modulo`). Without an
order in the plan every node is a block. Where there are too many blocks, streams keep the cyclic order of the middle of the plan's.

With stages of equal seconds, no transfer time and the period of a busy stage, a stash is held from a forward to the end of its backward:
(S - 1 - i) stages on, the same way back, and its own two acts: S - i periods exactly, which are 1F1B's slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from oflow.check.acts import ActGraph
from oflow.check.rates import replayed
from oflow.sizing.classes import representatives
from oflow.sizing.flow import Arc, Buffer, Flow, HandOver, buffer, chosen_registers, femtoseconds


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


def steady_state(graph: ActGraph, *, keep: bool = False) -> SteadyState:
    """The steady state of a plan's micro-batches. keep: streams whose order in the plan becomes cyclic keep to it."""
    return _SteadyState(graph).made(keep)


class _SteadyState:
    def __init__(self, graph: ActGraph) -> None:
        self.graph, self.plan, self.t = graph, graph.plan, graph.tables
        weights, bases, many = femtoseconds(graph), graph.bases.tolist(), self.plan.micro_batches
        acts = self.t.acts.tolist()
        self.stands: list[int] = graph.owners[representatives(graph, weights)[graph.bases[:-1]]].tolist()
        """The actor row that stands for each actor row."""
        self.first: dict[int, int] = {}
        """The first node of each row that acts at least once a micro-batch and stands for its class."""
        self.acts: dict[int, int] = {}
        self.weights, self.owners = list[int](), list[int]()
        for row, count in enumerate(acts):
            if self.stands[row] == row and count % many == 0:
                self.first[row], self.acts[row] = len(self.weights), count // many
                self.weights += [weights[bases[row]]] * (count // many)
                self.owners += [row] * (count // many)
        self.arcs: dict[Arc, None] = {}
        self._meet()

    def _meet(self) -> None:
        """Partners of a rendezvous start together: at a node of no length that waits for what each of them waits for."""
        self.meeting: dict[int, int] = {}
        known: dict[tuple[int, int], int] = {}
        for row, first in self.first.items():
            number = int(self.t.meeting[row])
            for act in range(self.acts[row] if number >= 0 else 0):
                node = known.setdefault((number, act), len(self.weights))
                if node == len(self.weights):
                    self.weights.append(0)
                    self.owners.append(-1)
                self.meeting[first + act] = node
                self.arcs[node, first + act, 0] = None

    def _wait(self, source: int, target: int, distance: int) -> None:
        self.arcs[source, self.meeting.get(target, target), distance] = None

    def made(self, keep: bool) -> SteadyState:
        open_streams, busiest = list[Stream](), 0
        t, kept = self.t, replayed(self.t)
        for number, stream in enumerate(t.streams):
            mine = [row for row in np.flatnonzero(t.stream == number).tolist() if row in self.first]
            order = [] if not kept[number] else t.order[t.order_start[number] : t.order_start[number + 1]].tolist()
            blocks = self._blocks(order, mine)
            cyclic = self._window(order, mine) if keep else []
            if stream.startswith("host:"):  # the caller's thread: each of its actors by itself
                blocks = [[self.first[row] + act for act in range(self.acts[row])] for row in mine]
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

    def _blocks(self, order: list[int], rows: list[int]) -> list[list[int]]:
        """The nodes of each stage and phase as the order has them for the first micro-batch; each act its own block without one."""
        if not order:
            return [[self.first[row] + act for act in range(self.acts[row])] for row in rows]
        found: dict[tuple[int, str], list[int]] = {}
        done = dict.fromkeys(rows, 0)
        for row in order:
            if row in done and done[row] < self.acts[row]:
                actor = self.plan.actor_templates[int(self.t.template[row])]
                found.setdefault((actor.stage, actor.phase), []).append(self.first[row] + done[row])
                done[row] += 1
        return list(found.values())

    def _cycle(self, turn: list[tuple[int, int]]) -> None:
        """(node, micro-batches that it is ahead of the first) in the order of a stream: each waits for the one before."""
        for (node, ahead), (after, its) in zip(turn, [*turn[1:], (turn[0][0], turn[0][1] + 1)], strict=True):
            self._wait(node, after, its - ahead)

    def _window(self, order: list[int], rows: list[int]) -> list[tuple[int, int]]:
        """A stretch of the plan's order in which every row acts as often as in one micro-batch; () where there is none."""
        wanted, done, turn = set(rows), dict.fromkeys(rows, 0), list[tuple[int, int, int]]()
        for row in order:
            if row in wanted:
                turn.append((row, done[row] % self.acts[row], done[row] // self.acts[row]))
                done[row] += 1
        starts = [i for i, (row, act, _) in enumerate(turn) if rows and row == turn[0][0] and act == 0] + [len(turn)]
        middle = len(starts) // 2
        for at in sorted(range(len(starts) - 1), key=lambda i: abs(i - middle)):
            window = turn[starts[at] : starts[at + 1]]
            if sorted((row, act) for row, act, _ in window) == sorted((row, act) for row in rows for act in range(self.acts[row])):
                return [(self.first[row] + act, micro_batch - window[0][2]) for row, act, micro_batch in window]
        return []

    def _buffers(self) -> tuple[Buffer, ...]:
        """Data arcs of all registers between these rows, and the buffers among them."""
        chosen, found = chosen_registers(self.plan), dict[int, dict[HandOver, None]]()
        for template, written, read in self._registers():
            turns, initial = len(read), self.plan.register_templates[template].initial
            for j, (start, _) in enumerate(read):
                back, needed = divmod(j - initial, turns)
                self._wait(written[needed][1], start, -back)
            made = HandOver(tuple(self.meeting.get(n, n) for n, _ in written), tuple(n for _, n in read))
            if template in chosen:
                found.setdefault(template, {})[made] = None
            else:
                for source, target, distance in buffer(self.plan, template, (made,)).arcs(self.plan.register_templates[template].slots):
                    self._wait(source, target, distance)
        return tuple(buffer(self.plan, row, tuple(pairs)) for row, pairs in sorted(found.items()))

    def _registers(self) -> Iterator[tuple[int, list[tuple[int, int]], list[tuple[int, int]]]]:
        """(template, turns of the writer, turns of a reader) of what is handed over within a micro-batch. A turn: its first, last node."""
        t = self.t
        for port in np.flatnonzero((t.producer >= 0) & (t.every > 0)).tolist():
            made = int(t.producer[port])
            writer, reader = int(t.port_actor[made]), self.stands[int(t.port_actor[port])]
            if writer in self.first and reader in self.first:
                written, read = self._turns(writer, int(t.every[made])), self._turns(reader, int(t.every[port]))
                if written and len(read) == len(written):
                    yield self.plan.register_template_of(int(t.port_register[port])), written, read

    def _turns(self, row: int, every: int) -> list[tuple[int, int]]:
        first, acts = self.first[row], self.acts[row]
        return [] if acts % every else [(first + turn, first + turn + every - 1) for turn in range(0, acts, every)]
