"""A schedule that was written for another number of micro-batches."""

import oflow as of

layer = of.nn.Linear(64, 10)
schedule = of.Schedule.from_csv("0F0,0B0,0F1,0B1")

# mistake
micro_batches = 4
# fix
micro_batches = 2
# both

of.compile(
    lambda x: of.mean(layer(x)), of.spec((128, 64)), optimizer=of.optim.SGD(lr=0.1), micro_batches=micro_batches, schedule=schedule
)
