"""Sums of products in NumPy's notations: einsum, tensordot, dot, inner, outer.

All are made of diagonals, sums, transpositions, elementwise products and `contract`, so layouts and gradients follow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.arithmetic import mul
from oflow.ops.diagonal import diagonal
from oflow.ops.matmul import contract
from oflow.ops.move import axes_list
from oflow.ops.reduce import sum as sum_axes
from oflow.ops.shape import ravel, reshape, squeeze, transpose
from oflow.ops.tensor import Tensor, user_line


@dataclass(frozen=True, slots=True)
class Term:
    """A tensor and the name of each of its axes; no name twice."""

    tensor: Tensor
    names: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        return dict(zip(self.names, self.tensor.shape, strict=True))


# ---------------------------------------------------------------- reading the notation


def _axis_names(text: str, count: int, spec: str) -> list[str]:
    """The names of `count` axes; those of an ellipsis are numbered from the right, as they broadcast."""
    left, dots, right = text.partition("...")
    if not (left + right).isalpha() and left + right:
        raise ShapeError(f"einsum {spec!r}: axes are letters, got {text!r}", line=user_line())
    hidden = count - len(left + right)
    if hidden < 0 or (hidden and not dots):
        raise ShapeError(f"einsum {spec!r}: {text!r} does not name the {count} axes of the operand", line=user_line())
    return [*left, *(f"_{hidden - i}" for i in range(hidden)), *right]


def _parse(spec: str, tensors: Sequence[Tensor]) -> tuple[list[list[str]], list[str]]:
    """Names of every operand's axes and of the result's. Without "->": the ellipsis, then the letters that occur once, sorted."""
    left, arrow, right = spec.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(tensors):
        raise ShapeError(f"einsum {spec!r} names {len(texts)} operands, got {len(tensors)}", line=user_line())
    terms = [_axis_names(text, t.ndim, spec) for text, t in zip(texts, tensors, strict=True)]
    every = [name for term in terms for name in term]
    dots = sorted({name for name in every if name[0] == "_"}, key=lambda name: -int(name[1:]))
    if not arrow:
        return terms, [*dots, *sorted(name for name in set(every) if name[0] != "_" and every.count(name) == 1)]
    result = _axis_names(right, len(right.replace("...", "")) + (len(dots) if "..." in right else 0), spec)
    if len(set(result)) < len(result) or not set(result) <= set(every):
        raise ShapeError(f"einsum {spec!r}: the result must name axes of the operands, each once", line=user_line())
    return terms, result


def _sizes(spec: str, terms: Sequence[Sequence[str]], tensors: Sequence[Tensor]) -> dict[str, int]:
    """The size of each name; axes of size 1 broadcast."""
    found: dict[str, int] = {}
    for names, t in zip(terms, tensors, strict=True):
        for name, n in zip(names, t.shape, strict=True):
            if found.get(name, 1) == 1:
                found[name] = n
            elif n not in (1, found[name]):
                raise ShapeError(f"einsum {spec!r}: axis {name!r} has sizes {found[name]} and {n}", line=user_line())
    return found


# ---------------------------------------------------------------- one operand


def _without_repeats(t: Tensor, names: Sequence[str]) -> Term:
    """Diagonals of the axes that have the same name."""
    named = list(names)
    for name in dict.fromkeys(names):
        while named.count(name) > 1:
            first = named.index(name)
            second = named.index(name, first + 1)
            t = diagonal(t, 0, first, second)
            named = [*named[:first], *named[first + 1 : second], *named[second + 1 :], name]
    return Term(t, tuple(named))


def _single(term: Term, sizes: dict[str, int]) -> Term:
    """Without the axes of size 1 that broadcast."""
    gone = [i for i, (name, n) in enumerate(zip(term.names, term.tensor.shape, strict=True)) if n == 1 and sizes[name] != 1]
    return Term(squeeze(term.tensor, gone), tuple(name for i, name in enumerate(term.names) if i not in gone)) if gone else term


def _summed(term: Term, kept: Collection[str]) -> Term:
    """The sum over the axes that nobody else names."""
    gone = tuple(i for i, name in enumerate(term.names) if name not in kept)
    return Term(sum_axes(term.tensor, gone), tuple(name for name in term.names if name in kept)) if gone else term


def _ordered(term: Term, names: Sequence[str]) -> Tensor:
    """The axes in this order; those that the term lacks with size 1."""
    found = transpose(term.tensor, tuple(term.names.index(name) for name in names if name in term.names))
    return reshape(found, tuple(term.sizes.get(name, 1) for name in names))


# ---------------------------------------------------------------- two and more


def _product(a: Term, b: Term, kept: Collection[str], order: Sequence[str] = ()) -> Term:
    """The product of two, summed over what they share and nobody else names; axes in `order` if given."""
    a, b = _summed(a, {*kept, *b.names}), _summed(b, {*kept, *a.names})
    both = dict.fromkeys((*a.names, *b.names))
    shared = [name for name in both if name in a.names and name in b.names]
    result = tuple(order) or (
        *(name for name in shared if name in kept), *(name for name in both if name in kept and name not in shared)
    )  # fmt: skip
    if all(name in kept for name in shared):
        return Term(mul(_ordered(a, result), _ordered(b, result)), result)
    return Term(contract(f"{' '.join(a.names)}, {' '.join(b.names)} -> {' '.join(result)}", a.tensor, b.tensor), result)


def _growth(a: Term, b: Term, kept: Collection[str]) -> int:
    """Elements of the product of two, less those of the two."""
    sizes = {**a.sizes, **b.sizes}
    return math.prod(n for name, n in sizes.items() if name in kept) - math.prod(a.sizes.values()) - math.prod(b.sizes.values())


def _cheapest(terms: Sequence[Term], result: Collection[str]) -> tuple[int, int]:
    """The pair whose product shrinks most; the first such pair."""

    def kept(i: int, j: int) -> set[str]:
        return {*result, *(name for k, term in enumerate(terms) if k not in (i, j) for name in term.names)}

    return min(itertools.combinations(range(len(terms)), 2), key=lambda pair: _growth(terms[pair[0]], terms[pair[1]], kept(*pair)))


def einsum(subscripts: str, *operands: Tensor) -> Tensor:
    """NumPy's einsum: "ij,jk->ik", "...ij,...jk", "ii" (a trace), "ii->i" (a diagonal); axes of size 1 broadcast.

    Several operands are multiplied in pairs, first those whose product is smallest against the two. Raises ShapeError at the user's
    line where the text does not fit the operands.
    """
    named, result = _parse(subscripts, operands)
    sizes = _sizes(subscripts, named, operands)
    terms = [_single(_without_repeats(t, names), sizes) for t, names in zip(operands, named, strict=True)]
    while len(terms) > 1:
        i, j = _cheapest(terms, result)
        rest = [term for k, term in enumerate(terms) if k not in (i, j)]
        kept = {*result, *(name for term in rest for name in term.names)}
        terms = [*rest, _product(terms[i], terms[j], kept, () if rest else result)]
    (last,) = (_summed(term, result) for term in terms)
    return transpose(last.tensor, tuple(last.names.index(name) for name in result))


def tensordot(a: Tensor, b: Tensor, axes: int | Sequence[int] | Sequence[Sequence[int]] = 2) -> Tensor:
    """The sum of products over pairs of axes: the last `axes` of a with the first of b, or (axes of a, axes of b)."""
    if isinstance(axes, int | np.integer):
        first, second = tuple(range(a.ndim - int(axes), a.ndim)), tuple(range(int(axes)))
    else:
        first, second = axes_list(a, axes[0]), axes_list(b, axes[1])
    if len(first) != len(second) or any(a.shape[i] != b.shape[j] for i, j in zip(first, second, strict=True)):
        raise ShapeError(f"axes {first} of {a.type} do not go with axes {second} of {b.type}", line=user_line())
    left, right = [f"a{i}" for i in range(a.ndim)], [f"b{j}" for j in range(b.ndim)]
    for i, j in zip(first, second, strict=True):
        right[j] = left[i]
    kept = [name for name in (*left, *right) if name not in {left[i] for i in first}]
    return _product(Term(a, tuple(left)), Term(b, tuple(right)), kept, kept).tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    """NumPy's dot: the sum of products over a's last and b's last axis but one (its only one); with a scalar a product."""
    return mul(a, b) if a.ndim == 0 or b.ndim == 0 else tensordot(a, b, ((a.ndim - 1,), (max(0, b.ndim - 2),)))


def inner(a: Tensor, b: Tensor) -> Tensor:
    """The sum of products over the last axes of both; with a scalar a product."""
    return mul(a, b) if a.ndim == 0 or b.ndim == 0 else tensordot(a, b, ((a.ndim - 1,), (b.ndim - 1,)))


def outer(a: Tensor, b: Tensor) -> Tensor:
    """All products of an element of a with one of b, both flattened: (a.size, b.size)."""
    return tensordot(ravel(a), ravel(b), 0)
