"""The certificate: what was found about a plan, written into its file so that whoever reads it only has to verify.

To find that a plan is live takes a play and its period a search; to verify them takes a pass over the arcs each. The order of the
acts shows that no cycle is free of tokens; the start times show that no cycle needs longer than the period, and the critical cycle
that one needs as long. Bytes and turns are proved anew. What a certificate says and the plan does not bear out is refused, and so is
any other change to either: a digest seals them together.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from fractions import Fraction

import msgspec
import numpy as np

from oflow.arrays import Tables, tables
from oflow.check.acts import ActGraph, act_graph
from oflow.check.cycle import bound, named_cycle
from oflow.check.game import play
from oflow.check.layouts import check_layouts
from oflow.check.memory import check_memory
from oflow.check.period import PER_SECOND, Steady, attained, certified, fine_enough, steady, whole_lengths
from oflow.check.rates import check_rates
from oflow.check.references import check_references, read_plan
from oflow.errors import PlanError, ProtocolError
from oflow.plan import Plan, encoded

FIELD = "certificate"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is true of a plan, and why.

    period: seconds a step, an exact fraction such as "67/2". critical_cycle, bound: in words. cycle: its arcs, by their numbers in the
    plan's act graph, () where `stream` alone bounds the period. order: all acts of a step (first node of an actor + act) as they may
    be played one by one. starts: when each node of the act graph may start in every period, in `unit` / `parts` femtoseconds.
    arenas, states: bytes used of each device. seal: of all this and the plan's text (sha256).
    """

    acts: int
    period: str
    bound: str
    critical_cycle: tuple[str, ...]
    cycle: tuple[int, ...]
    stream: str
    arenas: dict[str, int]
    states: dict[str, int]
    order: tuple[int, ...] = field(repr=False)
    starts: tuple[int, ...] = field(repr=False)
    unit: int
    parts: int
    seal: str = ""


class _File(msgspec.Struct):
    """The certificate of a plan's file, beside the plan's own fields."""

    certificate: Certificate | None = None


def certify(plan: Plan) -> Certificate:
    """Prove a plan and say what shows it. Raises what `check` raises."""
    t = _tables(plan)
    fired = play(plan, t)
    graph = act_graph(plan, fired, t)
    arenas, states = check_memory(plan, graph)
    found = steady(graph)
    made = Certificate(
        len(fired), _seconds(found), bound(graph, found), named_cycle(graph, found), found.cycle, found.stream, arenas, states,
        tuple(fired.tolist()), tuple(found.potentials.tolist()), found.unit, found.parts,
    )  # fmt: skip
    return sealed(plan, made)


def sealed(plan: Plan, certificate: Certificate) -> Certificate:
    """The certificate with the digest of itself and the plan."""
    text = encoded(plan) + msgspec.json.encode(replace(certificate, seal=""), order="deterministic")
    return replace(certificate, seal=hashlib.sha256(text).hexdigest())


def to_json(plan: Plan) -> str:
    """The plan as text with its certificate, or without one where there is none because the plan is not right."""
    text = encoded(plan).decode()
    try:
        made = msgspec.json.encode(certify(plan)).decode()
    except PlanError:
        return text
    return f'{text[:-1]},"{FIELD}":{made}}}'


def load(text: str | bytes) -> Plan:
    """Read a plan and prove it: by its certificate, or where it brings none from scratch.

    Raises PlanError for text that is no plan and for a certificate that is not this plan's, and whatever `check` finds.
    """
    plan = read_plan(text)
    try:
        given = msgspec.json.decode(text, type=_File).certificate
    except msgspec.DecodeError as e:
        raise PlanError(f"the plan's certificate is none: {e}; write the plan again") from e
    if given is None:
        certify(plan)
    else:
        verify(plan, given)
    return plan


def verify(plan: Plan, given: Certificate) -> None:
    """Raises PlanError, with what differs, unless all that a certificate says is so. Nothing is searched for: the time is linear."""
    t = _tables(plan)
    graph = _ordered(plan, given, t)
    arenas, states = check_memory(plan, graph)
    found = _timed(graph, given)
    facts = {
        "acts": given.acts == int(graph.bases[-1]), "arenas": given.arenas == arenas, "states": given.states == states,
        "critical_cycle": given.critical_cycle == named_cycle(graph, found), "bound": given.bound == bound(graph, found),
    }  # fmt: skip
    for name, holds in facts.items():
        if not holds:
            raise _refused(name, f"it says {getattr(given, name)}, which is not so")
    if given != sealed(plan, given):
        raise _refused("seal", "the plan or the certificate was changed after it was sealed")


def _tables(plan: Plan) -> Tables:
    """The plan's arrays, all that needs no play verified."""
    check_references(plan)
    check_layouts(plan)
    t = tables(plan)
    check_rates(plan, t)
    return t


def _seconds(found: Steady) -> str:
    return str(found.period / PER_SECOND)


def _refused(name: str, why: str) -> PlanError:
    return PlanError(f"the plan's certificate is wrong about {name}: {why}; write the plan again", field=name)


def _ordered(plan: Plan, given: Certificate, t: Tables) -> ActGraph:
    """The act graph in the certificate's order, which shows that no cycle of it is free of tokens."""
    order = np.array(given.order, np.int64)
    if not np.array_equal(np.sort(order), np.arange(int(t.acts.sum()))):
        raise _refused("order", f"it does not name each of {t.acts.sum()} acts once")
    try:
        return act_graph(plan, order, t)
    except ProtocolError as e:
        raise _refused("order", str(e)) from None


def _timed(graph: ActGraph, given: Certificate) -> Steady:
    """The certificate's period, shown to be neither too short (starts) nor too long (the cycle or stream)."""
    try:
        period = Fraction(given.period) * PER_SECOND
    except (ValueError, ZeroDivisionError):
        raise _refused("period", f"{given.period!r} is no number of seconds") from None
    if given.unit < 1 or given.parts < 1:
        raise _refused("unit", f"{given.unit} / {given.parts} femtoseconds is no unit of time")
    if len(given.starts) != len(graph):
        raise _refused("starts", f"there are {len(graph)} nodes and {len(given.starts)} starts")
    if any(not 0 <= arc < len(graph.sources) for arc in given.cycle):
        raise _refused("cycle", f"the act graph has {len(graph.sources)} arcs")
    weights = whole_lengths(graph, given.unit)
    if not fine_enough(graph, given.unit, period):
        raise _refused("unit", f"{given.unit} femtoseconds is too coarse for the acts of this plan")
    found = Steady(period, given.cycle, given.stream, weights, given.unit, given.parts, np.array(given.starts, np.int64))
    if not attained(graph, found):
        raise _refused("cycle" if given.cycle else "stream", f"it does not need {given.period} s a step")
    if not certified(graph, found):
        raise _refused("starts", f"they are no schedule of a period of {given.period} s")
    return found
