"""Results in their operands' memory: only where nobody reads the operand any more, and with the same values."""

import numpy as np

import oflow as of
from oflow.compiler.overwrite import Temporary, overwrite
from oflow.ops.fused import fused_attrs
from oflow.plan import Arg, Call
from oflow.types import TensorType, freeze

ONE = of.placement("cpu", [0])
TYPE = TensorType((4, 8))


def call(outs, ins, expr="y = a * 2", operands=("a",), sums=()):
    attrs = fused_attrs(expr, operands, ("y",), sums)
    return Call("fused", tuple(Arg("scratch", i) for i in outs), tuple(Arg("scratch", i) for i in ins), (freeze(attrs),))


def temporaries(*spans):
    return [Temporary((TYPE,), first, last) for first, last in spans]


def test_a_chain_of_results_needs_one_temporary():
    calls = [call([0], [3]), call([1], [0]), call([2], [1])]
    made, left = overwrite(calls, temporaries((0, 1), (1, 2), (2, 2), (0, 0)))
    assert len(left) == 2 and [c.outs[0].index for c in made] == [0, 0, 0]
    assert [dict(c.attrs[0])["inplace"] for c in made] == [(), ((0, 0),), ((0, 0),)]
    assert left[0] == Temporary((TYPE,), 0, 2)


def test_what_is_read_later_or_twice_or_summed_is_left_alone():
    later = [call([0], [2]), call([1], [0]), call([3], [0])]
    assert len(overwrite(later, temporaries((0, 2), (1, 1), (0, 0), (2, 2)))[1]) == 3  # the last one may take it
    twice = [call([0], [2]), call([1], [0, 0], "y = a + b", ("a", "b"))]
    assert len(overwrite(twice, temporaries((0, 1), (1, 1), (0, 0)))[1]) == 3
    summed = [call([0], [2]), call([1], [0], sums=(1,))]
    assert len(overwrite(summed, temporaries((0, 1), (1, 1), (0, 0)))[1]) == 3


def test_a_program_overwrites_and_computes_the_same():
    layers = [of.nn.Linear(8, 8) for _ in range(3)]

    def loss(x, y):
        for layer in layers:
            x = of.gelu(layer(x)) + of.tanh(x)
        return of.mse(x, y)

    specs = of.spec((4, 8), "float32", ONE, of.B), of.spec((4, 8), "float32", ONE, of.B)
    rng = np.random.default_rng(2)
    x, y = (rng.standard_normal((4, 8)).astype("float32") for _ in range(2))
    with of.compile(loss, *specs, optimizer=of.optim.AdamW(lr=0.1)) as step:
        pairs = [dict(c.attrs[0]).get("inplace") for a in step.plan.actor_templates for c in a.calls]
        assert any(pairs)
        want = [float(step.graph.evaluate(x, y)), float(step(x, y)), float(step.graph.evaluate(x, y)), float(step(x, y))]
    np.testing.assert_allclose(want[::2], want[1::2], rtol=1e-5)
