"""Words of the command line, facts of the machine, tables, and the JSON that `run_all.py` makes its page from."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def options(doc: str | None, words: Sequence[str], **defaults: Any) -> argparse.Namespace:
    """``--name value`` for each default, and ``--json FILE``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default: {value!r}")
    return parser.parse_args(words)


def facts() -> Row:
    """Date, CPU, load and versions."""
    versions = {}
    for package in ("numpy", "numba", "torch", "jax", "mkl"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    cpu = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    return {
        "date": datetime.now().isoformat(timespec="minutes"), "python": platform.python_version(), "versions": versions,
        "cpu": cpu[0] if cpu else platform.processor(), "cores": os.cpu_count(), "avx512": "avx512f" in flags,
        "load": [round(x, 2) for x in os.getloadavg()],
    }  # fmt: skip


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def save(path: Path | None, rows: Sequence[Row], **others: Any) -> None:
    """Write rows and the facts of the machine; nothing where no file was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": facts(), **others, "rows": list(rows)}, indent=1) + "\n")


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Columns as wide as what stands in them; the first is flush left, the others flush right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    )


def seconds_text(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
