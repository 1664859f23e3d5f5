"""An operator's compiled form beside its NumPy kernel on the same operands."""

import dataclasses

import numpy as np

from oflow import native
from oflow.backends.compiled import direct
from oflow.backends.compiled.form import steps_of
from oflow.ops import REGISTRY
from oflow.types import TensorType


def results(op, operands, attrs):
    """(results, operands that are not rewritten): rewritten ones start as copies, others hold 77."""
    types = op.infer(tuple(TensorType(a.shape, a.dtype.name) for a in operands), attrs)
    outs = [np.full(t.shape, 77).astype(t.dtype) for t in types]
    for result, operand in op.inplace.items():
        outs[result][...] = operands[operand]
    return outs, [a for i, a in enumerate(operands) if i not in op.inplace.values()]


def build(calls):
    """Build the routines of (operator, operands, attributes) calls together, which takes a fraction of the time of one by one."""
    found = []
    for name, operands, attrs in calls:
        outs, ins = results(REGISTRY[name], operands, attrs)
        found += [step.routine for step in steps_of(direct.call_of(name, outs, ins, attrs)) or ()]
    native.addresses(found)


def compiled(name, operands, attrs, accumulate=False):
    """(status, results) of the compiled form; None where it has no kernel."""
    outs, ins = results(REGISTRY[name], operands, attrs)
    call = dataclasses.replace(direct.call_of(name, outs, ins, attrs), accumulate=accumulate)
    steps = steps_of(call)
    if steps is None:
        return None
    return direct.bind(steps, (*outs, *ins), np.empty(max(1, call.workspace_nbytes), np.uint8))(), outs


def plain(name, operands, attrs):
    """Results of the NumPy kernel."""
    op = REGISTRY[name]
    outs, ins = results(op, operands, attrs)
    types = [tuple(TensorType(a.shape, a.dtype.name) for a in side) for side in (operands, outs)]
    nbytes = op.workspace_nbytes(types[0], types[1], attrs)
    op.run(*outs, *ins, **attrs, **({"workspace": np.empty(nbytes, np.uint8)} if nbytes else {}))
    return outs
