"""Which operators the generic tests run on shards, and the pieces of `oflow.ops.meaning` that they use."""

from __future__ import annotations

from oflow.ops import REGISTRY
from oflow.ops.meaning import cut, join, sharded, type_of, whole

LOCAL = sorted(name for name, op in REGISTRY.items() if op.lowering == "local")

LOWERED = {
    "boxing": "its tasks pull regions of other ranks' shards: every pair of layouts is run by its kernel in tests/sbp/test_boxing.py",
    "accumulate": "it joins micro-batches, not shards, and is the identity on each of them: tests/program/test_exact.py",
}
"""Operators that do not run on one rank's shards alone, and where they are proven instead."""

__all__ = ["LOCAL", "LOWERED", "cut", "join", "sharded", "type_of", "whole"]
