"""The arithmetic of layouts: which device holds which elements, what operators may do to them, how to move between layouts."""

from oflow.sbp.layout import (
    WHOLE,
    B,
    Box,
    Layout,
    P,
    S,
    Sbp,
    Sbps,
    Signature,
    all_layouts,
    all_sbp,
    layout,
    split_range,
)
from oflow.sbp.placement import HOST, Placement, placement
from oflow.sbp.pulls import Pull, Traffic, pullable
from oflow.sbp.routes import BYTES, Links, Planner, Route, Step, route
from oflow.sbp.rules import Partials, Rule, mesh_signatures, parse_rule, signatures


def split(axis: int) -> Sbp:
    """Same as ``S(axis)``."""
    return S(axis)


broadcast = B
partial_sum = P
partial_max = P("max")
partial_min = P("min")

__all__ = [
    "BYTES", "HOST", "WHOLE", "B", "Box", "Layout", "Links", "P", "Partials", "Placement", "Planner", "Pull", "Route", "Rule", "S", "Sbp",
    "Sbps", "Signature", "Step", "Traffic", "all_layouts", "all_sbp", "broadcast", "layout", "mesh_signatures", "parse_rule", "partial_max",
    "partial_min", "partial_sum", "placement", "pullable", "route", "signatures", "split", "split_range",
]  # fmt: skip
