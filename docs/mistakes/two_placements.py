"""Operands on different devices."""

import oflow as of

left, right = of.placement("cpu", [0, 1]), of.placement("cpu", [2, 3])


def total(x, y):
    # mistake
    return x + y
    # fix
    return x.to_global(right, of.B) + y
    # both


of.compile(total, of.spec((128,), "float32", left, of.B), of.spec((128,), "float32", right, of.B))
