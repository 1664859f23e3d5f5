"""A parameter that would be kept as a partial sum."""

import oflow as of

two = of.placement("cpu", [0, 1])
layer = of.nn.Linear(64, 10)

# mistake
layer.weight.to_global(two, of.P)
# fix
layer.weight.to_global(two, of.S(1))
# both
