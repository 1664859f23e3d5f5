"""Checkpoints: a folder with the logical tensors (safetensors) and a manifest with their hash. Any layout loads any checkpoint.

Written to a temporary folder, flushed, and renamed, so a killed process leaves the old checkpoint or the new one, never a
half. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from oflow.errors import OflowError

TENSORS, MANIFEST = "state.safetensors", "manifest.json"


def write(path: str | Path, values: Mapping[str, np.ndarray], seed: int, aliases: Mapping[str, str]) -> None:
    """Write a checkpoint folder at `path`, replacing one that is there."""
    target = Path(path)
    if target.exists() and not (target / MANIFEST).exists():
        raise OflowError(f"{target} exists and is no checkpoint; choose another path")
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(old, ignore_errors=True)
    fresh = target.parent / f".{target.name}.{os.getpid()}.tmp"
    fresh.mkdir()
    data = save({name: np.ascontiguousarray(value).reshape(value.shape) for name, value in values.items()})
    manifest = {
        "format": 1, "sha256": hashlib.sha256(data).hexdigest(), "seed": seed, "aliases": dict(aliases), "tensors": len(values),
    }  # fmt: skip
    _write(fresh / TENSORS, data)
    _write(fresh / MANIFEST, json.dumps(manifest, indent=1).encode())
    if target.exists():
        old = target.parent / f".{target.name}.{os.getpid()}.old.tmp"
        target.rename(old)
        fresh.rename(target)
        shutil.rmtree(old)
    else:
        fresh.rename(target)
    _flush(target.parent)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The logical tensors of a checkpoint by name. Raises OflowError for a folder that is none or is damaged."""
    folder = Path(path)
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        data = (folder / TENSORS).read_bytes()
    except (OSError, ValueError) as e:
        raise OflowError(f"{folder} is not a checkpoint: {e}") from e
    if manifest.get("format") != 1 or hashlib.sha256(data).hexdigest() != manifest.get("sha256"):
        raise OflowError(f"checkpoint {folder} is damaged: its content does not match its manifest; use an older one")
    return dict(load(data))


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
