"""A batch that does not fall into equal micro-batches."""

import oflow as of

layer = of.nn.Linear(64, 10)

# mistake
of.compile(layer, of.spec((100, 64)), micro_batches=8)
# fix
of.compile(layer, of.spec((100, 64)), micro_batches=10)
# both
