"""S -> B between devices that share memory: the readers take the shards where they lie."""

import numpy as np
import pytest

import oflow as of
from oflow.machine import Link

TWO, THREE = of.placement("cpu", [0, 1]), of.placement("cpu", [0, 1, 2])
CHEAP = of.Machine("shared memory", of.preset().devices, Link(latency=1e-8, bandwidth=1e11))
DEAR = of.Machine("far apart", of.preset().devices, Link(latency=1.0, bandwidth=1e6))


def build(where, machine, **options):
    """Every matrix split by its rows, so every activation is gathered before the next product."""
    layers = [of.nn.Linear(6, 9, bias=False, dtype="float64"), of.nn.Linear(9, 5, bias=False, dtype="float64")]
    for layer in layers:
        layer.to_global(where, of.S(0))

    def loss(x, y):
        return of.mse(layers[1](of.relu(layers[0](x))), y)

    specs = of.spec((4, 6), "float64", where, of.B), of.spec((4, 5), "float64", where, of.B)
    return of.compile(loss, *specs, machine=machine, **options)


@pytest.mark.parametrize("where", [TWO, THREE], ids=["2", "3 uneven"])
@pytest.mark.parametrize("training", [False, True])
def test_shards_are_read_where_they_lie_if_that_is_cheaper(where, training):
    options = {"optimizer": of.optim.SGD(lr=0.5)} if training else {}
    rng = np.random.default_rng(3)
    batches = [(rng.integers(-3, 4, (4, 6)).astype("float64"), rng.integers(-3, 4, (4, 5)).astype("float64")) for _ in range(3)]
    weights = {"a": rng.integers(-2, 3, (9, 6)).astype("float64"), "b": rng.integers(-2, 3, (5, 9)).astype("float64")}
    runs = []
    for machine in (CHEAP, DEAR):
        for executor in ("threads", None):
            with build(where, machine, executor=executor, **options) as step:
                state = step.state_dict()
                names = [n for n in state if n.endswith("weight")]
                step.load_state_dict(state | dict(zip(names, weights.values(), strict=True)))
                pieces = [n for n in step.graph.nodes if "pieces" in n.attributes]
                assert pieces or machine is DEAR
                runs.append([float(step(*batch)) for batch in batches])
                assert float(step.graph.evaluate(*batches[0])) == pytest.approx(float(step(*batches[0])), rel=1e-12)
    for run in runs[1:]:
        np.testing.assert_allclose(run, runs[0], rtol=1e-12)
