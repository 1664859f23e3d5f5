"""A layout that splits an axis which the tensor has not."""

import oflow as of

four = of.placement("cpu", [0, 1, 2, 3])

# mistake
x = of.spec((128, 64), "float32", four, of.S(2))

# fix
x = of.spec((128, 64), "float32", four, of.S(1))

# both
of.compile(of.relu, x)
