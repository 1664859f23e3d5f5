"""Signatures that hold and that the rules leave out, with the reason. Names and signatures are matched as in a shell (fnmatch)."""

from __future__ import annotations

from fnmatch import fnmatchcase

from oflow.ops import REGISTRY
from oflow.ops.elementwise import Elementwise

NO_DUAL = "cotangents, and what gradients read, are never candidates of a maximum or minimum: those have no dual"
STATE = "kept state and its updates are whole or split, never partial"
NUMBERS = "positions, seeds and steps are never partial: the compiler makes them whole or split"
FINITE = "holds for finite numbers only"
PARAMETER = "a parameter is whole or split where it is used"
FITTING = "holds only for sizes that fit the window: the rule would have to know them"
ROWS = "holds only because masked probabilities are zero: the forward, which makes them, has whole queries"
HEADS = "heads, batch and queries are split instead"
INDEX = "holds for these indices only, which do not repeat"
CONVERTED = "rounding, wrapping or an infinity comes between"
SHIFTS = "holds for counts and results that do not overflow"
SETS = "beyond four operands only single ones and all together are listed"
ONE_CLASS = "a single class has nothing to add up"
ALL_OR_NOTHING = "a mask with one element a row keeps or drops the row: masks are whole or split"
ZEROS = "a product of many numbers is 0 in the examples: they have a zero, else it would not be exact"
EXTREME = "the extreme it looks for has been joined already"
FUSED = "made by the compiler after layouts are chosen"

MISSING = [
    ("*_grad*", "*P(m*", NO_DUAL),
    ("*_update", "*P* -> *", STATE),
    ("increment", "*", STATE),
    ("assign", "*", STATE),
    ("dropout", "*", NUMBERS),
    ("rand*_like", "*", NUMBERS),
    ("is*", "*", FINITE),
    ("finite_or_zero", "*", FINITE),
    ("nan_to_num*", "*", FINITE),
    ("layer_norm", "B,B,P(*", PARAMETER),
    ("*_norm_grad", "B,B,P -> P,*", PARAMETER),
    ("elu", "B,P(*", PARAMETER),
    ("*_pool2d*", "*S(3)*", FITTING),
    ("pad", "S(0) -> S(0)", FITTING),
    ("causal_softmax_grad", "S(*", ROWS),
    ("*attention", "B,B,P* -> P,B", HEADS),
    ("*attention", "B,B,S(3)* -> S(3),B", HEADS),
    ("*attention_grad", "S(3),B,B,S(3),S(3),B* -> P,P,S(3)*", HEADS),
    ("*attention_grad", "B,B,S(1),S(1),B,B* -> P,S(1),S(1)*", HEADS),
    ("class_sums", "P(m*", ONE_CLASS),
    ("masked_softmax", "B,P(m*", ALL_OR_NOTHING),
    ("prod", "*", ZEROS),
    ("prod_of_others", "*", ZEROS),
    ("segment_sum", "P(m*", INDEX),
    ("embedding_bag_max*", "S(0)*", INDEX),
    ("cast", "P*", CONVERTED),
    ("*_shift", "*", SHIFTS),
    ("concat", "*P(m*", SETS),
    ("position_of", "*P(m*", EXTREME),
    ("fused", "*", FUSED),
]


def of_one_number(missed):
    """A number in place of a tensor may make more hold (x ** 3 rises): rules look at its sign at most."""
    return isinstance(REGISTRY.get(missed.op), Elementwise) and bool(missed.case.attrs)


def of_one_element(missed):
    """Along an axis of one element a scan, a search or a concatenation does nothing, or all at once."""
    axis, operands = missed.case.attrs.get("axis"), missed.case.operands
    if not isinstance(axis, int):
        return False
    return {x.shape[axis] for x in operands if x.ndim > axis} == {1} or (missed.op == "concat" and len(operands) == 1)


def reasons(missed):
    """The entries of MISSING that explain why this signature is left out, as positions."""
    return [
        i
        for i, (name, signature, _) in enumerate(MISSING)
        if fnmatchcase(missed.op, name) and fnmatchcase(str(missed.signature), signature)
    ]


def explained(missed):
    return bool(reasons(missed)) or of_one_number(missed) or of_one_element(missed)
