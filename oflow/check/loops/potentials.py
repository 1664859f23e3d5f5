"""Longest paths in the act graph for a guessed period, and the cycles that the guess is too short for."""

from __future__ import annotations

from oflow.check.loops import Changing, Column


def sweep(
    sizes: Column, order: Column, start: Column, targets: Column, distances: Column, weights: Column,
    potential: Changing, parent: Changing, rising: Changing,
) -> int:  # fmt: skip
    """One pass over all nodes in topological order, and one back (Yen 1970: paths that go on in one direction take one pass).

    sizes: nodes, multiplier of weights, what an arc of distance 1 takes off, largest potential. start: of the run of each node's
    arcs. parent: the arc that raised a node last. rising: 1 where a node's arcs are to be looked at. Returns 1 where something
    rose, 0 where nothing did, 2 where a number grew too large.
    """
    found = 0
    for i in range(2 * sizes[0]):
        node = order[i if i < sizes[0] else 2 * sizes[0] - 1 - i]
        if rising[node] == 0:
            continue
        rising[node] = 0
        reached = potential[node] + weights[node] * sizes[1]
        if reached > sizes[3]:
            return 2
        for arc in range(start[node], start[node + 1]):
            value = reached - sizes[2] * distances[arc]
            target = targets[arc]
            if value > potential[target]:
                potential[target] = value
                parent[target] = arc
                rising[target] = 1
                found = 1
    return found


def raised_cycles(
    sizes: Column, sources: Column, weights: Column, distances: Column, parent: Column, seen: Changing,
    cycle_node: Changing, cycle_weight: Changing, cycle_distance: Changing,
) -> int:  # fmt: skip
    """The cycles of the parent arcs: a node, the weights and the distances of each. Returns how many there are."""
    count = 0
    for root in range(sizes[0]):
        node = root
        while seen[node] == 0 and parent[node] >= 0:
            seen[node] = root + 1
            node = sources[parent[node]]
        if seen[node] != root + 1 or parent[node] < 0:
            continue
        first, weight, distance, going = node, 0, 0, 1
        while going == 1:
            arc = parent[node]
            node = sources[arc]
            weight += weights[node]
            distance += distances[arc]
            going = 0 if node == first else 1
        cycle_node[count], cycle_weight[count], cycle_distance[count] = first, weight, distance
        count += 1
    return count


def rounds(
    sizes: Column, order: Column, into: Column, arcs: Column, sources: Column, distances: Column, weights: Column,
    begun: Changing, parent: Changing,
) -> int:  # fmt: skip
    """Steps one after the other, each act as early as it can. Column r of `begun` and `parent`: starts in step r, and the arc that
    each act waited for longest.

    sizes: nodes, steps, largest start. into: where the run of each node begins in `arcs`. Returns 2 where a number grew too large.
    """
    nodes = sizes[0]
    for r in range(sizes[1]):
        for i in range(nodes):
            node, latest, waited = order[i], 0, -1
            for place in range(into[node], into[node + 1]):
                arc = arcs[place]
                if distances[arc] <= r:
                    source = sources[arc]
                    end = begun[(r - distances[arc]) * nodes + source] + weights[source]
                    if end > latest:
                        latest, waited = end, arc
            if latest > sizes[2]:
                return 2
            begun[r * nodes + node] = latest
            parent[r * nodes + node] = waited
    return 0
