"""Plans as arrays: what is written is read, and nothing else is accepted."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import oflow as of
from oflow.backends.compiled import files
from oflow.native import available

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")


@pytest.fixture(scope="module")
def plan() -> of.Plan:
    two = of.placement("cpu", [0, 1])
    layer = of.nn.Linear(8, 4)

    def loss(x, y):
        return of.mse(of.gelu(layer(x)), y)

    specs = of.spec((6, 8), "float32", two, of.S(0)), of.spec((6, 4), "float32", two, of.S(0))
    return of.compile(loss, *specs, optimizer=of.optim.AdamW(lr=1e-3), micro_batches=3).plan


def changed(path: Path, array: str = "", text: str = "") -> None:
    with safe_open(str(path), "numpy") as file:
        texts, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if array:
        arrays[array] = arrays[array].copy()
        arrays[array].flat[0] += 1
    if text:
        texts[text] = json.dumps([*json.loads(texts[text])[:-1], "os:system:true"])
    save_file(arrays, str(path), texts)


def test_what_is_written_is_read(plan: of.Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.safetensors"
    plan.to_arrays(path)
    found, tables, programs = files.load(path)
    assert found == plan == of.Plan.from_arrays(path)
    assert len(tables.acts) == len(plan.actors) and len(programs.call_start) == len(plan.actors) + 1


@pytest.mark.parametrize("array", ["tables.slots", "tables.every", "programs.words", "programs.ref_offset", "programs.block"])
def test_an_array_that_was_changed_is_refused(plan: of.Plan, tmp_path: Path, array: str) -> None:
    path = tmp_path / "plan.safetensors"
    plan.to_arrays(path)
    changed(path, array)
    with pytest.raises(of.PlanError, match="are not those"):
        files.load(path)


def test_a_routine_of_anothers_making_is_refused_before_it_is_looked_for(plan: of.Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.safetensors"
    plan.to_arrays(path)
    changed(path, text="programs.routines")
    with pytest.raises(of.PlanError, match="programs are not those"):
        files.load(path)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(of.PlanError, match="is not a plan as arrays"):
        files.load(path)
    save_file({"x": np.zeros(3)}, str(path))
    with pytest.raises(of.PlanError, match="is not a plan as arrays"):
        files.load(path)
