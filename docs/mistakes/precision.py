"""A precision that there is not."""

import oflow as of

layer = of.nn.Linear(64, 10)

# mistake
of.compile(layer, of.spec((128, 64)), precision="float8")
# fix
of.compile(layer, of.spec((128, 64)), precision="bfloat16")
# both
