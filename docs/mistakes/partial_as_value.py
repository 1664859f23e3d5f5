"""A partial sum read as if it were the value, where every change of layout is to be asked for."""

import oflow as of

two = of.placement("cpu", [0, 1])
layer = of.nn.Linear(64, 10, bias=False)
layer.weight.to_global(two, of.S(1))


def model(x):
    # mistake
    return of.relu(layer(x))
    # fix
    return of.relu(layer(x).to_global(two, of.B))
    # both


of.compile(model, of.spec((128, 64), "float32", two, of.S(1)), strict=True)
