"""A logarithm of zero, in a program that refuses what is not finite."""

import numpy as np

import oflow as of


def entropy(p):
    # mistake
    return -of.sum(p * of.log(p))
    # fix
    return -of.sum(p * of.log(of.maximum(p, 1e-30)))
    # both


of.compile(entropy, of.spec((4,)), refuse_nan=True)(np.array([0.5, 0.5, 0.0, 0.0], "float32"))
