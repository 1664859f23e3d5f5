"""A plan that needs more memory than a device has."""

import oflow as of

layers = [of.nn.Linear(512, 512, bias=False) for _ in range(4)]


def loss(x):
    for layer in layers:
        x = of.tanh(layer(x))
    return of.mean(x)


# mistake
micro_batches = 1
# fix
micro_batches = 4
# both

of.compile(loss, of.spec((2048, 512)), optimizer=of.optim.SGD(lr=0.1), memory=32_000_000, micro_batches=micro_batches)
