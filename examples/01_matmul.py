"""One matrix product on two devices in three layouts: what each device holds decides what has to move.

python examples/01_matmul.py [FOLDER]      prints each plan, draws it and its timeline in FOLDER (default: plans)
oflow explain examples/01_matmul.py layout=contraction
"""

import sys
from pathlib import Path

import numpy as np

import oflow as of

LAYOUTS = {  # the layouts of a (m, k) and b (k, n); the layout of the product follows
    "data": (of.S(0), of.B),  # each device has rows of a: S(0), B -> S(0), nothing moves
    "column": (of.B, of.S(1)),  # each device has columns of b: B, S(1) -> S(1), nothing moves
    "contraction": (of.S(1), of.S(0)),  # each device has a part of k: S(1), S(0) -> P, the parts are added
}


def build(layout="data"):
    left, right = LAYOUTS[layout]
    two = of.placement("cpu", [0, 1])
    specs = of.spec((4, 6), "float32", two, left), of.spec((6, 8), "float32", two, right)
    return of.compile(lambda a, b: of.matmul(a, b), *specs)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "plans")
    folder.mkdir(parents=True, exist_ok=True)
    a, b = np.ones((4, 6), "float32"), np.arange(48, dtype="float32").reshape(6, 8)
    for name in LAYOUTS:
        program = build(name)
        assert np.array_equal(program(a, b), a @ b)  # whole numbers: exact in every layout
        print(f"--- {name}\n{of.view.text(program.plan)}\n{program.plan.check()}\n")
        (folder / f"{name}.svg").write_text(of.view.svg(program.plan))
        (folder / f"{name}_timeline.svg").write_text(of.view.timeline(program.plan.simulate(steps=2), program.plan))
