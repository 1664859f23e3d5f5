"""Loads and stores of numbered arrays that share no memory, which spares loops the test for overlap at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_VALUES = {
    "float32": types.float32, "float64": types.float64, "int64": types.int64, "int32": types.int32, "uint8": types.uint8,
    "bool": types.boolean,
}  # fmt: skip


def _scope(module: Any, name: str) -> Any:
    return module.add_metadata([name, module.add_metadata(["oflow arrays"])])


def _mark(builder: Any, instruction: Any, number: int, count: int) -> None:
    """LLVM's alias scopes: array `number` of `count` overlaps with none of the others, nor with constants."""
    module = builder.module
    scopes = [_scope(module, f"oflow array {i}") for i in range(count)]
    others = [scope for i, scope in enumerate(scopes) if i != number]
    instruction.set_metadata("alias.scope", module.add_metadata([scopes[number]]))
    instruction.set_metadata("noalias", module.add_metadata([*others, _scope(module, "oflow constants")]))


def mark_constant(builder: Any, load: Any) -> None:
    """`load` reads constant memory, which no array overlaps."""
    load.set_metadata("alias.scope", builder.module.add_metadata([_scope(builder.module, "oflow constants")]))


def reader(dtype: str, number: int, count: int) -> Callable[..., Any]:
    """(pointer, i) -> element i of array `number` of `count`; a bool is True or False."""
    value = _VALUES[dtype]

    @intrinsic
    def load(typing: Any, pointer: Any, i: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            found = builder.load(builder.gep(args[0], [args[1]]))
            _mark(builder, found, number, count)
            return builder.icmp_unsigned("!=", found, ir.Constant(found.type, 0)) if dtype == "bool" else found

        return value(pointer, types.int64), code

    return load


def writer(dtype: str, number: int, count: int) -> Callable[..., Any]:
    """(pointer, i, value): element i of array `number` of `count` becomes `value`."""
    wanted = _VALUES[dtype]

    @intrinsic
    def store(typing: Any, pointer: Any, i: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            element = builder.zext(args[2], ir.IntType(8)) if dtype == "bool" else args[2]
            _mark(builder, builder.store(element, builder.gep(args[0], [args[1]])), number, count)
            return context.get_dummy_value()

        return types.void(pointer, types.int64, wanted), code

    return store
