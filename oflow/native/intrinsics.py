"""What routines are written with: typed pointers from addresses, calls by address, bits of numbers, atomics.

Imported by numba's process only. Pointers are indexed like C pointers: no bounds, no negative indices, nothing is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)
_SCALARS = {
    "float32": types.float32, "float64": types.float64, "int64": types.int64, "int32": types.int32, "uint8": types.uint8,
    "bool": types.uint8,
}  # fmt: skip


def _pointer_to(name: str) -> Any:
    scalar = _SCALARS[name]

    @intrinsic
    def pointer(typing: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(scalar).as_pointer())

        return types.CPointer(scalar)(types.int64), code

    return pointer


POINTERS = {name: _pointer_to(name) for name in _SCALARS}
"""dtype name -> function from an address to a pointer to such elements. A bool is a byte, 0 or 1."""
words = POINTERS["int64"]
float32s, float64s, int64s, int32s, bytes_ = (POINTERS[n] for n in ("float32", "float64", "int64", "int32", "uint8"))


def _fixed(builder: Any, address: Any) -> Any:
    loaded = builder.load(builder.inttoptr(address, I64.as_pointer()))
    loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
    return loaded


@intrinsic
def fixed(typing: Any, address: Any) -> Any:
    """The word at `address`, which nobody writes while the routine runs: it may be kept in a register across stores."""
    return types.int64(types.int64), lambda context, builder, signature, args: _fixed(builder, args[0])


# ---------------------------------------------------------------- numbers


def _cast(result: Any, operand: Any, code: Callable[[Any, Any], Any]) -> Any:
    @intrinsic
    def cast(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return code(builder, args[0])

        return result(operand), generate

    return cast


float32_of_bits = _cast(types.float32, types.int32, lambda b, x: b.bitcast(x, ir.FloatType()))
bits_of_float32 = _cast(types.int32, types.float32, lambda b, x: b.bitcast(x, I32))
float64_of_bits = _cast(types.float64, types.int64, lambda b, x: b.bitcast(x, ir.DoubleType()))
bits_of_float64 = _cast(types.int64, types.float64, lambda b, x: b.bitcast(x, I64))
truncate32 = _cast(types.int32, types.float32, lambda b, x: b.fptosi(x, I32))
truncate64 = _cast(types.int64, types.float64, lambda b, x: b.fptosi(x, I64))
low32 = _cast(types.int32, types.int64, lambda b, x: b.trunc(x, I32))


def _llvm_function(builder: Any, context: Any, signature: Any, name: str, values: Any) -> Any:
    real = context.get_value_type(signature.return_type)
    function = builder.module.declare_intrinsic(name, [real], ir.FunctionType(real, [real] * len(values)))
    return builder.call(function, values)


def _unary(name: str) -> Any:
    @intrinsic
    def function(typing: Any, x: Any) -> Any:
        return x(x), lambda context, builder, signature, args: _llvm_function(builder, context, signature, name, args)

    return function


def _binary(name: str) -> Any:
    @intrinsic
    def function(typing: Any, x: Any, y: Any) -> Any:
        return x(x, x), lambda context, builder, signature, args: _llvm_function(builder, context, signature, name, args)

    return function


nearest = _unary("llvm.nearbyint")
round_down = _unary("llvm.floor")
root = _unary("llvm.sqrt")
magnitude = _unary("llvm.fabs")
smaller = _binary("llvm.minnum")
larger = _binary("llvm.maxnum")
"""The other operand where one is NaN; a builtin max() in a reduction keeps LLVM from using vectors."""


@intrinsic
def fused(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z, rounded once."""
    return x(x, x, x), lambda context, builder, signature, args: _llvm_function(builder, context, signature, "llvm.fma", args)


# ---------------------------------------------------------------- calls and memory order


@intrinsic
def call(typing: Any, address: Any, block: Any) -> Any:
    """The status of the routine at `address`, called with `block`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(I64, [I64])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])

    return types.int64(types.int64, types.int64), code


@intrinsic
def call_c(typing: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    """A C function of up to six word-sized arguments by address (the rest is ignored): sched_yield, syscall, memcpy."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(I64, [I64] * 6)
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), list(args[1:]))

    return types.int64(*[types.int64] * 7), code


@intrinsic
def load_acquire(typing: Any, address: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(args[0], I64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), code


@intrinsic
def store_release(typing: Any, address: Any, value: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], builder.inttoptr(args[0], I64.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def fetch_add(typing: Any, address: Any, value: Any) -> Any:
    """Add atomically (sequentially consistent); returns what was there before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", builder.inttoptr(args[0], I64.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


@intrinsic
def exchange(typing: Any, address: Any, value: Any) -> Any:
    """Replace atomically (sequentially consistent); returns what was there before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", builder.inttoptr(args[0], I64.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


@intrinsic
def fence(typing: Any) -> Any:
    """Everything before is visible before anything after (sequentially consistent)."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def pause(typing: Any) -> Any:
    """Tell the CPU that this is a spin loop."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        import platform

        hint = {"x86_64": "pause", "aarch64": "yield", "arm64": "yield"}.get(platform.machine(), "")
        builder.asm(ir.FunctionType(ir.VoidType(), []), hint, "", [], True)
        return context.get_dummy_value()

    return types.void(), code
