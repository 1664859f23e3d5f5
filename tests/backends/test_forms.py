"""Every compiled form against the NumPy kernel of its operator, on the operator's own examples in each dtype it has."""

import numpy as np
import pytest

from oflow.backends.compiled import direct
from oflow.backends.compiled.form import FORMS, steps_of
from oflow.native import addresses, available
from oflow.ops import REGISTRY
from oflow.ops.elementwise import Elementwise
from oflow.ops.expression import parse_expression
from oflow.types import TensorType

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")


def _as(array: np.ndarray, dtype: str) -> np.ndarray:
    return np.array(array, dtype if array.dtype.kind == "f" else array.dtype, order="C")  # scalars stay scalars


def _outs(op, operands, attrs):
    """Fresh results; those that rewrite an operand start as its copy."""
    types = op.infer(tuple(TensorType(a.shape, a.dtype.name) for a in operands), attrs)
    outs = [np.full(t.shape, 77).astype(t.dtype) for t in types]
    for result, operand in op.inplace.items():
        outs[result][...] = operands[operand]
    return outs, [a for i, a in enumerate(operands) if i not in op.inplace.values()]


def _numpy(op, outs, ins, operands, attrs):
    types = [tuple(TensorType(a.shape, a.dtype.name) for a in side) for side in (operands, outs)]
    nbytes = op.workspace_nbytes(types[0], types[1], attrs)
    op.run(*outs, *ins, **attrs, **({"workspace": np.empty(nbytes, np.uint8)} if nbytes else {}))


NAMES = sorted(name for name in FORMS if REGISTRY[name].lowering != "pull")
DTYPES = ["float32", "float64"]
NUMPY_ONLY = {
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cosh", "exp2", "floor_divide", "hypot", "left_shift",
    "log10", "log2", "remainder", "right_shift", "sinh", "tan",
}  # fmt: skip
"""Steps that have no compiled form, so an expression with one of them has none."""


def _cases(name, dtype):
    """(results for the kernel, for NumPy, operands, all operands, attributes, example) of every example."""
    op = REGISTRY[name]
    for example in op.example():
        operands = [_as(a, dtype) for a in example.operands]
        attrs = {k: dtype if v in DTYPES else v for k, v in example.attrs.items()}
        want, ins = _outs(op, operands, attrs)
        yield _outs(op, operands, attrs)[0], want, ins, operands, attrs, example


@pytest.fixture(scope="module", autouse=True)
def built():
    """All kernels at once: a process of the compiler's costs more than a kernel."""
    calls = [direct.call_of(n, got, ins, attrs) for n in NAMES for d in DTYPES for got, _, ins, _, attrs, _ in _cases(n, d)]
    forms = [steps_of(call) or () for call in calls]
    addresses(step.routine for steps in forms for step in steps)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_form_computes_what_the_numpy_kernel_does(name, dtype):
    op, ran = REGISTRY[name], 0
    for got, want, ins, operands, attrs, example in _cases(name, dtype):
        if direct.run(name, got, ins, attrs) is None:
            continue
        ran += 1
        _numpy(op, want, ins, operands, attrs)
        for a, b in zip(got, want, strict=True):
            if op.exact:
                np.testing.assert_array_equal(a, b)
            else:
                scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
                np.testing.assert_allclose(a, b, rtol=example.tolerance, atol=example.tolerance * scale)
    only_numpy = isinstance(op, Elementwise) and any(step.function in NUMPY_ONLY for step in parse_expression(op.expr).steps)
    assert ran or only_numpy or dtype == "float64", f"the form of {name} ran no example"
