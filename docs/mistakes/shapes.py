"""Two shapes that do not fit."""

import oflow as of


def scores(x, weight):
    # mistake
    return x @ weight
    # fix
    return x @ weight.T
    # both


of.compile(scores, of.spec((128, 64)), of.spec((10, 64)))
