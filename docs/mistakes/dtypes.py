"""Arrays of two dtypes, which no operator promotes by itself."""

import oflow as of


def total(x, y):
    # mistake
    return x + y
    # fix
    return of.cast(x, "float64") + y
    # both


of.compile(total, of.spec((128,), "float32"), of.spec((128,), "float64"))
