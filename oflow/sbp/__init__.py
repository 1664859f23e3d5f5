"""The arithmetic of layouts: which device holds which elements, what operators may do to them, how to move between layouts."""

from oflow.sbp.boxing import Pull, Route, Step, route
from oflow.sbp.layout import (
    HOST,
    B,
    Box,
    Layout,
    P,
    Placement,
    S,
    Sbp,
    Signature,
    all_layouts,
    all_sbp,
    layout,
    placement,
    split_range,
)
from oflow.sbp.rules import Partials, Rule, mesh_signatures, parse_rule, signatures


def split(axis: int) -> Sbp:
    """Same as ``S(axis)``."""
    return S(axis)


broadcast = B
partial_sum = P
partial_max = P("max")
partial_min = P("min")

__all__ = [
    "HOST", "B", "Box", "Layout", "P", "Partials", "Placement", "Pull", "Route", "Rule", "S", "Sbp", "Signature", "Step",
    "all_layouts", "all_sbp", "broadcast", "layout", "mesh_signatures", "parse_rule", "partial_max", "partial_min", "partial_sum",
    "placement", "route", "signatures", "split", "split_range",
]  # fmt: skip
