"""The same bits from every driver that uses the same kernels, whatever the timing; and what a run in processes leaves."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow.native import available
from tests.program.nets import batches, classifier

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")
DRIVERS: dict[str, dict[str, Any]] = {
    "native, caller": {"executor": "native", "workers": 0}, "native, 2": {"executor": "native", "workers": 2},
    "native, 3": {"executor": "native", "workers": 3}, "processes": {"executor": "processes", "workers": 2},
    "threads": {"executor": "threads", "workers": 2}, "simulator": {"executor": "simulator"},
}  # fmt: skip


def losses(layout: str, steps: int = 5, **options: Any) -> list[float]:
    with classifier(layout, micro_batches=2, **options) as step:
        return [float(loss) for loss in step.stream(batches(steps))]


@pytest.mark.parametrize("kernels", ["compiled", "numpy"])
@pytest.mark.parametrize("layout", ["single", "data", "pipeline x data"])
def test_all_drivers_give_the_same_bits(layout: str, kernels: str) -> None:
    runs = {name: losses(layout, kernels=kernels, **options) for name, options in DRIVERS.items()}
    assert len({tuple(run) for run in runs.values()}) == 1, runs


def test_every_run_gives_the_same_bits() -> None:
    runs = {tuple(losses("pipeline x data", 8, executor="native", workers=2)) for _ in range(20)}
    assert len(runs) == 1


def test_compiled_and_numpy_kernels_agree() -> None:
    compiled, plain = (losses("data", 10, kernels=kernels) for kernels in ("compiled", "numpy"))
    np.testing.assert_allclose(compiled, plain, rtol=1e-5)


def test_a_killed_worker_is_named_and_the_state_must_be_loaded_again() -> None:
    x, y = batches(1)[0]
    with classifier("data", executor="processes", workers=2) as step:
        good = step.state_dict()
        first = step(x, y)
        victim = min(step._run.session._team.children)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(of.WorkerLost, match=f"worker process {victim}, which ran cpu:"):
            for _ in range(100):
                step(x, y)
        with pytest.raises(of.ProgramFailed, match="load_state_dict"):
            step(x, y)
        step.load_state_dict(good)
        assert step(x, y) == first


def test_worker_processes_cannot_use_state_that_only_this_process_sees() -> None:
    where = of.placement("cpu", [0])
    layer = of.nn.Linear(4, 2)

    def apply(x):
        return layer(x)

    spec = of.spec((3, 4), "float32", where, of.B)
    with of.compile(apply, spec) as here:
        here(np.ones((3, 4), "float32"))
        with (
            of.compile(apply, spec, state=here, executor="processes") as elsewhere,
            pytest.raises(of.PlanError, match="compile that with executor='processes'"),
        ):
            elsewhere(np.ones((3, 4), "float32"))


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_stops_a_run_within_a_second(workers: int) -> None:
    """The caller is in the loop, or waits for it, when the signal comes; a wait of ten seconds would end the test otherwise."""
    started = threading.Event()

    def source() -> Any:
        for batch in batches(1) * 1_000_000:
            started.set()
            yield batch

    def interrupt() -> None:
        started.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    with classifier("data", executor="native", workers=workers) as step:
        step(*batches(1)[0])
        other.start()
        with pytest.raises(KeyboardInterrupt):
            for _ in step.stream(source()):
                pass
    other.join()
