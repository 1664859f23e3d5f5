"""Whether a file's messages can all be delivered: who sends what to whom, in which order, and with how many buffers.

A link leads from one rank to another. With SEND and RECV in the file, each link delivers in the order of its SENDs, and a RECV is
posted without waiting: the action that reads the message waits for it, as PyTorch's runtime does (one batch of point-to-point
operations a cell). Where the file has none, a message is sent after the action that makes it and taken by the one that reads it,
in any order. With `buffers` K a SEND keeps its rank until fewer than K messages are under way on the link (K = 0: until the
receiver asks for it); without a number it never waits.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass

from oflow.errors import DeadlockError, PlanError
from oflow.schedule.order import Action
from oflow.schedule.pytorch import Cell, Listing

Link = tuple[int, int]
"""(rank that sends, rank that receives)."""
Key = tuple[str, int, int]
"""A message: "F" or "B", the stage that made it, micro-batch."""


@dataclass(frozen=True, slots=True)
class Op:
    """What a rank does next: act (key None), or send or receive the message `key` over `link`. `where` names it in the file."""

    kind: str
    where: str
    key: Key | None = None
    link: Link = (0, 0)
    reads: Key | None = None


def operations(listing: Listing) -> list[list[Op]]:
    """What each rank does in order. Raises PlanError for a SEND or RECV that is wrong, or that lacks its other end."""
    schedule = listing.schedule
    reads = {action: _message(listing, action) for row in schedule.rows for action in row}
    made, explicit = [list[Op]() for _ in listing.cells], listing.has_messages
    for rank, row in enumerate(listing.cells):
        for cell in row:
            if cell.is_action:
                key = reads[Action(cell.stage, cell.kind, cell.micro_batch)]
                made[rank] += [Op("act", cell.where, reads=key)] if explicit else _acting(listing, cell, rank, key)
            elif cell.kind.startswith(("SEND", "RECV")):
                made[rank].append(_messaging(listing, cell, rank))
    if explicit:
        _verify_ends(made)
    return made


def _message(listing: Listing, action: Action) -> Key | None:
    """The message from another rank that `action` reads."""
    schedule = listing.schedule
    known = schedule.homes
    for before in schedule.needs(action):
        if known.get(before.stage, -1) != known[action.stage]:
            return ("F" if action.phase == "F" else "B", before.stage, action.micro_batch)
    return None


def _acting(listing: Listing, cell: Cell, rank: int, key: Key | None) -> list[Op]:
    """An action that reads `key`, with the taking and the sending of messages that are understood."""
    schedule, homes = listing.schedule, listing.schedule.homes
    act = Op("act", cell.where, reads=key)
    found = [Op("receive", cell.where, key, (homes[key[1]], rank))] if key else []
    target = schedule.places[cell.stage] + (1 if cell.kind == "F" else -1)
    if cell.kind != "W" and 0 <= target < len(schedule.stages) and (home := homes[schedule.stages[target]]) != rank:
        made = ("F" if cell.kind == "F" else "B", cell.stage, cell.micro_batch)
        return [*found, act, Op("send", cell.where, made, (rank, home))]
    return [*found, act]


def _messaging(listing: Listing, cell: Cell, rank: int) -> Op:
    schedule, homes = listing.schedule, listing.schedule.homes
    sends, forward = cell.kind.startswith("SEND"), cell.kind.endswith("F")
    if homes.get(cell.stage) != rank:
        raise PlanError(f"schedule {schedule.name}: {cell.where} is about stage {cell.stage}, which is not on rank {rank}")
    step = 1 if forward == sends else -1
    place = schedule.places[cell.stage] + step
    if not 0 <= place < len(schedule.stages):
        end = "first" if step < 0 else "last"
        raise PlanError(f"schedule {schedule.name}: {cell.where} has no other end, stage {cell.stage} is the {end}")
    other = schedule.stages[place]
    if homes[other] == rank:
        raise PlanError(f"schedule {schedule.name}: {cell.where} goes from rank {rank} to itself; stage {other} is there too")
    key = ("F" if forward else "B", cell.stage if sends else other, cell.micro_batch)
    return Op("send" if sends else "receive", cell.where, key, (rank, homes[other]) if sends else (homes[other], rank))


def _verify_ends(rows: list[list[Op]]) -> None:
    """Each message that is read is sent once, after it was made, and received once, before it is read."""
    for kind, word in (("send", "SEND"), ("receive", "RECV")):
        count = Counter(op.key for row in rows for op in row if op.kind == kind)
        for op in (op for row in rows for op in row if op.kind == kind):
            if count[op.key] > 1:
                raise PlanError(f"{op.where} stands {count[op.key]} times")
        for op in (op for row in rows for op in row if op.reads):
            if op.reads and not count[op.reads]:
                phase, stage, m = op.reads
                end = stage if kind == "send" else stage + (1 if phase == "F" else -1)
                where = "before it" if kind == "receive" else f"behind stage {end}'s {'forward' if phase == 'F' else 'backward'} of {m}"
                raise PlanError(f"{op.where} needs {end}{word}_{phase}{m}, which is missing; write it {where}")
    for row in rows:
        have = set[Key]()
        for op in row:
            if op.kind == "receive" and op.key:
                have.add(op.key)
            if op.reads and op.reads not in have:
                raise PlanError(f"{op.where} stands before the RECV of what it reads; a RECV stands before its reader")


def verify_sends(listing: Listing) -> None:
    """Raises PlanError for a SEND that stands before the action that makes its message."""
    for row in listing.cells:
        done = set[Key]()
        for cell in row:
            if cell.is_action and cell.kind != "W":
                done.add(("F" if cell.kind == "F" else "B", cell.stage, cell.micro_batch))
            if cell.kind.startswith("SEND") and (cell.kind[-1], cell.stage, cell.micro_batch) not in done:
                raise PlanError(f"{cell.where} stands before the action that makes the message")


def verify_fifo(rows: list[list[Op]]) -> None:
    """Raises PlanError, naming both ends, where a link's messages are received in another order than they are sent."""
    ends: dict[Link, tuple[list[Op], list[Op]]] = defaultdict(lambda: ([], []))
    for op in (op for row in rows for op in row if op.kind != "act"):
        ends[op.link][op.kind == "receive"].append(op)
    for (source, target), (sent, received) in sorted(ends.items()):
        for one, other in zip(sent, received, strict=True):
            if one.key != other.key:
                raise PlanError(
                    f"rank {source} sends to rank {target} in another order than that one receives: {one.where} meets {other.where}; "
                    "messages of a link arrive in the order of their SENDs"
                )


# ---------------------------------------------------------------- delivery


class Delivery:
    """One play of all ranks, as far as they get. `buffers`: None for no limit. `ordered`: links deliver in order.

    together: both directions between two ranks are one stream of operations, as in NCCL's communicator of a pair.
    """

    def __init__(self, rows: list[list[Op]], buffers: int | None, ordered: bool, together: bool = False) -> None:
        self.rows, self.buffers, self.ordered, self.together = rows, buffers, ordered, together
        self.heads = [0] * len(rows)
        self.posted: dict[tuple[int, Link | Key], deque[Op]] = defaultdict(deque)
        """By rank and stream: operations that were begun and have not ended."""
        self.begun, self.ended = set[tuple[str, Key]](), set[tuple[str, Key]]()
        self.under_way: dict[Link, list[Key]] = defaultdict(list)
        moved = True
        while moved:
            moved = any([self._advance(rank) for rank in range(len(rows))])

    @property
    def is_live(self) -> bool:
        return all(head == len(row) for head, row in zip(self.heads, self.rows, strict=True)) and not any(self.posted.values())

    def _stream(self, rank: int, op: Op) -> deque[Op]:
        assert op.key is not None
        pair = (min(op.link), max(op.link)) if self.together else op.link
        return self.posted[rank, pair if self.ordered else op.key]

    def _advance(self, rank: int) -> bool:
        """Run `rank` as far as it gets; True where anything changed."""
        row, moved = self.rows[rank], False
        while self.heads[rank] < len(row):
            op = row[self.heads[rank]]
            if op.key is None:
                if op.reads is not None and ("receive", op.reads) not in self.ended:
                    break
            else:
                if (op.kind, op.key) not in self.begun:
                    self.begun.add((op.kind, op.key))
                    self._stream(rank, op).append(op)
                    moved = True
                self._progress(rank, op)
                if op.kind == "send" and self.buffers is not None and (op.kind, op.key) not in self.ended:
                    break
            self.heads[rank] += 1
            moved = True
        return moved

    def _progress(self, rank: int, op: Op) -> None:
        """End what can end on the stream of `op`, at both ends of its link."""
        moved = True
        while moved:
            moved = False
            for end in op.link:
                stream = self._stream(end, op)
                while stream and self._ends(end, stream[0]):
                    done = stream.popleft()
                    assert done.key is not None
                    self.ended.add((done.kind, done.key))
                    moved = True

    def _ends(self, rank: int, op: Op) -> bool:
        assert op.key is not None
        queue = self.under_way[op.link]
        if op.kind == "receive":
            if op.key in queue:
                queue.remove(op.key)
                return True
            return False
        wanted = self._stream(op.link[1], op)
        asked = bool(wanted) and (wanted[0].kind, wanted[0].key) == ("receive", op.key)
        if self.buffers is None or len(queue) < self.buffers or (asked and not queue):
            queue.append(op.key)
            return True
        return False

    def cycle(self) -> tuple[str, ...]:
        """Who waits for whom, from rank to rank, until it comes back to the first."""
        path: list[int] = []
        rank = next(rank for rank, row in enumerate(self.rows) if self.heads[rank] < len(row))
        while rank not in path and self.heads[rank] < len(self.rows[rank]):
            path.append(rank)
            rank = self._waits(rank)[0]
        ring = path[path.index(rank) :] if rank in path else path
        return tuple(self._waits(rank)[1] for rank in ring)

    def _waits(self, rank: int) -> tuple[int, str]:
        op = self.rows[rank][self.heads[rank]]
        if op.key is not None:
            other = op.link[1]
            limit = f"the link's buffers hold {self.buffers}" if self.buffers else "the link has no buffer"
            return other, f"rank {rank} at {op.where} waits for rank {other} to receive: {limit}"
        ops = [o for row in self.rows for o in row if o.kind == "send" and o.key == op.reads]
        sender = ops[0].link[0]
        begun = ("send", ops[0].key) in self.begun
        why = "which waits its turn" if begun else "which is not reached"
        return sender, f"rank {rank} at {op.where} waits for rank {sender} to send it {ops[0].where}, {why}"


@dataclass(frozen=True, slots=True)
class Links:
    """What `check_links` found. least_buffers: the fewest per link with which SENDs that keep their rank do not block.

    together: whether both directions between two ranks may share one stream. messages: SENDs in all.
    """

    explicit: bool
    least_buffers: int
    together: bool
    messages: int


def check_links(listing: Listing, buffers: int | None = None) -> Links:
    """Raises PlanError for messages at fault, DeadlockError, with the cycle, where ranks wait for each other for ever."""
    if listing.has_messages:
        verify_sends(listing)
    rows, ordered = operations(listing), listing.has_messages
    if ordered:
        verify_fifo(rows)
    played = Delivery(rows, buffers, ordered)
    if not played.is_live:
        cycle = played.cycle()
        with_buffers = "" if buffers is None else f" with {buffers} buffer{'s' * (buffers != 1)} a link"
        least = ""
        if buffers is not None and Delivery(rows, None, ordered).is_live:
            enough = _least(rows, ordered)
            least = f"\n  {enough} buffer{'s' * (enough != 1)} a link would do"
        told = "\n  ".join(cycle)
        raise DeadlockError(f"schedule {listing.schedule.name} blocks{with_buffers}:\n  {told}{least}", cycle=cycle)
    together = not ordered or Delivery(rows, None, ordered, together=True).is_live
    return Links(ordered, _least(rows, ordered), together, sum(op.kind == "send" for row in rows for op in row))


def _least(rows: list[list[Op]], ordered: bool) -> int:
    """The fewest buffers that do. More never hurt, so those tried are doubled and then halved; without a limit all must be live."""
    low, high = 0, 1
    if Delivery(rows, 0, ordered).is_live:
        return 0
    while not Delivery(rows, high, ordered).is_live:
        low, high = high + 1, 2 * high
    low = max(low, 1)
    while low < high:
        middle = (low + high) // 2
        if Delivery(rows, middle, ordered).is_live:
            high = middle
        else:
            low = middle + 1
    return low
