"""Python that branches on a value, which the graph does not have while it is traced."""

import oflow as of


def magnitude(x):
    # mistake
    return x if of.sum(x) > 0 else -x
    # fix
    return of.where(of.sum(x) > 0, x, -x)
    # both


of.compile(magnitude, of.spec((128,)))
