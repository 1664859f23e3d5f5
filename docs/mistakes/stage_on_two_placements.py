"""One stage whose parameters are on two placements."""

import oflow as of

first, second = of.nn.Linear(64, 64), of.nn.Linear(64, 10)
left, right = of.placement("cpu", [0]), of.placement("cpu", [1])
first.to_global(left, of.B)
# mistake
second.to_global(right, of.B)
# fix
second.to_global(left, of.B)
# both


def model(x):
    with of.stage(0):
        return second(of.relu(first(x)))


of.compile(model, of.spec((128, 64), "float32", left, of.B))
