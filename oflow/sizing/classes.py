"""Ranks that are alike: they wait for the same, in the same surroundings, so that one of them stands for all.

A partition of the actors in which equal ones wait for equal ones (a bisimulation, Paige & Tarjan 1987) keeps every cycle's seconds
and distance: a cycle of classes can be followed backwards through their members until one comes again. So liveness and period of
the small graph are those of the plan, whatever slots its registers have.
"""

from __future__ import annotations

import numpy as np

from oflow.check.acts import MEET, SLOT, ActGraph


def representatives(graph: ActGraph, weights: list[int]) -> np.ndarray:
    """(N) for each node the one that stands for its class: of the lowest actor row in it."""
    owners, acts, first = _owners(graph)
    actors = len(graph.tables.acts)
    alone = [*zip(graph.tables.template.tolist(), [weights[n] for n in first[:actors].tolist()], strict=True)]
    colours = _ids([*alone, *[(-1, 0)] * (len(first) - actors)])  # meetings are told apart by who comes
    rows = np.where(graph.kinds <= SLOT, np.searchsorted(graph.plan.register_bases, graph.refs, "right"), 0)
    labels = np.unique(
        np.stack([acts[graph.targets], acts[graph.sources], graph.distances, graph.kinds, rows], axis=1), axis=0, return_inverse=True
    )[1].reshape(-1)
    while True:
        refined = _ids(_signatures(colours, owners[graph.sources], owners[graph.targets], labels))
        if refined.max(initial=0) == colours.max(initial=0):
            break
        colours = refined
    lowest = np.unique(colours, return_index=True)[1]
    return np.asarray(first[lowest[colours[owners]]] + acts)


def _owners(graph: ActGraph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who owns each node (actor rows, then one number a rendezvous), which act of it the node is, and each owner's first node."""
    actors, t = len(graph.tables.acts), graph.tables
    owners = graph.owners.copy()
    met = np.flatnonzero(graph.kinds == MEET)
    owners[graph.sources[met]] = actors + t.meeting[graph.owners[graph.targets[met]]]
    first = np.full(int(owners.max(initial=-1)) + 1, len(owners))
    np.minimum.at(first, owners, np.arange(len(owners)))
    return owners, np.arange(len(owners)) - first[owners], first


def _ids(keys: list[tuple[object, object]]) -> np.ndarray:
    """A number for each key, in order of appearance."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)


def _signatures(colours: np.ndarray, sources: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> list[tuple[object, object]]:
    """Of each owner: its colour, and the set of what it waits for."""
    waits = np.unique(np.stack([targets, colours[sources], labels], axis=1), axis=0)
    ends = np.searchsorted(waits[:, 0], np.arange(len(colours) + 1)).tolist()
    body = np.ascontiguousarray(waits[:, 1:])
    return [(colour, body[ends[i] : ends[i + 1]].tobytes()) for i, colour in enumerate(colours.tolist())]
