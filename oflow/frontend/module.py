"""Modules: declarations of parameters and a forward function. Nothing is allocated before a program needs it.

Outside a trace `module.weight` is the declaration (annotate it: ``module.weight.to_global(placement, of.S(0))``); inside a traced
function it is the tensor. Names of parameters are attribute paths: ``blocks.0.up.weight``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from oflow.errors import SbpError, ShapeError, TraceError
from oflow.frontend.active import ACTIVE
from oflow.frontend.init import check_rule
from oflow.ops.tensor import Tensor, user_line
from oflow.sbp import Layout, Placement, Sbps
from oflow.sbp import layout as make_layout
from oflow.types import Attrs, TensorType, dtype_name, freeze


class Parameter:
    """A declared weight: type, init rule with its arguments, and the layout asked for (None: left to SBP inference).

    init: a rule of `oflow.frontend.init`. Raises ShapeError where the rule, its arguments or the shape do not fit.
    """

    __slots__ = ("dtype", "init", "init_args", "layout", "line", "placed_at", "shape", "trainable")

    def __init__(
        self, shape: Sequence[int], dtype: object = "float32", init: str = "normal", *, trainable: bool = True, **init_args: Any
    ) -> None:
        self.line = user_line()
        if any(not isinstance(n, int) or n < 1 for n in shape):
            raise ShapeError(f"a parameter needs sizes of at least 1, got {tuple(shape)}", line=self.line)
        self.shape = tuple(shape)
        self.dtype = dtype_name(dtype)
        self.init = init
        self.init_args: Attrs = freeze(init_args)
        self.trainable = trainable
        self.layout: Layout | None = None
        self.placed_at = ""
        """The user's line that asked for the layout."""
        check_rule(init, init_args, self.type, self.line)
        if trainable and not self.type.is_float:
            raise ShapeError(f"{self.dtype} has no gradients; declare it with of.nn.Buffer", line=self.line)

    @property
    def type(self) -> TensorType:
        return TensorType(self.shape, self.dtype)

    def __repr__(self) -> str:
        where = f" {self.layout}" if self.layout else ""
        return f"<{'parameter' if self.trainable else 'buffer'} {self.type}{where}>"

    def checked_layout(self, placement: Placement, sbp: Sbps, name: str = "") -> Layout:
        """The layout (placement, sbp), or SbpError at the user's line where kept state of this shape cannot have it."""
        line = user_line()
        of = f" of {name}" if name else ""
        try:
            found = make_layout(placement, sbp)
            found.check_shape(self.shape)
        except SbpError as e:
            raise SbpError(f"{e}{of}", line=line) from None
        if found.is_partial:
            axes = "".join(f", S({axis}) (of {n})" for axis, n in enumerate(self.shape))
            raise SbpError(
                f"kept state{of} is stored whole: its layout is S(i) or B, not {found}. A device that holds a summand of it could not "
                f"rewrite it alone; on each mesh axis it takes B{axes}",
                line=line,
            )
        return found

    def to_global(self, placement: Placement, sbp: Sbps) -> Parameter:
        """Keep this parameter in the layout (placement, sbp). Raises SbpError where its shape cannot have it."""
        self.layout, self.placed_at = self.checked_layout(placement, sbp), user_line()
        return self

    def tensor(self) -> Tensor:
        """The tensor of this parameter in the trace in progress. Raises TraceError outside of one."""
        capture = ACTIVE.get()
        if capture is None:
            raise TraceError(f"{self!r} has no tensor outside a traced function; trace with of.compile", line=user_line())
        return capture.parameter(self)


class Buffer(Parameter):
    """Kept state without gradients (running statistics, counters). Assign to its attribute in `forward` to update it."""

    __slots__ = ()

    def __init__(self, shape: Sequence[int], dtype: object = "float32", init: str = "zeros", **init_args: Any) -> None:
        super().__init__(shape, dtype, init, trainable=False, **init_args)


class Module:
    """Base of all modules. Assign parameters and modules to attributes in ``__init__``; write the computation in `forward`."""

    _parameters: dict[str, Parameter]
    _modules: dict[str, Module]

    def __init__(self) -> None:
        self.__dict__["_parameters"] = {}
        self.__dict__["_modules"] = {}

    training = True
    """What the next trace is for: layers such as `Dropout` do nothing where it is False. See `train` and `eval`."""

    def train(self, mode: bool = True) -> Self:
        """Trace this module and all below it for training (or not, see `eval`) from now on; programs that are there stay as they are."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Trace this module and all below it for evaluation from now on: no dropout."""
        return self.train(False)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter | Module):
            if "_parameters" not in self.__dict__:
                raise TraceError(f"call super().__init__() before setting {type(self).__name__}.{name}", line=user_line())
            for table in (self.__dict__, self._parameters, self._modules):
                table.pop(name, None)
            if isinstance(value, Parameter):
                self._parameters[name] = value
            else:
                self._modules[name] = value
        elif name in self.__dict__.get("_parameters", {}):
            self._assign(name, value)
        elif isinstance(value, list | tuple) and any(isinstance(item, Parameter | Module) for item in value):
            where = f"{type(self).__name__}.{name}"
            raise TraceError(f"{where}: parameters in a list have no path; use of.nn.ModuleList", line=user_line())
        else:
            object.__setattr__(self, name, value)

    def _assign(self, name: str, value: Any) -> None:
        """``self.buffer = tensor`` inside a trace: the buffer's value after this step."""
        declared, capture = self._parameters[name], ACTIVE.get()
        where = f"{type(self).__name__}.{name}"
        if capture is None or not isinstance(value, Tensor):
            raise TraceError(f"{where} is kept state; assign it a tensor inside a traced function", line=user_line())
        if declared.trainable:
            raise TraceError(f"{where} is a trainable parameter: only the optimizer writes it", line=user_line())
        if value.type != declared.type:
            raise ShapeError(f"{where} is {declared.type}, not {value.type}", line=user_line())
        capture.assign_buffer(declared, value)

    def __getattr__(self, name: str) -> Any:
        declared = self.__dict__.get("_parameters", {}).get(name)
        if declared is not None:
            return declared if ACTIVE.get() is None else declared.tensor()
        try:
            return self.__dict__["_modules"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}") from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    # ------------------------------------------------------------ what it holds

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) of this module (path "") and all below it, depth first, in order of declaration."""
        yield prefix, self
        for name, child in self._modules.items():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def _paths(self) -> Iterator[tuple[str, Parameter]]:
        for path, module in self.named_modules():
            for name, declared in module._parameters.items():
                yield (f"{path}.{name}" if path else name), declared

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter or buffer), in order of declaration; a shared one once, under its first path."""
        seen: set[int] = set()
        for path, declared in self._paths():
            if id(declared) not in seen:
                seen.add(id(declared))
                yield path, declared

    def named_aliases(self) -> Iterator[tuple[str, str]]:
        """(further path, first path) of every shared parameter."""
        first: dict[int, str] = {}
        for path, declared in self._paths():
            if first.setdefault(id(declared), path) != path:
                yield path, first[id(declared)]

    def to_global(self, placement: Placement, sbp: Sbps) -> Module:
        """Keep every parameter below in the layout (placement, sbp). Raises SbpError, and changes none, where one cannot."""
        found = [(p, p.checked_layout(placement, sbp, name)) for name, p in self.named_parameters()]
        for declared, layout in found:
            declared.layout, declared.placed_at = layout, user_line()
        return self


def _rooted(modules: Mapping[str, Module]) -> Iterator[tuple[str, Module]]:
    """(path prefix with its dot, module); the prefix of an only module is empty."""
    for name, module in modules.items():
        yield ("" if len(modules) == 1 else f"{name}."), module


def parameter_names(modules: Mapping[str, Module]) -> dict[int, str]:
    """id of each declaration -> its name. `modules`: the roots by the name the user gave them; an only root adds no prefix."""
    names: dict[int, str] = {}
    for prefix, module in _rooted(modules):
        for path, declared in module.named_parameters():
            names.setdefault(id(declared), prefix + path)
    return names


def parameter_aliases(modules: Mapping[str, Module]) -> dict[str, str]:
    """Further path -> name, for every parameter that can be reached by more than one path."""
    names, aliases = parameter_names(modules), {}
    for prefix, module in _rooted(modules):
        for path, declared in module._paths():
            if names[id(declared)] != prefix + path:
                aliases[prefix + path] = names[id(declared)]
    return aliases
