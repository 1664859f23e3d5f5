"""What an operator is: one `Op` holds its rule, gradient, cost, local attributes, kernel and example.

    matmul = op("matmul", rule=..., linear=[{0}, {1}], exact=True, example=...)
    @matmul.grad
    def _(g, y, a, b, **attrs): ...            # cotangent, result, operands -> one cotangent (or None) per operand
    @matmul.kernel
    def _(out, a, b, **attrs): ...             # NumPy reference; writes into the slots it is given

Calling an Op on tensors appends a node. Nothing outside this room knows an operator by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from oflow.errors import KernelMissing, ShapeError, TraceError
from oflow.machine import ARITHMETIC, Cost, Work
from oflow.ops.half import any_half, bind_wide, copies_nbytes, wide
from oflow.ops.tensor import Tensor, user_line
from oflow.sbp import Box, Partials, Rule, Signature, mesh_signatures, parse_rule, signatures
from oflow.types import HALF, TensorType, freeze

Types = tuple[TensorType, ...]
Attributes = Mapping[str, Any]
RuleMaker = Callable[[Types, Attributes], str]


@dataclass(frozen=True, slots=True)
class Shards:
    """The regions of the logical operands and results that one rank works on."""

    ins: tuple[Box, ...]
    outs: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """Concrete operands and attributes on which the generic test checks every signature.

    operands: arrays (integer-valued where the operator is exact). `tolerance`: declared relative error of inexact operators.
    """

    operands: tuple[np.ndarray, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-5


REGISTRY: dict[str, Op] = {}
"""Every operator by name, filled as the modules of `oflow.ops` (or the user) declare them."""


PRODUCT, ANY, SINGLE = "product", "any", "single"
"""In which precision an operator works in a program of mixed precision: products gain from 16 bits and lose little, since they are
accumulated in float32; some take the dtype that their operands have; the others stay in float32 (Micikevicius et al. 2018)."""


class Op:
    """One operator. Made by `op` or `elementwise`; see their arguments for the fields."""

    def __init__(
        self,
        name: str,
        *,
        rule: str | RuleMaker,
        dtype: Callable[[Types, Attributes], Sequence[str]] | str | None = None,
        infer: Callable[[Types, Attributes], Sequence[TensorType]] | None = None,
        linear: Iterable[Iterable[int]] = (),
        monotone: Iterable[Iterable[int]] = (),
        antitone: Iterable[Iterable[int]] = (),
        also: Iterable[str] = (),
        reduce: str | None = "sum",
        exact: bool = False,
        inplace: Mapping[int, int] | None = None,
        lowering: str = "local",
        leading: Callable[[Attributes], int] | None = None,
        repeats: bool = False,
        view: bool = False,
        adds: bool = False,
        row_sparse: Callable[[Attributes], tuple[int, int] | None] | None = None,
        parts: Mapping[int, str] | None = None,
        gathers: Iterable[int] = (),
        overwrites: Callable[[Attributes], Iterable[int]] | None = None,
        moves: bool = False,
        half: str = SINGLE,
        example: Callable[[], Sequence[Example]],
    ) -> None:
        if name in REGISTRY:
            raise TraceError(f"operator {name!r} exists already", line=user_line())
        if not callable(example):
            raise TraceError(f"operator {name!r} has no example; give it one with example=lambda: [Example(...)]", line=user_line())
        self.name = name
        self._rule = rule
        self._dtype = dtype
        self._infer = infer
        sums, rising, falling = (tuple(frozenset(group) for group in found) for found in (linear, monotone, antitone))
        self.partials = Partials(sums, rising, falling, tuple(map(Signature.parse, also)))
        self.reduce = reduce
        self.exact = exact
        self.inplace = dict(inplace or {})
        self.lowering = lowering
        self._leading = leading
        self.repeats = repeats
        self.view = view
        self.adds = adds
        self._row_sparse = row_sparse
        self.parts = dict(parts or {})
        self.gathers = frozenset(gathers)
        self.overwrites = overwrites
        self.moves = moves or view or lowering != "local"
        self.half = ANY if self.moves else half
        self.example = example
        self.gradient: Callable[..., Sequence[Tensor | None]] | None = None
        self.run: Callable[..., None] | None = None
        self._linked: Callable[..., Callable[[], Any]] | None = None
        self._cost: Callable[[Types, Types, Attributes], Cost] | None = None
        self._local: Callable[[Attributes, Shards], Attributes] | None = None
        self._workspace: Callable[[Types, Types, Attributes], int] | None = None
        REGISTRY[name] = self

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    # ------------------------------------------------------------ declaring the parts of the block

    def grad(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Declare the gradient: ``(g, y, *operands, **attrs)`` -> a cotangent or None for each operand.

        Of an operator with several results g and y are tuples; g has None for a result that has no cotangent.
        """
        self.gradient = rule
        return rule

    def kernel(self, run: Callable[..., None]) -> Callable[..., None]:
        """Declare the NumPy kernel: ``(*outs, *ins, **attrs)`` writes into outs; `workspace` is passed where declared."""
        self.run = run
        return run

    def linked(self, link: Callable[..., Callable[[], Any]]) -> Callable[..., Callable[[], Any]]:
        """Declare, beside the kernel, ``(*outs, *ins, **attrs)`` -> a function without arguments that does the kernel's work.

        It is called once for fixed operands, whose contents are not valid yet; what depends on shapes alone is worked out there.
        """
        self._linked = link
        return link

    def cost(self, rule: Callable[[Types, Types, Attributes], Cost]) -> Callable[[Types, Types, Attributes], Cost]:
        """Declare the cost of one call on shards of these types."""
        self._cost = rule
        return rule

    def local(self, rule: Callable[[Attributes, Shards], Attributes]) -> Callable[[Attributes, Shards], Attributes]:
        """Declare how global attributes become those of one rank."""
        self._local = rule
        return rule

    def workspace(self, rule: Callable[[Types, Types, Attributes], int]) -> Callable[[Types, Types, Attributes], int]:
        """Declare the bytes of temporary memory the kernel needs; it arrives as the uint8 array ``workspace=``."""
        self._workspace = rule
        return rule

    # ------------------------------------------------------------ questions the passes ask

    def rule(self, ins: Types, attrs: Attributes) -> Rule:
        text = self._rule if isinstance(self._rule, str) else self._rule(ins, attrs)
        # an empty left side is no operand, or one scalar: only the operands tell
        return parse_rule(text, operands=len(ins))

    def infer(self, ins: Types, attrs: Attributes) -> Types:
        """Types of the results. Raises ShapeError where the operands do not fit."""
        if self._infer is not None:
            return tuple(self._infer(ins, attrs))
        shapes = self.rule(ins, attrs).result_shapes(t.shape for t in ins)
        return tuple(TensorType(shape, dtype) for shape, dtype in zip(shapes, self._dtypes(ins, attrs, len(shapes)), strict=True))

    def _dtypes(self, ins: Types, attrs: Attributes, count: int) -> Sequence[str]:
        if callable(self._dtype):
            return self._dtype(ins, attrs)
        if self._dtype is not None:
            return (self._dtype,) * count
        names = {t.dtype for t in ins}
        if len(names) > 1:
            raise ShapeError(
                f"dtypes {', '.join(t.dtype for t in ins)} differ and oflow does not promote; convert one with of.cast(t, dtype)"
            )
        return (names.pop(),) * count

    def signatures(self, ins: Types, attrs: Attributes, parts: int) -> tuple[Signature, ...]:
        """Every valid signature on a mesh axis of `parts` devices; all-B first."""
        rule, sizes = self._factors(ins, attrs)
        return signatures(rule, sizes, parts, self.partials_on(ins, attrs), self.reduce)

    def mesh_signatures(self, ins: Types, attrs: Attributes, mesh: tuple[int, ...]) -> tuple[tuple[Signature, ...], ...]:
        """Every valid choice of one signature for each mesh axis, outer first; all-B first."""
        rule, sizes = self._factors(ins, attrs)
        return mesh_signatures(rule, sizes, mesh, self.partials_on(ins, attrs), self.reduce)

    def _factors(self, ins: Types, attrs: Attributes) -> tuple[Rule, tuple[tuple[str, int], ...]]:
        """The rule, and the size of every factor that the shapes tell."""
        rule = self.rule(ins, attrs)
        sizes = rule.all_sizes([t.shape for t in ins], [t.shape for t in self.infer(ins, attrs)])
        return rule, tuple(sorted(sizes.items()))

    def partials_of(self, attrs: Attributes) -> Partials:
        """Which operands may arrive partial, where attributes matter."""
        return self.partials

    def partials_on(self, ins: Types, attrs: Attributes) -> Partials:
        """Which operands may arrive partial, where their types matter too."""
        return self.partials_of(attrs)

    def leading_sum(self, attrs: Attributes) -> int:
        """How many leading axes of its one operand it sums away, if that is all it does; else 0."""
        return self._leading(attrs) if self._leading else 0

    def row_sparse(self, attrs: Attributes) -> tuple[int, int] | None:
        """(numbers, rows): the operands that stand for its result where only some rows of it are not 0, if that is wanted."""
        return self._row_sparse(attrs) if self._row_sparse else None

    def local_attrs(self, attrs: Attributes, shards: Shards) -> dict[str, Any]:
        return dict(self._local(attrs, shards) if self._local else attrs)

    def estimate(self, ins: Types, outs: Types, attrs: Attributes) -> Cost:
        """Cost of one call on (shard) types; by default one flop per result element. Always with at least one `Work`."""
        if self._cost is not None:
            found = self._cost(ins, outs, attrs)
        else:
            nbytes = sum(t.nbytes for t in (*ins, *outs))
            found = Cost(flops=float(sum(t.size for t in (outs or ins))), nbytes=float(nbytes), calls=1)
        return found if found.works else replace(found, works=(self._work_of(found, (*ins, *outs)),))

    def _work_of(self, cost: Cost, types: Types) -> Work:
        """The call as one walk over the rows of its largest tensor."""
        largest = max(types, key=lambda t: t.size, default=TensorType(()))
        rows = largest.size // max(1, largest.shape[-1] if largest.shape else 1)
        return Work(
            self.name, touched=((0.0, cost.nbytes),), rows=float(rows), operations=((ARITHMETIC, cost.flops),), itemsize=largest.itemsize
        )

    def workspace_nbytes(self, ins: Types, outs: Types, attrs: Attributes) -> int:
        """Bytes of workspace; at least one where the operator declares any, so that empty shards get the array too.

        What has 16 bits is copied to float32 there first, unless it is only moved.
        """
        copies = 0
        if not self.moves and any_half((*ins, *outs)):
            kept = (t for i, t in enumerate(ins) if i not in self.inplace.values())
            copies = max(1, copies_nbytes((*outs, *kept)))
            ins, outs = wide(ins), wide(outs)
        return copies + (max(1, self._workspace(ins, outs, attrs)) if self._workspace else 0)

    def kernel_for(self, kind: str, line: str = "") -> Callable[..., None]:
        if self.run is None or kind not in ("cpu", "host"):
            remedy = "use a placement of kind 'cpu', or declare the kernel with @op.kernel"
            raise KernelMissing(f"operator {self.name} has no kernel for {kind} devices; {remedy}", line=line)
        return self.run

    def call_for(self, kind: str, line: str, outs: Sequence[Any], ins: Sequence[Any], attrs: Attributes) -> Callable[[], Any]:
        """The kernel for a kind of device, bound to its results and operands (without those that are rewritten in place)."""
        kernel = self.kernel_for(kind, line)

        def bind(operands: Sequence[Any], attrs: Attributes) -> Callable[[], Any]:
            return self._linked(*operands, **attrs) if self._linked is not None else partial(kernel, *operands, **attrs)

        if self.moves or not any(array.dtype.name in HALF for array in (*outs, *ins)):
            return bind((*outs, *ins), attrs)
        return bind_wide(bind, outs, ins, self.inplace, attrs)

    # ------------------------------------------------------------ use

    def __call__(self, *operands: Tensor, **attrs: Any) -> Any:
        """Append a node; returns its result (a tuple of results if there are several)."""
        for operand in operands:
            if not isinstance(operand, Tensor):
                raise TraceError(
                    f"{self.name} takes tensors, got {type(operand).__name__}; pass arrays as inputs of the program, "
                    "or fill a tensor with of.full_like(t, value)",
                    line=user_line(),
                )
        return self.append(operands, attrs)

    def append(self, operands: Sequence[Tensor], attrs: Attributes, builder: Any = None) -> Any:
        build = builder or operands[0].builder
        line = build.line or user_line()
        types = tuple(t.type for t in operands)
        try:
            results = self.infer(types, attrs)
        except ShapeError as e:
            raise ShapeError(f"{self.name} of {', '.join(map(str, types))}: {e}", line=line) from None
        node = build.node(self.name, (t.id for t in operands), results, freeze(attrs), line=line)
        made = tuple(Tensor(build, out) for out in node.outs)
        return made[0] if len(made) == 1 else made


def op(name: str, **parts: Any) -> Op:
    """Declare an operator; the arguments are those of `Op`:

    rule      factor rule, or a function (types, attrs) -> rule
    dtype     dtype of all results, or (types, attrs) -> one per result; default: the operands' common dtype
    infer     (types, attrs) -> result types, where the rule alone does not give them
    linear    operand sets that may arrive as P(sum) (the others B): results are P(sum)
    monotone  operand sets that may arrive as P(max) or P(min), and so does the result; antitone: the result is the other one
    also      further signatures, as text: "P(max),P(max) -> P(max)"
    reduce    operation that joins a factor which is summed away: "sum", "max", "min", or None where it may not be split
    exact     exact on integer-valued data
    inplace   {result: operand}: the result is the operand's memory, rewritten (optimizer updates)
    leading   (attrs) -> how many leading axes of the operand are summed away and nothing else is done; 0 where it does more
    repeats   whether the result is the operand, repeated by NumPy's broadcasting
    view      whether the result is the operand's elements, in row-major order in another shape
    row_sparse (attrs) -> (a, b) where the result is 0 but for rows: each row of operand b is added to the row numbered by operand a;
              the optimizer then updates these rows alone, and the result need not be made
    adds      whether kernels can add the (one) result to what is in its memory
    gathers   operands that may come as consecutive pieces along an axis; the attribute pieces=((operand, axis),) says so
    overwrites attributes -> results that may take the memory of an operand of their type which nobody reads any more; the attribute
              inplace=((result, operand),) says so
    moves     whether the results are operands' elements and nothing is computed (`Move`, views and boxings are)
    half      in which precision it works in a program of mixed precision: "product", "any" or "single"
    parts     {operand: attribute}: the operand may come as consecutive summands, added first to last; the attribute counts them
    example   () -> examples; an operator without one cannot be registered

    Returns the Op: call it on tensors; attach parts with @op.grad, @op.kernel, @op.cost, @op.local, @op.workspace.
    """
    return Op(name, **parts)
