"""Plans as arrays on disk: written with their programs, proved and compared when they are read."""

from __future__ import annotations

from pathlib import Path

from oflow import arrays
from oflow.arrays import Programs, Tables
from oflow.backends.compiled.lower import lower
from oflow.check import load as load_plan
from oflow.check import to_json
from oflow.errors import PlanError
from oflow.plan import Plan


def to_arrays(plan: Plan, path: str | Path) -> None:
    """Write a plan with its tables and compiled programs to one file; `from_arrays` reads it."""
    arrays.save(path, to_json(plan), plan, lower(plan, arrays.tables(plan)))


def from_arrays(path: str | Path) -> Plan:
    """Read a plan that `to_arrays` wrote; see `load`."""
    return load(path)[0]


def load(path: str | Path) -> tuple[Plan, Tables, Programs]:
    """Read what `to_arrays` wrote: the plan is proved as every plan is, and the arrays must be those it lowers to here.

    So a file can neither name code of its own nor point outside its slots. Raises PlanError where anything differs, also when
    it was written by another version of the kernels: lower it again.
    """
    text, tables, programs = arrays.read(path)
    plan = load_plan(text)
    if tables != arrays.tables(plan):
        raise PlanError(f"{path}: its tables are not those of its plan")
    if programs != lower(plan, tables):
        raise PlanError(f"{path}: its programs are not those that its plan lowers to with this version; write it again")
    return plan, tables, programs
