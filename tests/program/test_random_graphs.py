"""Random graphs, annotations and placements: the compiled program gives what one device gives.

Bit for bit on graphs of exact operators with whole numbers (a zero's sign aside: -0.0 is lost where it is added to 0), else to a
relative error. A failing case is printed as Python, shrunk, with the seed and the blob that repeat it.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, event, given, note, seed, settings

from oflow.errors import SbpError, TraceError
from oflow.native import available
from tests.program.random_cases import Case, Source, Step, run
from tests.program.random_draft import cases

TOLERANCE = 1e-8
QUICK, LONG, COMPILED = 250, 5000, 100
"""Examples of each kind: by default, with ``-m slow``, and with compiled kernels, each of which is a kernel or two to compile."""
KINDS = {"exact": (True, False), "exact, trained": (True, True), "smooth": (False, False), "smooth, trained": (False, True)}
"""Whether the operators are exact, and whether a step of SGD is made, whose updates are the gradients."""


def check(case: Case) -> None:
    try:
        found = run(case)
    except (SbpError, TraceError) as e:
        # refused with a reason: what needs the whole batch while it arrives piece by piece, weights that only choose rows or cancel
        reasons = ["gets no gradient", "does not depend on any trainable"] + ["micro-batch"] * (case.micro_batches > 1)
        if not any(reason in str(e) for reason in reasons):
            raise
        event(f"refused: {type(e).__name__}")
        assume(False)
    wanted = run(case, alone=True)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype), name
        if case.exact or value.dtype.kind != "f":
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            largest = np.abs(value[np.isfinite(value)]).max(initial=1.0)
            np.testing.assert_allclose(found[name], value, rtol=TOLERANCE, atol=TOLERANCE * largest, err_msg=name)


def check_many(kind: str, count: int, most: int, number: int, **options: object) -> None:
    """So many random cases of up to `most` steps, drawn from this seed."""
    exact, trains = KINDS[kind]

    @settings(
        max_examples=count, deadline=None, print_blob=True, report_multiple_bugs=False, database=None,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @seed(number)
    @given(cases(exact=exact, trains=trains, most=most))
    def every(case: Case) -> None:
        note(f"{kind}, seed {number}")
        check(replace(case, options=tuple({**dict(case.options), **options}.items())))

    every()


@pytest.mark.parametrize("kind", KINDS)
def test_random_graphs(kind: str) -> None:
    check_many(kind, QUICK, 4 if "trained" in kind else 6, list(KINDS).index(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_more_random_graphs(kind: str) -> None:
    number = secrets.randbits(32)
    print(f"{kind}: seed {number}")
    check_many(kind, LONG, 10, number)


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="numba is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_random_graphs_with_compiled_kernels(kind: str) -> None:
    number = secrets.randbits(32)
    print(f"{kind}: seed {number}")
    check_many(kind, COMPILED, 6, number, executor="native", kernels="compiled", checked=False)


# ------------------------------------------------------------ what they found


def one(*layouts: str | None, shape: tuple[int, ...] = (6, 6)) -> tuple[Source, ...]:
    return tuple(Source(shape, "float64", layout) for layout in layouts)


def moved(value: int, to: str) -> Step:
    return Step("to_global", (value,), (("to", to),))


FOUND = {
    "an input given back, over micro-batches": Case(one("S(1)@cpu:0-1"), (), (Step("neg", (0,)),), (0, 1), micro_batches=2),
    "a parameter given back that nobody reads": Case(one("S(0)@cpu:0-1"), one(None), (), (0, 1)),
    "a parameter that nobody reads": Case(one("S(0)@cpu:0-1"), one(None), (Step("neg", (0,)),), (2,)),
    "moved and moved on": Case(
        one("S(0)@cpu:0-1"), (), (moved(0, "P(min)@cpu:0-2"), moved(1, "S(0)@cpu:1-2"), Step("sum", (2,))), (1, 2, 3)
    ),
    "nothing to copy to the host, a step too many": Case(
        one("B@cpu:0", shape=(0, 1)), one("B@cpu:0"), (Step("sum", (1,)),), (2, 0), trains=True, options=(("executor", "threads"),)
    ),
    "a product reads the shards of a value, and its own shard": Case(
        one("B@cpu:0-1"), one("S(0)@cpu:0-1"), (moved(1, "S(0)@cpu:0-1"), Step("linear", (2, 1))), (3,)
    ),
    "a slice of what is complete late, in time": Case(
        one("B@cpu:0"), (), (Step("cumsum", (0,), (("axis", 0),)), Step("swiglu", (1, 0)), Step("sin", (2,))), (3,), exact=False,
        micro_batches=2, options=(("schedule", "gpipe"),),
    ),
    "slices of a constant, in time": Case(
        one("B@cpu:0", shape=(6,)), one("B@cpu:0", shape=(6,)), (Step("add", (1, 0)),), (2,), micro_batches=2
    ),
    "a parameter with a slice for each micro-batch": Case(
        one("B@cpu:0", shape=(6,)), one("B@cpu:0", shape=(6,)), (Step("mul", (1, 0)), Step("sum", (2,))), (3,), trains=True,
        micro_batches=2,
    ),
    "an update reads the ranks' parts of a reshaped gradient": Case(
        one("S(0)@cpu:2-3"), (*one(None, shape=(3,)), *one("(S(0), S(0))@cpu:1-6 (3,2)", shape=(1,))),
        (Step("expand_dims", (1,), (("axis", 1),)), moved(3, "B@cpu:0-2"), moved(3, "S(0)@cpu:0-2"),
         Step("stack", (4, 5), (("axis", 0),)), Step("clip", (6,), (("a_min", -3), ("a_max", 3))), Step("sum", (2,)), Step("sum", (7,)),
         moved(9, "(B, B)@cpu:1-6 (3,2)"), Step("add", (8, 10))), (11,), trains=True,
    ),
    "gradients of two placements, one whole in time": Case(
        one("B@cpu:0"), one("S(1)@cpu:0"),
        (moved(1, "S(1)@cpu:0-3"), moved(0, "S(1)@cpu:0-3"), Step("minimum", (2, 3)), Step("sum", (1,)), Step("sum", (4,)),
         moved(6, "P@cpu:0"), Step("add", (5, 7))), (8,), trains=True, micro_batches=2,
    ),
    "a barrier in the forward, and a sum of the backward": Case(
        one("B@cpu:0", shape=(4, 1, 1)), one("B@cpu:0", shape=(1, 1)),
        (Step("sum", (0,), (("axis", (0, 2)), ("keepdims", True))), Step("minimum", (1, 0)), Step("maximum", (0, 2)), Step("sum", (3,)),
         Step("sum", (1,)), Step("add", (5, 6))), (7, 4), trains=True, micro_batches=2, options=(("schedule", "gpipe"),),
    ),
    "streams agree on the order of work of once a step": Case(
        one("P(min)@cpu:3,1", shape=(6, 2)), one("S(0)@cpu:3,1", shape=(2,)),
        (Step("sub", (1,), (("number", -1.0),)), Step("clip", (2,), (("a_min", -3), ("a_max", 3))),
         Step("clip", (0,), (("a_min", -3), ("a_max", 3))), moved(2, "P(min)@cpu:0-1"), Step("sum", (3,)), Step("sum", (5,)),
         moved(7, "B@cpu:3,1"), Step("add", (6, 8))), (9, 4), trains=True, micro_batches=2,
    ),
    "what every micro-batch reads waits for all of them": Case(
        one("B@cpu:0"), (), (Step("positions", (0,), (("axis", 0),)), Step("take", (0, 1), (("axis", 0),)), Step("triu", (0,))), (2, 3),
        micro_batches=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_what_random_graphs_found(case: Case) -> None:
    check(case)
