"""How a fitted part lies on disk: one JSON file for what a person reads, one safetensors file for arrays.

What belongs here: writing and reading that pair. What does not: which parts a generator has. No pickle is
ever written or read, so that loading a model runs nobody's code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import load_file, save_file

Value = TypeVar("Value")


def write_state(folder: Path, name: str, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write `<name>.json` and `<name>.safetensors` into `folder`, which is itself put in place in one step."""
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, folder / f"{name}.safetensors")


def read_state(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write_state` wrote."""
    plain = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return plain, load_file(folder / f"{name}.safetensors")


def under(prefix: str, entries: dict[str, Value]) -> dict[str, Value]:
    """The entries whose name starts with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in entries.items() if name.startswith(prefix)}
