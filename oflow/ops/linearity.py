"""In which of its operands a scalar expression is linear, read off its steps: then they may arrive as partial sums together."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

from oflow.ops.expression import Step, parse_expression

FREE, LINEAR, OTHER = "free", "linear", "other"
"""How a value depends on the chosen operands: not at all, as a linear map without a constant, or otherwise."""


@lru_cache(maxsize=4096)
def linear_sets(text: str, operands: tuple[str, ...]) -> tuple[frozenset[int], ...]:
    """Every set of positions among `operands` in which the expression is linear, the smaller ones first."""
    chosen = (set(names) for count in range(1, len(operands) + 1) for names in combinations(operands, count))
    return tuple(frozenset(map(operands.index, names)) for names in chosen if _is_linear(text, names))


def _is_linear(text: str, names: set[str]) -> bool:
    expression = parse_expression(text)
    found = {name: LINEAR if name in names else FREE for name in expression.operands}
    for step in expression.steps:
        found[step.name] = _kind(step, [found[a] if isinstance(a, str) else FREE for a in step.args])
    return names <= set(expression.operands) and found[expression.results[0]] == LINEAR


def _kind(step: Step, kinds: list[str]) -> str:
    if set(kinds) == {FREE}:
        return FREE
    zeros = [LINEAR if arg == 0 else kind for arg, kind in zip(step.args, kinds, strict=True)]
    match step.function, kinds:
        case ("negative" | "positive", [_]):
            return kinds[0]
        case ("multiply", [_, _]) if sorted(kinds) == [FREE, LINEAR]:
            return LINEAR
        case ("true_divide" | "left_shift", [left, right]) if (left, right) == (LINEAR, FREE):
            return LINEAR
        case ("add" | "subtract", [_, _]) if set(zeros) == {LINEAR}:
            return LINEAR
        case ("where", [condition, _, _]) if condition == FREE and set(zeros[1:]) == {LINEAR}:
            return LINEAR
    return OTHER
