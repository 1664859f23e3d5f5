"""Products of matrices: BLAS functions at an address as intrinsics, and the loops of batched matrices around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import float32, float64, njit, types
from numba.extending import intrinsic

from oflow.native.intrinsics import I64, POINTERS, words

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
"""Numbers of the C interface of BLAS. A transposition flag of `gemm` is 0 or 1; PLAIN + flag is what BLAS reads."""


def _gemm_of(scalar: Any) -> Any:
    @intrinsic
    def gemm(
        typing: Any, address: Any, trans_a: Any, trans_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, lda: Any, b: Any, ldb: Any,
        beta: Any, c: Any, ldc: Any,
    ) -> Any:  # fmt: skip
        """See GEMM."""
        word = types.int64
        signature = types.void(*[word] * 6, scalar, *[word] * 4, scalar, word, word)

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            real = context.get_value_type(scalar)
            kind = ir.FunctionType(ir.VoidType(), [I64] * 6 + [real] + [I64] * 4 + [real] + [I64] * 2)
            flags = [builder.add(flag, ir.Constant(I64, PLAIN)) for flag in args[1:3]]
            function = builder.inttoptr(args[0], kind.as_pointer())
            builder.call(function, [ir.Constant(I64, ROW_MAJOR), *flags, *args[3:]])
            return context.get_dummy_value()

        return signature, code

    return gemm


def _gemv_of(scalar: Any) -> Any:
    @intrinsic
    def gemv(
        typing: Any, address: Any, trans: Any, m: Any, n: Any, alpha: Any, a: Any, lda: Any, x: Any, incx: Any, beta: Any, y: Any,
        incy: Any,
    ) -> Any:  # fmt: skip
        """See GEMV."""
        word = types.int64
        signature = types.void(*[word] * 4, scalar, *[word] * 4, scalar, word, word)

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            real = context.get_value_type(scalar)
            kind = ir.FunctionType(ir.VoidType(), [I64] * 4 + [real] + [I64] * 4 + [real] + [I64] * 2)
            flag = builder.add(args[1], ir.Constant(I64, PLAIN))
            builder.call(builder.inttoptr(args[0], kind.as_pointer()), [ir.Constant(I64, ROW_MAJOR), flag, *args[2:]])
            return context.get_dummy_value()

        return signature, code

    return gemv


GEMM: dict[str, Callable[..., None]] = {"float32": _gemm_of(types.float32), "float64": _gemm_of(types.float64)}
"""dtype name -> ``gemm(address, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)``: C = alpha op(A) op(B) + beta C.

`address` is the word of Symbol("gemm.<dtype>") in the block (see `oflow.native.blas`); a, b, c are addresses; matrices are
row-major, op(A) m x k, op(B) k x n, C m x n; lda, ldb, ldc: elements from one stored row to the next (at least the row's length,
and at least 1). trans_a, trans_b: 0, or 1 where A is stored k x m or B n x k. alpha and beta are converted to the dtype; with
beta = 0 C is not read. Whole numbers are passed as 64 bits to either kind of BLAS: the calling conventions of x86-64 and arm64
give a 32-bit argument a whole register or an aligned slot of its own here, and the callee ignores the upper half. Usable from
several threads at once where BLAS itself is set to one thread.
"""
GEMV: dict[str, Callable[..., None]] = {"float32": _gemv_of(types.float32), "float64": _gemv_of(types.float64)}
"""dtype name -> ``gemv(address, trans, m, n, alpha, a, lda, x, incx, beta, y, incy)``: y = alpha op(A) x + beta y.

A is stored m x n whatever `trans` is; incx, incy: elements from one number to the next, at least 1. The rest is as in GEMM.
"""


# ---------------------------------------------------------------- the routines

FUNCTION, C, A, B, BETA, LOOPS, PLACES, M, N, K = range(10)
ROW_C, COLUMN_C, ROW_A, COLUMN_A, ROW_B, COLUMN_B = range(10, 16)
TRANS_A, TRANS_B, LDA, LDB, LDC = range(10, 15)
TRANS, LD, STEP_X, STEP_Y = range(10, 14)
AXES = 16
"""Words of the blocks: the address of the BLAS function, those of C, A and B, 1 to add to C, the number of loops and of places
they walk, the sizes; then what the matrices look like, in elements, for each routine in its own words. From AXES on, LOOPS
times (size, step of a, step of b, step of c, 1 if it sums); those steps are in bytes, and the last loop is the fastest."""


def _over_places(one: Callable[[Any, int, int, int, bool], None]) -> Callable[[int], int]:
    """``block -> 0`` that calls ``one(block's words, a, b, c, whether to add)`` for each place of the loops."""

    def kernel(block: int) -> int:
        q = words(block)
        axes = words(block + 8 * AXES)
        for index in range(q[PLACES]):
            a, b, c, summed, rest = q[A], q[B], q[C], q[BETA], index
            for axis in range(q[LOOPS] - 1, -1, -1):
                size = axes[5 * axis]
                place = rest % size
                rest //= size
                a += place * axes[5 * axis + 1]
                b += place * axes[5 * axis + 2]
                c += place * axes[5 * axis + 3]
                summed |= axes[5 * axis + 4] * place
            one(q, a, b, c, summed != 0)
        return 0

    return kernel


def matrices(dtype: str) -> Callable[[int], int]:
    """C (m x n) = op(A) op(B) by gemm."""
    gemm = GEMM[dtype]

    @njit
    def one(q: Any, a: int, b: int, c: int, add: bool) -> None:
        beta = 1.0 if add else 0.0
        gemm(q[FUNCTION], q[TRANS_A], q[TRANS_B], q[M], q[N], q[K], 1.0, a, q[LDA], b, q[LDB], beta, c, q[LDC])

    return _over_places(one)


def vector(dtype: str) -> Callable[[int], int]:
    """c = op(A) b by gemv; A is stored m x n, and b and c are vectors."""
    gemv = GEMV[dtype]

    @njit
    def one(q: Any, a: int, b: int, c: int, add: bool) -> None:
        gemv(q[FUNCTION], q[TRANS], q[M], q[N], 1.0, a, q[LD], b, q[STEP_X], 1.0 if add else 0.0, c, q[STEP_Y])

    return _over_places(one)


def plain(dtype: str) -> Callable[[int], int]:
    """C (m x n) = A B in loops: for products too small for a call of BLAS, and matrices that it cannot read."""
    pointer = POINTERS[dtype]
    zero = {"float32": float32, "float64": float64}[dtype](0)

    @njit
    def one(q: Any, a: int, b: int, c: int, add: bool) -> None:
        x, y, z = pointer(a), pointer(b), pointer(c)
        for i in range(q[M]):
            for j in range(q[N]):
                at = i * q[ROW_C] + j * q[COLUMN_C]
                total = z[at] if add else zero
                for k in range(q[K]):
                    total += x[i * q[ROW_A] + k * q[COLUMN_A]] * y[k * q[ROW_B] + j * q[COLUMN_B]]
                z[at] = total

    return _over_places(one)
