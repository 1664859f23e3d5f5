"""What a program computes again, for its user: by line, with the bytes that are no longer kept and the seconds that are added."""

from __future__ import annotations

from collections.abc import Mapping

from oflow.compiler.options import Options
from oflow.compiler.stash import Stash, stashes
from oflow.graph import Graph, Node, Recomputed


def recomputed(before: Graph, after: Graph, options: Options) -> tuple[Recomputed, ...]:
    """The differences between the graph before and after recomputation, in the forward's order."""
    if all(node.again is None for node in after.nodes):
        return ()
    first, then = _kept(stashes(before, options)), _kept(stashes(after, options))
    seconds = {n.node.id: n.seconds for stash in stashes(before, options) for n in stash.nodes}
    copies: dict[int, int] = {}
    for node in after.nodes:
        if node.again is not None:
            copies[node.again] = copies.get(node.again, 0) + 1
    found: dict[tuple[str, str, int | None], list[tuple[int, float, int]]] = {}
    for node in before.nodes:
        saved = sum(first.get(v, 0) - then.get(v, 0) for v in node.outs)
        if node.id in copies or (node.phase == "F" and saved):
            again = copies.get(node.id, 0)
            found.setdefault(_key(node), []).append((again, again * seconds.get(node.id, 0.0), saved))
    return tuple(Recomputed(*key, *map(sum, zip(*rows, strict=True))) for key, rows in found.items())


def _key(node: Node) -> tuple[str, str, int | None]:
    return node.op, node.line, node.stage


def _kept(stages: tuple[Stash, ...]) -> Mapping[int, int]:
    """Bytes of all slots of each value that the backward pass reads."""
    return {
        v: s.held[v].nbytes * s.held[v].slots for s in stages for v in s.held if v in s.first or s.held[v].fixed
    }  # fmt: skip
