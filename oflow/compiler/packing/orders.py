"""All orders in which buffers can lie in an arena, as a PQ-tree (Booth & Lueker 1976).

Buffers are numbers; a set of them is a whole number with one bit each. The children of a FREE node lie in any order, those of a
FIXED one as they stand or the other way round. Equal sets of orders make equal trees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import lgamma, log
from typing import NamedTuple

LEAF, FREE, FIXED = range(3)
BIT = 1024
"""The unit of logarithms: they are whole numbers, so that sums are the same everywhere."""
FACTORIALS = tuple(round(BIT * lgamma(n + 1) / log(2)) for n in range(2048))


class Node(NamedTuple):
    """`members`: the buffers below; `orders`: how many orders there are, as a logarithm (`log_factorial`)."""

    members: int
    kind: int
    children: tuple[Node, ...]
    orders: int


class Swap(NamedTuple):
    """A tree in which neighbours gave way to others: `run`, the subtrees that were there in turn, and a buffer beside them that
    stayed, before (`leads`) or behind them; -1 where nothing beside them says which way round the run lies."""

    tree: Node
    run: Sequence[Node]
    witness: int
    leads: bool


def log_factorial(n: int) -> int:
    return FACTORIALS[min(n, len(FACTORIALS) - 1)]


def leaf(buffer: int) -> Node:
    return Node(1 << buffer, LEAF, (), 0)


def free(nodes: Sequence[Node]) -> Node:
    if len(nodes) == 1:
        return nodes[0]
    return Node(
        sum(n.members for n in nodes), FREE, tuple(sorted(nodes)), sum(n.orders for n in nodes) + log_factorial(len(nodes))
    )  # fmt: skip


def fixed(nodes: Sequence[Node]) -> Node:
    if len(nodes) < 3:
        return free(nodes)
    ordered = tuple(nodes) if nodes[0] < nodes[-1] else tuple(nodes[::-1])
    return Node(sum(n.members for n in nodes), FIXED, ordered, sum(n.orders for n in nodes) + BIT)


def bits(members: int) -> Iterator[int]:
    while members:
        lowest = members & -members
        yield lowest.bit_length() - 1
        members ^= lowest


def in_order(node: Node) -> list[int]:
    """One of the orders."""
    found, open_ = [], [node]
    while open_:
        one = open_.pop()
        if one.kind == LEAF:
            found.append(one.members.bit_length() - 1)
        open_.extend(one.children[::-1])
    return found


def swap(tree: Node, gone: int, new: Node) -> Swap | None:
    """The orders in which the buffers `gone` are neighbours, with `new` in their place; None where there is none."""
    if not tree.members & ~gone:
        return Swap(new, [tree], -1, True)
    children = tree.children
    touched = [i for i, child in enumerate(children) if child.members & gone]
    if len(touched) == 1:
        at = touched[0]
        found = swap(children[at], gone, new)
        if found is None:
            return None
        nodes = [*children[:at], found.tree, *children[at + 1 :]]
        return found._replace(tree=free(nodes) if tree.kind == FREE else fixed(nodes))
    return _swap_free(children, gone, new) if tree.kind == FREE else _swap_fixed(children, gone, new)


def _swap_free(children: tuple[Node, ...], gone: int, new: Node) -> Swap | None:
    apart, whole, parted = _sorted(children, gone)
    if len(parted) > 2:
        return None
    run = [free(whole)] if whole else []
    if not parted:
        return Swap(free([*apart, new]), run, -1, True)
    first = _ending(parted[0], gone)
    second = _ending(parted[1], gone) if len(parted) == 2 else ([], [])
    if first is None or second is None:
        return None
    middle = fixed([*first[0], new, *second[0][::-1]])
    run = [*first[1], *run, *second[1][::-1]]
    return Swap(free([*apart, middle]), run, _any(first[0][0]), True)


def _swap_fixed(children: tuple[Node, ...], gone: int, new: Node) -> Swap | None:
    touched = [i for i, child in enumerate(children) if child.members & gone]
    first, last = touched[0], touched[-1]
    if any(child.members & ~gone for child in children[first + 1 : last]):
        return None
    left, right = _ending(children[first], gone), _ending(children[last], gone)
    if left is None or right is None:
        return None
    before, after = [*children[:first], *left[0]], [*right[0][::-1], *children[last + 1 :]]
    run = [*left[1], *children[first + 1 : last], *right[1][::-1]]
    return Swap(fixed([*before, new, *after]), run, _any(before[0] if before else after[0]), bool(before))


def _ending(node: Node, gone: int) -> tuple[list[Node], list[Node]] | None:
    """(those that stay, those of `gone`) in this order as one row, where the node has such an order."""
    if not node.members & ~gone:
        return [], [node]
    if node.kind == FREE:
        apart, whole, parted = _sorted(node.children, gone)
        if len(parted) > 1:
            return None
        before, after = [free(apart)] if apart else [], [free(whole)] if whole else []
    else:
        row = node.children
        if row[0].members & gone and (row[-1].members & ~gone):
            row = row[::-1]
        at = next(i for i, child in enumerate(row) if child.members & gone)
        if any(child.members & ~gone for child in row[at + 1 :]):
            return None
        before, parted, after = list(row[:at]), [row[at]], list(row[at + 1 :])
    if parted:
        found = _ending(parted[0], gone)
        if found is None:
            return None
        return [*before, *found[0]], [*found[1], *after]
    return before, after


def _sorted(children: tuple[Node, ...], gone: int) -> tuple[list[Node], list[Node], list[Node]]:
    """Children without, within and partly within `gone`."""
    apart: list[Node] = []
    whole: list[Node] = []
    parted: list[Node] = []
    for child in children:
        (apart if not child.members & gone else parted if child.members & ~gone else whole).append(child)
    return apart, whole, parted


def _any(node: Node) -> int:
    return node.members.bit_length() - 1
