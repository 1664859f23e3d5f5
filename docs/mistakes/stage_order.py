"""A stage number that no work has."""

import oflow as of

first, second = of.nn.Linear(64, 64), of.nn.Linear(64, 10)


def model(x):
    with of.stage(0):
        x = of.relu(first(x))
    # mistake
    with of.stage(2):
        return second(x)
    # fix
    with of.stage(1):
        return second(x)
    # both


of.compile(model, of.spec((128, 64), "float32", of.placement("cpu", [0, 1]), of.B))
