"""Generated kernels: loops, values of random programs, what the text depends on, sums, shared memory, special numbers."""

import numpy as np
import pytest

from oflow import native
from oflow.backends.compiled import direct
from oflow.backends.compiled.axes import Loops, loops
from oflow.backends.compiled.form import OpCall, form_of
from oflow.ops import REGISTRY, elementwise, fused_attrs
from oflow.types import TensorType

pytestmark = pytest.mark.skipif(not native.available(), reason="numba is not installed")
FUSED = REGISTRY["fused"]
SEED = 5


def steps_of(attrs, ins, **options):
    types = tuple(TensorType(a.shape, a.dtype.name) for a in ins)
    return form_of("fused")(OpCall("fused", FUSED.infer(types, attrs), types, attrs, **options))


def compute(attrs, *ins):
    """Results of the compiled kernel."""
    outs = [np.full(t.shape, 77).astype(t.dtype) for t in FUSED.infer(tuple(TensorType(a.shape, a.dtype.name) for a in ins), attrs)]
    assert direct.run("fused", outs, ins, attrs) == 0
    return outs


def reference(attrs, *ins):
    outs = [np.empty(t.shape, t.dtype) for t in FUSED.infer(tuple(TensorType(a.shape, a.dtype.name) for a in ins), attrs)]
    with np.errstate(all="ignore"):
        FUSED.run(*outs, *ins, **attrs)
    return outs


# ------------------------------------------------------------ loops


@pytest.mark.parametrize(
    ("space", "arrays", "expected"),
    [
        ((4, 5, 6), [(4, 5, 6), (4, 5, 6)], Loops((120,), ((1,), (1,)))),
        ((4, 5, 6), [(4, 5, 6), (1, 1, 6)], Loops((20, 6), ((6, 1), (0, 1)))),
        ((4, 5, 6), [(4, 5, 6), (4, 5, 1)], Loops((20, 6), ((6, 1), (1, 0)))),
        ((4, 1, 6), [(4, 1, 6), (1, 1, 1)], Loops((24,), ((1,), (0,)))),
        ((4, 5, 6), [(4, 5, 6), (4, 1, 6)], Loops((4, 5, 6), ((30, 6, 1), (6, 0, 1)))),
        ((1, 1), [(1, 1)], Loops((1,), ((1,),))),
        ((0, 3), [(0, 3), (1, 3)], Loops((0, 3), ((3, 1), (0, 1)))),
    ],
)
def test_axes_are_joined(space, arrays, expected):
    assert loops(space, arrays) == expected


def test_one_kernel_serves_all_shapes_and_numbers():
    texts = set()
    for shape, k in (((4, 6), 0.5), ((300, 70), -2.0), ((2, 3, 5), 1e9)):
        attrs = fused_attrs("y = where(x > k, x * b, k)", ("x", "b"), ("y",), numbers={"k": k})
        ins = [np.zeros(shape, "float32"), np.zeros(shape[-1:], "float32")]
        (step,) = steps_of(attrs, ins)
        texts.add(step.routine)
    assert len(texts) == 1


def test_what_only_numpy_has_gets_no_kernel():
    ids = np.ones(4, "int64")
    for text in ("y = x ** 2 // 3", "y = x % 3"):
        assert steps_of(fused_attrs(text, ("x",), ("y",)), [ids]) is None
    five = [np.ones([2 if axis == i else 1 for axis in range(6)], "float32") for i in range(6)]
    assert steps_of(fused_attrs("y = a + b + c + d + e + f", tuple("abcdef"), ("y",)), five) is None


# ------------------------------------------------------------ values

PROGRAMS = [
    ("u = a + b; y = u * tanh(u); s = y * c", ("y", "s"), (0, 1)),
    ("u = exp(-a * a) / (1 + b * b); y = where(c > a, u, b); z = u", ("y", "z"), (0, 0)),
    ("y = max(min(a, b), c); z = abs(y) + sign(a); s = z", ("z", "s"), (0, 2)),
    ("d = a - b; s = d * d; t = log(1 + abs(c))", ("s", "t"), (2, 1)),
    ("m = a > b; n = not m or c < 0.5; y = where(n, a, k)", ("y", "n"), (0, 0)),
    ("y = sqrt(abs(a)) + floor(b) + square(c) - sin(a) * cos(c)", ("y",), (0,)),
]
PATTERNS = [((33, 50),) * 3, ((33, 50), (50,), (33, 1)), ((33, 50), (), (1, 50)), ((4, 33, 50), (33, 50), (4, 1, 1))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_programs_are_what_numpy_computes(program, dtype):
    text, results, sums = program
    random = np.random.default_rng(SEED)
    cases = []
    for shapes in PATTERNS:
        ins = [random.standard_normal(s).astype(dtype) for s in shapes]
        cases.append((fused_attrs(text, tuple("abc"), results, sums, {"k": 0.25}), ins))
    native.addresses(steps_of(attrs, ins)[0].routine for attrs, ins in cases)
    for attrs, ins in cases:
        tolerance = 2e-5 if dtype == "float32" else 1e-12
        for found, wanted in zip(compute(attrs, *ins), reference(attrs, *ins), strict=True):
            scale = max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * scale, err_msg=f"seed {SEED}")


def test_whole_numbers_and_conditions():
    random = np.random.default_rng(SEED)
    wide, narrow = random.integers(-(2**40), 2**40, 90), random.integers(-1000, 1000, 90).astype("int32")
    small, flags = random.integers(0, 256, 90).astype("uint8"), random.integers(0, 2, 90).astype(bool)
    attrs = fused_attrs(
        "p = w * w + n; q = max(n, -3) * n; r = s + s; t = abs(n) - sign(n); u = f and not (w > 5); v = where(f, s, k);"
        "x = f + u; h = n / w",
        ("w", "n", "s", "f"), tuple("pqrtuvxh"), numbers={"k": 200},
    )  # fmt: skip
    with np.errstate(all="ignore"):
        for found, wanted in zip(compute(attrs, wide, narrow, small, flags), reference(attrs, wide, narrow, small, flags), strict=True):
            np.testing.assert_array_equal(found, wanted, err_msg=f"seed {SEED}")


def test_special_numbers_go_where_numpy_sends_them():
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -1.0, 2.5, 1e-40, -3e38] * 9, "float32")
    x, y = values, np.roll(values, 13)
    text = "a = max(x, y); b = min(x, y); c = max(x, 0); d = where(x == x, 1 / x, y); e = 0.5 / sqrt(x); f = x != y"
    text += "; g = sign(x) * exp(x); h = x - x"
    attrs = fused_attrs(text, ("x", "y"), tuple("abcdefgh"))
    for name, found, wanted in zip("abcdefgh", compute(attrs, x, y), reference(attrs, x, y), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, err_msg=name)


# ------------------------------------------------------------ sums and shared memory


def test_sums_over_everything_are_accurate_and_repeat():
    x = np.random.default_rng(SEED).uniform(0, 1, 3_000_001).astype("float32")
    attrs = fused_attrs("s = x * x", ("x",), ("s",), (1,))
    (first,), (again,) = compute(attrs, x), compute(attrs, x)
    assert first == again
    assert abs(float(first) / float(np.sum(x.astype("float64") ** 2)) - 1) < 2e-7
    whole = np.arange(100_000)
    assert compute(attrs, whole)[0] == np.sum(whole * whole)


def test_empty_operands():
    attrs = fused_attrs("y = x + b; s = y; t = y", ("x", "b"), ("y", "s", "t"), (0, 1, 2))
    y, s, t = compute(attrs, np.zeros((0, 7), "float32"), np.ones(7, "float32"))
    assert y.shape == (0, 7)
    assert not s.any()
    assert t == 0


def test_a_result_in_an_operands_memory():
    random = np.random.default_rng(SEED)
    x, b = random.standard_normal((30, 100)).astype("float32"), random.standard_normal(100).astype("float32")
    attrs = fused_attrs("y = x + b; z = x * 3; s = y", ("x", "b"), ("y", "z", "s"), (0, 0, 1), inplace=((0, 0),))
    wanted = reference({**attrs, "inplace": ()}, x, b)
    z, s = np.empty_like(x), np.empty_like(b)
    assert direct.run("fused", [x, z, s], [x, b], attrs) == 0
    for found, value in zip((x, z, s), wanted, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sums", [0, 1, 2])
def test_results_may_be_added_to_what_is_there(sums):
    x = np.random.default_rng(SEED).standard_normal((30, 100))
    attrs = fused_attrs("y = x * x", ("x",), ("y",), (sums,))
    (wanted,) = reference(attrs, x)
    found = np.ones_like(wanted)
    assert direct.bind(steps_of(attrs, [x], accumulate=True), (found, x))() == 0
    np.testing.assert_allclose(found, 1 + wanted, rtol=1e-12)


# ------------------------------------------------------------ operators


def test_operators_that_users_declare_have_a_form():
    made = elementwise("test.softsign", "a / (1 + abs(a))", floats=True)
    try:
        x = np.linspace(-5, 5, 77).astype("float32")
        y = np.empty_like(x)
        assert direct.run("test.softsign", [y], [x], {}) == 0
        np.testing.assert_allclose(y, x / (1 + np.abs(x)), rtol=1e-6)
    finally:
        del REGISTRY[made.name]
    assert form_of("test.softsign") is None
