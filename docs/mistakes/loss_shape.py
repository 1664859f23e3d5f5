"""A loss that is no scalar."""

import oflow as of

layer = of.nn.Linear(64, 10)


def loss(x, y):
    # mistake
    return (layer(x) - y) ** 2
    # fix
    return of.mean((layer(x) - y) ** 2)
    # both


of.compile(loss, of.spec((128, 64)), of.spec((128, 10)), optimizer=of.optim.SGD(lr=0.1))
