"""Ranks that are alike: they wait for the same, in the same surroundings, so that one of them stands for all.

A partition of the actors in which equal ones wait for equal ones (a bisimulation, Paige & Tarjan 1987) keeps every cycle's seconds
and distance: a cycle of classes can be followed backwards through their members until one comes again. So liveness and period of
the small graph are those of the plan, whatever slots its registers have.
"""

from __future__ import annotations

import numpy as np

from oflow.check.acts import ActGraph

_KINDS = {"data": 0, "slot": 1, "stream": 2, "meet": 3}


def representatives(graph: ActGraph, weights: list[int]) -> list[int]:
    """For each node the one that stands for its class: of the lowest actor row in it."""
    owners, acts, first = _owners(graph)
    colours = _ids([(graph.plan.actors[row].template, weights[first[row]]) for row in range(len(graph.plan.actors))])
    colours += [-1] * (len(first) - len(colours))  # meetings, told apart by who comes
    sources, targets = np.asarray(graph.sources, np.int64), np.asarray(graph.targets, np.int64)
    owner, act = np.asarray(owners, np.int64), np.asarray(acts, np.int64)
    rows = graph.plan.register_template_of
    fixed = np.stack([
        act[targets], act[sources], np.asarray(graph.distances, np.int64),
        np.asarray([_KINDS[reason.kind] for reason in graph.reasons], np.int64),
        np.asarray([rows(reason.row) if reason.row >= 0 else -1 for reason in graph.reasons], np.int64),
    ], axis=1) if len(sources) else np.zeros((0, 5), np.int64)  # fmt: skip
    labels = np.unique(fixed, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    while True:
        refined = _ids(_signatures(np.asarray(colours, np.int64), owner[sources], owner[targets], labels))
        if max(refined, default=0) == max(_ids(list(colours)), default=0):
            break
        colours = refined
    lowest: dict[int, int] = {}
    for number, colour in enumerate(colours):
        lowest.setdefault(colour, number)
    return [first[lowest[colours[number]]] + place for number, place in zip(owners, acts, strict=True)]


def _owners(graph: ActGraph) -> tuple[list[int], list[int], list[int]]:
    """Who owns each node (actor rows, then one number a rendezvous), which act of it the node is, and each owner's first node."""
    owners, acts, first = list(graph.owners), [0] * len(graph.owners), list(graph.bases[:-1])
    names = {graph.sources[arc]: reason.name for arc, reason in enumerate(graph.reasons) if reason.kind == "meet"}
    known: dict[str, int] = {}
    for node, owner in enumerate(owners):
        if owner < 0:
            owners[node] = known.setdefault(names[node], len(graph.plan.actors) + len(known))
            if owners[node] == len(first):
                first.append(node)
        acts[node] = node - first[owners[node]]
    return owners, acts, first


def _ids(keys: list[object]) -> list[int]:
    """A number for each key, in order of appearance."""
    known: dict[object, int] = {}
    return [known.setdefault(key, len(known)) for key in keys]


def _signatures(colours: np.ndarray, sources: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> list[object]:
    """Of each owner: its colour, and the set of what it waits for."""
    waits = np.unique(np.stack([targets, colours[sources], labels], axis=1), axis=0)
    ends = np.searchsorted(waits[:, 0], np.arange(len(colours) + 1))
    body = np.ascontiguousarray(waits[:, 1:])
    return [(colour, body[ends[i] : ends[i + 1]].tobytes()) for i, colour in enumerate(colours.tolist())]
