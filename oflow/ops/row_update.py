"""Optimizer updates of a few rows of a table, from row-sparse gradients: numbers (n,) and rows (n, d), added up where a number repeats.

The gradient (v, d) is never made: what is read and written is as much as the numbers name. Numbers and rows are whole; the table may be
split by rows (each device takes those it has) or by columns. SGD and Adagrad leave rows without gradient as they are, so these
updates equal those of the dense gradient; weight decay and the decay of Adam's moments act only on the rows that are named ("lazy").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.blocks import block_rows, carve
from oflow.ops.embedding import check_ids
from oflow.ops.op import Attributes, Example, RuleMaker, Shards, Types, op
from oflow.ops.runs import IDS, rows_of, runs, runs_nbytes
from oflow.ops.update import adagrad_step, adam_step, skipped

Change = Callable[..., None]
"""(sums (k, d), block of each state (k, d)..., temporary (k, d)): rewrites the blocks, and may overwrite the sums."""


def _rule(states: int) -> RuleMaker:
    def rule(ins: Types, attrs: Attributes) -> str:
        operands = ["v d"] * states + ["n!", "n! d"] + [""] * (len(ins) - states - 2)
        return f"{', '.join(operands)} -> {', '.join(['v d'] * states)}"

    return rule


def _kept(states: int, scalars: int) -> Callable[[Types, Attributes], Types]:
    def infer(ins: Types, attrs: Attributes) -> Types:
        table, ids, g = ins[0], ins[states], ins[states + 1]
        if not scalars <= len(ins) - states - 2 <= scalars + 1 or any(t.shape for t in ins[states + 2 :]):
            raise ShapeError(f"takes {states} tables, numbers, rows and {scalars} scalars, then optionally the gradient's scale")
        if any(t != table for t in ins[:states]) or len(table.shape) != 2:
            raise ShapeError(f"state must be of one type (v, d), got {', '.join(map(str, ins[:states]))}")
        if ids.dtype != "int64" or len(ids.shape) != 1 or (*ids.shape, table.shape[1]) != g.shape or g.dtype != table.dtype:
            raise ShapeError(f"wants numbers (n,) int64 and rows (n, {table.shape[1]}) {table.dtype}, got {ids} and {g}")
        return ins[:states]

    return infer


def _local(attrs: Attributes, shards: Shards) -> Attributes:
    return {**attrs, "offset": shards.outs[0][0][0]}


def _block(n: int, d: int, itemsize: int) -> int:
    return max(1, min(block_rows(d, itemsize), IDS, n))


def _workspace(ins: Types, outs: Types, attrs: Attributes) -> int:
    """Joined rows, and a block of each state and of temporaries."""
    n, (_, d), itemsize = ins[len(outs)].size, outs[0].shape, outs[0].itemsize
    return _runs_nbytes(n, d, itemsize) + (len(outs) + 1) * _block(n, d, itemsize) * d * itemsize


def _runs_nbytes(n: int, d: int, itemsize: int) -> int:
    return -(-runs_nbytes(n, d, itemsize) // 8) * 8


def _cost(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    g = ins[len(outs) + 1]
    return Cost(flops=8.0 * g.size, nbytes=float(ins[len(outs)].nbytes + (1 + 2 * len(outs)) * g.nbytes), calls=1)


def _change_rows(
    states: Sequence[np.ndarray], ids: np.ndarray, g: np.ndarray, scale: Sequence[np.ndarray], attrs: dict[str, Any],
    workspace: np.ndarray, change: Change,
) -> None:  # fmt: skip
    """Apply `change` to the rows of the states that the numbers name and that are here, a block at a time, each row once."""
    check_ids(ids, attrs["rows"])
    if skipped(scale):
        return
    n, d, dtype = ids.size, g.shape[1], g.dtype
    scratch = carve(workspace, _runs_nbytes(n, d, dtype.itemsize), (len(states) + 1, _block(n, d, dtype.itemsize), d), dtype)
    for places, sums in runs(np.add, ids, rows_of(g), d, dtype, (attrs.get("offset", 0), len(states[0])), workspace):
        *blocks, temporary = (part[: len(places)] for part in scratch)
        for state, block in zip(states, blocks, strict=True):
            np.take(state, places, axis=0, out=block, mode="clip")
        change(sums, *blocks, temporary)
        for state, block in zip(states, blocks, strict=True):
            state[places] = block


def _examples(states: int, step: bool = False, **attrs: float) -> list[Example]:
    random, made = np.random.default_rng(43), []
    for i, (rows, d, n) in enumerate([(7, 4, 9), (5, 3, 2), (11, 6, 5)]):
        tables = [random.standard_normal((rows, d)).astype("float32") for _ in range(states)]
        tables[-1] = np.abs(tables[-1]) if states > 1 else tables[-1]
        ids, g = random.integers(0, rows, n), random.standard_normal((n, d)).astype("float32")
        scalars = [np.float32(0.1)] + ([np.float32(i)] if step else []) + ([np.float32(0.5)] if i else [])
        made.append(Example((*tables, ids, g, *map(np.asarray, scalars)), {"rows": rows, **(attrs if i else {})}))
    return made


# ------------------------------------------------------------ the operators

sgd_rows_update = op(
    "sgd_rows_update", rule=_rule(1), infer=_kept(1, 1), inplace={0: 0}, example=lambda: _examples(1, weight_decay=0.1),
)  # fmt: skip
"""(param (v, d), ids (n,), g (n, d), lr[, scale]; rows = v of the whole, weight_decay=0, offset) -> param, as `sgd_update` of the
rows that are named."""


@sgd_rows_update.kernel
def _sgd(
    param: np.ndarray, ids: np.ndarray, g: np.ndarray, lr: np.ndarray, *scale: np.ndarray, weight_decay: float = 0.0,
    workspace: np.ndarray, **attrs: Any,
) -> None:  # fmt: skip
    rate, factor = float(lr), float(scale[0]) if scale else 1.0

    def change(sums: np.ndarray, p: np.ndarray, _: np.ndarray) -> None:
        sums *= rate * factor
        if weight_decay:
            p *= 1.0 - rate * weight_decay
        p -= sums

    _change_rows([param], ids, g, scale, attrs, workspace, change)


adagrad_rows_update = op(
    "adagrad_rows_update", rule=_rule(2), infer=_kept(2, 1), inplace={0: 0, 1: 1},
    example=lambda: _examples(2, eps=1e-6, weight_decay=0.1),
)  # fmt: skip
"""(param, squares (v, d), ids (n,), g (n, d), lr[, scale]; rows, eps=1e-10, weight_decay=0, offset) -> param, squares, as
`adagrad_update` of the rows that are named."""


@adagrad_rows_update.kernel
def _adagrad(
    param: np.ndarray, squares: np.ndarray, ids: np.ndarray, g: np.ndarray, lr: np.ndarray, *scale: np.ndarray, eps: float = 1e-10,
    weight_decay: float = 0.0, workspace: np.ndarray, **attrs: Any,
) -> None:  # fmt: skip
    rate, factor = float(lr), float(scale[0]) if scale else 1.0

    def change(sums: np.ndarray, p: np.ndarray, s: np.ndarray, root: np.ndarray) -> None:
        sums *= factor
        adagrad_step(p, s, sums, root, rate, eps, weight_decay)

    _change_rows([param, squares], ids, g, scale, attrs, workspace, change)


adamw_rows_update = op(
    "adamw_rows_update", rule=_rule(3), infer=_kept(3, 2), inplace={0: 0, 1: 1, 2: 2},
    example=lambda: _examples(3, step=True, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
)  # fmt: skip
"""(param, m, v (v, d), ids (n,), g (n, d), lr, step[, scale]; rows, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0, offset)
-> param, m, v, as `adamw_update` of the rows that are named; the bias is corrected by the step's number, not by a row's."""


@adamw_rows_update.kernel
def _adamw(
    param: np.ndarray, m: np.ndarray, v: np.ndarray, ids: np.ndarray, g: np.ndarray, lr: np.ndarray, step: np.ndarray, *scale: np.ndarray,
    beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0, workspace: np.ndarray, **attrs: Any,
) -> None:  # fmt: skip
    dense = adam_step(lr, step, scale, beta1, beta2, eps, weight_decay)

    def change(sums: np.ndarray, p: np.ndarray, a: np.ndarray, b: np.ndarray, x: np.ndarray) -> None:
        dense(p, a, b, sums, x, sums)

    _change_rows([param, m, v], ids, g, scale, attrs, workspace, change)


for _each in (sgd_rows_update, adagrad_rows_update, adamw_rows_update):
    _each.local(_local)
    _each.cost(_cost)
    _each.workspace(_workspace)


# ------------------------------------------------------------ the norm that clipping needs


def _squares_examples() -> list[Example]:
    random = np.random.default_rng(47)
    sizes = ((7, 4, 9), (5, 3, 2), (2, 7, 6))
    return [Example((random.integers(0, rows, n), random.integers(-5, 6, (n, d)) + 0.0), {"rows": rows}) for rows, d, n in sizes]


rows_sum_squares = op(
    "rows_sum_squares", rule="n!, n! d -> ", dtype=lambda ins, attrs: (ins[1].dtype,), exact=True, example=_squares_examples
)
"""(ids (n,), g (n, d); rows = v) -> the sum of the squares of the gradient (v, d) that they stand for; blocks are added in double
precision."""

rows_sum_squares.cost(lambda ins, outs, attrs: Cost(flops=2.0 * ins[1].size, nbytes=float(ins[0].nbytes + ins[1].nbytes), calls=1))
rows_sum_squares.workspace(lambda ins, outs, attrs: runs_nbytes(ins[0].size, ins[1].shape[1], ins[1].itemsize))


@rows_sum_squares.kernel
def _rows_sum_squares(out: np.ndarray, ids: np.ndarray, g: np.ndarray, *, rows: int, workspace: np.ndarray) -> None:
    check_ids(ids, rows)
    found = runs(np.add, ids, rows_of(g), g.shape[1], g.dtype, (0, rows), workspace)
    out[...] = sum(float(np.vdot(sums, sums)) for _, sums in found)
