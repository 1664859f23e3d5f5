"""Three pipeline stages and devices that cannot be dealt out to them."""

import oflow as of

# mistake
devices = of.placement("cpu", [0, 1, 2, 3])
# fix
devices = of.placement("cpu", [0, 1, 2, 3, 4, 5])
# both
layers = [of.nn.Linear(64, 64) for _ in range(3)]


def model(x):
    for i, layer in enumerate(layers):
        with of.stage(i):
            x = layer(x)
    return x


of.compile(model, of.spec((128, 64), "float32", devices, of.B))
