"""A random program in the making: what each value is, how large it can get, and where it lives; and how programs are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from oflow.graph import Builder
from oflow.ops import Tensor
from oflow.sbp import B, Layout, P, Placement, S, Sbp
from oflow.types import TensorType
from tests.program.random_cases import Case, Source, Step, call
from tests.program.random_operators import GENERATORS, Generator

T = TypeVar("T")
Fits = Callable[["Known"], bool]

MESHES = [
    "cpu:0-1", "cpu:0-2", "cpu:0-3", "cpu:0-3 (2,2)", "cpu:0", "cpu:0-1 (1,2)", "cpu:0-1 (2,1)", "cpu:0-5 (2,3)", "cpu:1-2",
    "cpu:2-3", "cpu:3,1", "cpu:1", "cpu:0,2,1,3 (2,2)", "cpu:4-5 (1,2)", "cpu:1-6 (3,2)",
]  # fmt: skip
PLACES = [Placement.parse(text) for text in (*MESHES[:5], *MESHES[:7], *MESHES)]
"""Simple ones more often: inference on meshes of many layouts takes its time."""
TRIES = 3
"""Generators that are tried for a step, where nothing fits the first."""
LARGEST = 240
"""Elements of a value."""


@dataclass(frozen=True)
class Known:
    """A value: its handle, the largest magnitude it can have, whether it is a whole number, where it lives, what it depends on."""

    number: int
    tensor: Tensor
    bound: float
    exact: bool
    where: Placement
    learns: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        return self.tensor.dtype


class Draft:
    """draw: Hypothesis' function. exact: only whole numbers, bit for bit. trains: the values get cotangents."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], exact: bool, trains: bool, sizes: Sequence[int]) -> None:
        self.draw, self.exact, self.trains, self.sizes = draw, exact, trains, sizes
        self.builder = Builder()
        self.inputs: list[Source] = []
        self.parameters: list[Source] = []
        self.values: list[Known] = []
        self.steps: list[Step] = []
        self.layouts: dict[int, str | None] = {}
        """Of the sources."""
        self.read: set[int] = set()
        self.limit = 6 if trains else 64
        self.floats = ("float64", "float32") if exact else ("float64",)
        self.rough = self.jumps = self.cut = False
        """Whether the gradient, or the result, of the generator at work jumps (it then reads whole numbers only); there is none."""
        self.exact_now = True
        """Whether it makes whole numbers."""

    def set_out(self, generator: Generator | None) -> None:
        """A generator (None: plain sums) goes to work."""
        self.rough, self.jumps = generator is not None and not generator.smooth, generator is not None and not generator.steady
        self.exact_now, self.cut = generator is None or generator.exact, generator is not None and generator.gradient == "cut"

    # ------------------------------------------------------------ choosing

    def choose(self, *these: T) -> T:
        chosen: T = self.draw(st.sampled_from(these))
        return chosen

    def place(self, usual: Placement | None = None) -> Placement:
        """Often the usual one; simple ones first."""
        if usual is not None and self.draw(st.integers(0, 3)):
            return usual
        return self.choose(*PLACES)

    def sbp(self, rank: int, mesh: Sequence[int], *, partial: bool, dtype: str = "float64") -> tuple[Sbp, ...]:
        """One for each mesh axis; partials of one kind, because those of different kinds do not commute."""
        kinds = [B, *(S(a) for a in range(rank))]
        if partial:
            kinds += [self.choose(*([P] if dtype != "bool" else []), P("max"), P("min"))]
        return tuple(self.draw(st.sampled_from(kinds)) for _ in mesh)

    def layout(self, where: Placement, shape: tuple[int, ...], *, partial: bool = False, dtype: str = "float64") -> Layout:
        return Layout(where, self.sbp(len(shape), where.mesh, partial=partial, dtype=dtype))

    def pick(self, fits: Fits) -> Known | None:
        """A value that fits, the newest first. What is not exact is not for generators that would make a jump of its last bit."""
        found = [v for v in reversed(self.values) if fits(v) and self.allowed(v)]
        return self.draw(st.sampled_from(found)) if found else None

    def allowed(self, v: Known) -> bool:
        return v.exact or not (self.jumps or (self.trains and self.rough and not self.cut))

    def pair(self, fits: Fits, beside: Known | None = None) -> tuple[Known | None, Known | None]:
        """Two values of one dtype that broadcast against each other (and `beside`), on the devices of the first (of `beside`)."""
        first = self.pick(lambda v: fits(v) and broadcast(v, beside) is not None)
        if first is None:
            return None, None
        second = self.pick(lambda v: fits(v) and v.dtype == first.dtype and broadcast(v, first, beside) is not None)
        if second is None:
            return first, None
        home = beside or first
        return self.beside(first, home), self.beside(second, home)

    # ------------------------------------------------------------ adding

    def source(self, source: Source, parameter: bool) -> None:
        number = len(self.values)
        value = self.builder.value(TensorType(source.shape, source.dtype))
        where = Layout.parse(source.layout).placement if source.layout else self.values[0].where
        self.values.append(Known(number, Tensor(self.builder, value.id), 3, True, where, parameter))
        self.layouts[number] = source.layout
        (self.parameters if parameter else self.inputs).append(source)

    def step(self, function: str, *operands: Known, bound: float | None = None, **given: Any) -> Known:
        """Append it; where the result may be large, its clipped (or, if not exact, squashed) twin is what later steps read."""
        operands = (operands[0], *(self.beside(x, operands[0]) for x in operands[1:])) if operands else ()
        step = Step(function, tuple(x.number for x in operands), tuple(given.items()))
        tensor = call(step, *(x.tensor for x in operands))
        if tensor.type.size > LARGEST or len(tensor.shape) > 4:
            return operands[0]
        exact = (self.exact_now or not tensor.type.is_float) and all(x.exact for x in operands)
        largest = bound if bound is not None else max((x.bound for x in operands), default=3)
        learns = tensor.type.is_float and not self.cut and any(x.learns for x in operands)
        made = self._append(step, operands, Known(0, tensor, 1 if tensor.dtype == "bool" else largest, exact, operands[0].where, learns))
        return self.tamed(made, 3) if made.bound > self.limit else made

    def tamed(self, x: Known, bound: int) -> Known:
        """The value, or one made of it whose magnitude is at most `bound`."""
        if x.bound <= bound:
            return x
        smooth = x.tensor.type.is_float and not x.exact
        step = Step("sin", (x.number,)) if smooth else Step("clip", (x.number,), (("a_min", -bound), ("a_max", bound)))
        made = call(step, x.tensor)
        return self._append(step, (x,), Known(0, made, bound, x.exact, x.where, x.learns))

    def moved(self, x: Known, to: Layout) -> Known:
        home_open = x.number not in self.read and self.layouts.get(x.number, "") is None
        if home_open:  # a parameter without annotation lives where its first reader is
            x = self.values[x.number] = replace(x, where=to.placement)
        step = Step("to_global", (x.number,), (("to", str(to)),))
        return self._append(step, (x,), Known(0, x.tensor, x.bound, x.exact, to.placement, x.learns))

    def beside(self, x: Known, other: Known) -> Known:
        """The value on the devices of the other."""
        if x.where == other.where:
            return x
        return self.moved(x, self.layout(other.where, x.shape, partial=True, dtype=x.dtype))

    def _append(self, step: Step, operands: Sequence[Known], made: Known) -> Known:
        found = Known(len(self.values), made.tensor, made.bound, made.exact, made.where, made.learns)
        self.values.append(found)
        self.steps.append(step)
        self.read.update(x.number for x in operands)
        return found


def broadcast(*values: Known | None) -> tuple[int, ...] | None:
    """The common shape, None where there is none."""
    shape: tuple[int, ...] = ()
    for value in values:
        if value is None:
            continue
        longer, shorter = sorted((shape, value.shape), key=len, reverse=True)
        padded = (1,) * (len(longer) - len(shorter)) + shorter
        if any(m != n and 1 not in (m, n) for m, n in zip(longer, padded, strict=True)):
            return None
        shape = tuple(n if m == 1 else m for m, n in zip(longer, padded, strict=True))
    return shape


# ------------------------------------------------------------ programs


@st.composite
def cases(draw: Any, exact: bool | None = None, trains: bool | None = None, most: int = 10) -> Case:
    """Programs of up to `most` steps beside those that move values or keep them small."""
    whole = draw(st.booleans()) if exact is None else exact
    learning = draw(st.integers(0, 2)) == 2 if trains is None else trains
    times = 2 if draw(st.integers(0, 4)) == 4 else 1
    draft = Draft(draw, whole, learning, draw(st.lists(st.sampled_from([5, 3, 2, 6, 1, 7, 4]), min_size=1, max_size=3)))
    _sources(draft, times)
    names = [name for name, g in GENERATORS.items() if usable(draft, g)]
    for _ in range(draw(st.integers(1, most))):
        if draw(st.integers(0, 4)) == 4:
            _move(draft)
        count = len(draft.steps)
        for _ in range(TRIES):
            draft.set_out(one := GENERATORS[draw(st.sampled_from(names))])
            one.make(draft)
            if len(draft.steps) > count:
                break
    draft.set_out(None)
    outputs = _loss(draft) if learning else [v.number for v in draft.values if v.number not in draft.read]
    return Case(
        tuple(draft.inputs), tuple(draft.parameters), tuple(draft.steps), tuple(outputs), whole, learning, times, _options(draft, times),
        draw(st.integers(0, 99)),
    )  # fmt: skip


def usable(draft: Draft, g: Generator) -> bool:
    if draft.exact:
        return bool(g.exact and (not draft.trains or g.gradient in ("exact", "cut")))
    return True


def _sources(draft: Draft, times: int) -> None:
    """One to three inputs and, where it learns, one or two parameters (sometimes without learning too)."""
    usual = draft.choose(*PLACES)
    for i in range(draft.draw(st.integers(1, 3))):
        rank = draft.draw(st.sampled_from([2, 1, 3, 0] if i else [2, 1, 3]))
        shape = [draft.draw(st.sampled_from(draft.sizes)) for _ in range(rank)]
        if shape and draft.draw(st.integers(0, 14)) == 14:
            shape[draft.draw(st.integers(0, rank - 1))] = draft.choose(1, 0)
        if times > 1 and shape and (not i or draft.draw(st.booleans())):
            shape[0] = draft.inputs[0].shape[0] if i else draft.choose(2, 4, 6)
        kinds = ["float64"] * 4 if draft.trains or not draft.exact else ["float64", "float64", "float32", "int32"]
        dtype = draft.choose(*kinds, *(["int64", "bool"] if i else []))
        where = draft.place(usual) if i else usual
        draft.source(Source(tuple(shape), dtype, str(draft.layout(where, tuple(shape), partial=True, dtype=dtype))), False)
    for _ in range(draft.draw(st.integers(1, 2)) if draft.trains else draft.draw(st.integers(0, 1))):
        shape = [draft.draw(st.sampled_from(draft.sizes)) for _ in range(draft.draw(st.integers(1, 2)))]
        where = draft.place(usual)
        layout = str(draft.layout(where, tuple(shape))) if where != usual or draft.draw(st.booleans()) else None
        draft.source(Source(tuple(shape), "float64", layout), True)


def _move(draft: Draft) -> None:
    x = draft.pick(lambda v: True)
    if x:
        draft.moved(x, draft.layout(draft.place(x.where), x.shape, partial=True, dtype=x.dtype))


def _loss(draft: Draft) -> list[int]:
    """The sum of one or two results that depend on parameters (each squared or not), and the results that do not."""
    ends = [v for v in draft.values if v.number not in draft.read]
    learning = [v for v in ends if v.learns][-2:] or [v for v in draft.values if v.learns][-1:]
    sums = []
    for v in learning:
        squared = draft.step("square", v, bound=v.bound**2) if draft.draw(st.booleans()) else v
        whole = draft.step("cast", squared, dtype="float64") if squared.dtype != "float64" else squared
        sums.append(draft.step("sum", whole, bound=0))
    loss = sums[0]
    for one in sums[1:]:
        loss = draft.step("add", loss, one, bound=0)
    return [loss.number, *(v.number for v in ends if not v.learns)]


def _options(draft: Draft, times: int) -> tuple[tuple[str, Any], ...]:
    """How it is driven: mostly by the compiled loop."""
    executor = draft.draw(st.sampled_from(["native"] * 6 + ["threads", "simulator"]))
    workers = () if executor == "simulator" else (("workers", draft.choose(0, 2) if executor == "native" else 2),)
    checked = (("checked", True),) if draft.draw(st.integers(0, 9)) == 9 and executor != "native" else ()
    schedule = (("schedule", draft.choose("1f1b", "gpipe")),) if times > 1 else ()
    return (("executor", executor), *workers, *checked, *schedule)
