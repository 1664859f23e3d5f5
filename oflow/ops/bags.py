"""Bags of numbers that name rows of a table: the rules, costs, examples and walk that their sums and maxima share.

ids (..., l) are bags of l numbers, table (v, d), result (..., d). `padding_idx` is a number that stands for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.blocks import axis_names, block_rows, carve
from oflow.ops.op import Attributes, RuleMaker, Shards, Types
from oflow.types import TensorType

NO_PADDING = -1


def bag_names(ins: Types) -> str:
    return axis_names(len(ins[0].shape) - 1)


def bag_rule(text: str) -> RuleMaker:
    """Rule maker: `x` stands for the axes before the bags'."""
    return lambda ins, attrs: text.replace("x", bag_names(ins))


def row_type(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    ids, table = ins[:2]
    if ids.dtype != "int64" or not ids.shape or len(table.shape) != 2:
        raise ShapeError(f"wants bags (..., l) int64 and a table (v, d), got {ids} and {table}")
    if len(ins) > 2 and ins[2] != TensorType(ids.shape, table.dtype):
        raise ShapeError(f"weights must be {TensorType(ids.shape, table.dtype)}, one for each number, got {ins[2]}")
    return (TensorType((*ids.shape[:-1], table.shape[1]), table.dtype),)


def table_type(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    return (TensorType((attrs["rows"], ins[1].shape[-1]), ins[1].dtype),)


def offset_of_operand(operand: int) -> Any:
    def local(attrs: Attributes, shards: Shards) -> Attributes:
        return {**attrs, "offset": shards.ins[operand][0][0]}

    return local


def offset_of_result(attrs: Attributes, shards: Shards) -> Attributes:
    return {**attrs, "offset": shards.outs[0][0][0]}


def block_of(ids: TensorType, d: int, itemsize: int) -> tuple[int, int]:
    """(bags, d) of the rows that are gathered at a time."""
    return max(1, min(block_rows(d, itemsize), math.prod(ids.shape[:-1]))), d


def block_nbytes(operand: int) -> Any:
    def rule(ins: Types, outs: Types, attrs: Attributes) -> int:
        d, itemsize = ins[operand].shape[-1], ins[operand].itemsize
        return math.prod(block_of(ins[0], d, itemsize)) * itemsize

    return rule


def cost_of_rows(operand: int) -> Any:
    """Cost rule: for every number a row as wide as this operand's is read or gathered, and added."""

    def rule(ins: Types, outs: Types, attrs: Attributes) -> Cost:
        elements, itemsize = ins[0].size * ins[operand].shape[-1], ins[operand].itemsize
        nbytes = ins[0].nbytes + elements * itemsize + sum(t.nbytes for i, t in enumerate(ins) if i not in (0, operand))
        return Cost(flops=2.0 * elements, nbytes=float(nbytes + outs[0].nbytes), calls=1)

    return rule


Bags = Iterator[tuple[slice, int, np.ndarray, np.ndarray]]


def rows_by_place(bags: np.ndarray, table: np.ndarray, attrs: Attributes, workspace: np.ndarray) -> Bags:
    """Of bags (n, l), for a block of bags and each place in them: (bags, place, rows (k, d), which of them are here and count)."""
    offset, padding = attrs.get("offset", 0), attrs.get("padding_idx", NO_PADDING)
    step = max(1, min(block_rows(table.shape[1], table.itemsize), len(bags)))
    for start in range(0, len(bags) if len(table) else 0, step):
        at = slice(start, min(start + step, len(bags)))
        block = carve(workspace, 0, (at.stop - at.start, table.shape[1]), table.dtype)
        for place in range(bags.shape[1]):
            numbers = bags[at, place]
            own = numbers - offset
            here = (own >= 0) & (own < len(table)) & (numbers != padding)
            np.take(table, own, axis=0, out=block, mode="clip")
            yield at, place, block, here


def bag_examples(count: int) -> list[tuple[list[np.ndarray], dict[str, Any]]]:
    """([ids, table, weights, cotangent, cotangent][:count], attributes) with integer values; numbers repeat, in bags too."""
    random, made = np.random.default_rng(37), []
    shapes: list[tuple[tuple[int, ...], int, int, dict[str, int]]] = [
        ((5, 3), 7, 4, {}), ((6, 4), 5, 3, {"padding_idx": 2}), ((2, 3, 2), 11, 5, {}), ((7,), 3, 6, {"padding_idx": 0}),
    ]  # fmt: skip
    for shape, rows, d, attrs in shapes:
        ids = random.integers(0, rows, shape, dtype="int64")
        table = random.permutation(np.arange(rows * d) - rows * d // 2).reshape(rows, d).astype("float32")
        weights = random.integers(-3, 4, shape).astype("float32")
        g = random.integers(-9, 10, (*shape[:-1], d)).astype("float32")
        made.append(([ids, table, weights, g][:count], {"rows": rows, **attrs}))
    return made
