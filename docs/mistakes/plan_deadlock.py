"""A plan whose order of acts was changed by hand, so that two devices wait for each other."""

from dataclasses import replace

import oflow as of

layers = [of.nn.Linear(64, 64, bias=False) for _ in range(2)]


def model(x):
    for i, layer in enumerate(layers):
        with of.stage(i):
            x = of.relu(layer(x))
    return of.mean(x)


x = of.spec((128, 64), "float32", of.placement("cpu", [0, 1]), of.B)
plan = of.compile(model, x, optimizer=of.optim.SGD(lr=0.1), micro_batches=2).plan
order = plan.order["cpu:0/compute"]

# mistake
order = order[::-1]
# fix
order = order[:]
# both

replace(plan, order={**plan.order, "cpu:0/compute": order}).check()
