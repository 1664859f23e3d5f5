"""The house keeps its own rules: who may import whom, the README's two commands, the tour, the file map."""

import ast
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "oflow"
EARLY = {"errors", "types", "sbp", "machine"}
LOGICAL = EARLY | {"presets", "graph", "graphtext", "ops", "boxings", "frontend"}
MAY_IMPORT = {
    "errors": set(),
    "live": {"errors"},
    "native": {"errors", "live"},
    "types": {"errors"},
    "sbp": {"errors", "types"},
    "machine": {"errors", "native", "sbp"},
    "presets": EARLY,
    "graph": EARLY,
    "graphtext": EARLY | {"graph"},
    "ops": EARLY | {"graph"},
    "boxings": EARLY | {"graph", "ops"},
    "frontend": EARLY | {"graph", "ops"},
    "schedule": {"errors"},
    "trace": {"errors"},
    "plan": EARLY,
    "arrays": EARLY | {"native", "plan"},
    "check": EARLY | {"arrays", "native", "plan", "schedule", "live"},
    "actors": EARLY | {"arrays", "check", "native", "plan", "trace", "live"},
    "sizing": EARLY | {"arrays", "check", "plan", "live"},
    "compiler": LOGICAL | {"arrays", "native", "plan", "schedule", "trace", "check", "actors", "sizing", "live"},
    "backends": EARLY | {"arrays", "check", "graph", "native", "ops", "plan"},
    "state": EARLY,
    "checkpoint": {"errors"},
    "run": EARLY | {"actors", "arrays", "backends", "native", "plan"},
    "program": LOGICAL | {"plan", "schedule", "trace", "check", "actors", "compiler", "backends", "run", "state", "checkpoint", "live"},
    "calibrate": LOGICAL | {"native", "plan", "actors", "compiler", "backends", "program"},
    "view": LOGICAL | {"arrays", "plan", "schedule", "trace", "check", "actors", "sizing", "live"},
}


def _imports(path: Path) -> set[str]:
    """Rooms of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module == "oflow":
            names = [f"oflow.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("oflow.")}
    return found


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_stands_to_its_left(room):
    files = [PACKAGE / f"{room}.py", *(PACKAGE / room).rglob("*.py")]
    for path in filter(Path.exists, files):
        wrong = _imports(path) - MAY_IMPORT[room] - {room}
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_every_room_has_its_place_in_the_order_and_in_the_file_map():
    rooms = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} - {"__init__", "__main__"}
    assert rooms == set(MAY_IMPORT) | {"cli"}
    file_map = (ROOT / "docs" / "design.md").read_text()
    assert [room for room in sorted(rooms) if room not in file_map] == []


def test_no_pass_driver_or_view_names_an_operator():
    from oflow.ops import REGISTRY

    moves = {"boxing", "accumulate"}  # the compiler makes these two itself
    for room in ("compiler", "actors", "view", "check"):
        for path in (PACKAGE / room).rglob("*.py"):
            texts = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
            named = {name for name in set(REGISTRY) - moves if "_" in name and name in texts}
            assert not named, f"{path.relative_to(ROOT)} knows {named}"


def test_no_solver_is_timed():
    """What a search finds depends on what is asked, and not on how fast the machine is."""
    sources = (ROOT / "oflow").rglob("*.py")
    assert [str(path) for path in sources if "time_limit" in path.read_text()] == []


def test_the_readme_has_exactly_two_commands():
    text = (ROOT / "README.md").read_text()
    commands = [block.strip().splitlines() for block in text.split("```sh\n")[1:]]
    assert len(commands) == 2
    first, second = (block[0] for block in commands)
    assert "oflow train examples/digits.py" in first
    assert "pytest" in second


def test_the_tour_runs(capsys):
    runpy.run_path(str(ROOT / "docs" / "tour.py"))
    assert "deadlock-free" in capsys.readouterr().out
