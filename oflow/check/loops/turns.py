"""Who has which bytes after whom, and how far every chain of acts has come when an act starts."""

from __future__ import annotations

from oflow.check.loops import Changing, Column

MIXED = -1


def takeovers(
    sizes: Column, low: Column, high: Column, blocks: Column, tree: Changing, stack: Changing,
    before: Changing, after: Changing, wraps: Changing,
) -> int:  # fmt: skip
    """Windows take their bytes in turn, for two steps: pairs (before, after) where one window's bytes pass to another block's.

    sizes: windows, leaves of `tree`, room for pairs. low, high: the run of leaves of each window, in order of their starts. tree: who
    had a run of leaves last (0: nobody, -1: several); stack: node, first and last leaf. Returns how many pairs there are, -1 where
    there is no room for them.
    """
    count = 0
    for turn in range(2 * sizes[0]):
        window = turn % sizes[0]
        stack[0], stack[1], stack[2] = 1, 0, sizes[1]
        top, latest = 3, 0
        while top > 0:
            top -= 3
            node, first, last = stack[top], stack[top + 1], stack[top + 2]
            if last <= low[window] or high[window] <= first:
                continue
            had = tree[node]
            inside = low[window] <= first and last <= high[window]
            if inside:
                tree[node] = turn + 1
            if inside and had != MIXED:
                # in the second step only what passes from the first is new
                fresh = had > 0 and had != latest and blocks[(had - 1) % sizes[0]] != blocks[window]
                if fresh and (turn < sizes[0] or had <= sizes[0]):
                    if count == sizes[2]:
                        return -1
                    before[count], after[count], wraps[count] = (had - 1) % sizes[0], window, turn // sizes[0]
                    count += 1
                latest = had
                continue
            if not inside:
                if had != MIXED:
                    tree[2 * node], tree[2 * node + 1] = had, had
                tree[node] = MIXED
            middle = (first + last) // 2
            stack[top], stack[top + 1], stack[top + 2] = 2 * node + 1, middle, last
            stack[top + 3], stack[top + 4], stack[top + 5] = 2 * node, first, middle
            top += 6
    return count


def clock(
    sizes: Column, order: Column, start: Column, sources: Column, distances: Column, counted: Column, more: Column, found: Changing
) -> int:
    """A column of vector clocks (Fidge 1988, Mattern 1989) over one step unrolled.

    sizes: nodes, steps. start: of the run of arcs into each node. counted: how many acts of the chain that the column counts have ended
    once a node of the first step has, as it shows by itself (its place on that chain, or arcs that are not followed); more: by how many
    these are more a step. found: what they and the arcs show, for the nodes of the first step, then of the second, and so on.
    """
    nodes = sizes[0]
    for i in range(sizes[1] * nodes):
        step = i // nodes
        node = order[i - step * nodes]
        most = max(0, counted[node] + step * more[node])
        for arc in range(start[node], start[node + 1]):
            if distances[arc] <= step:
                most = max(most, found[(step - distances[arc]) * nodes + sources[arc]])
        found[step * nodes + node] = most
    return 0
