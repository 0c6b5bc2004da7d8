"""Names and values side by side, as text: settings, facts, manifests.

What belongs here: how a value of any plain kind is written. Measured numbers are in `numbers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_pipeline.report.numbers import count, signed


def verbatim(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names as they are (hashes, versions, tables), values as text."""
    return [(str(name), words(value)) for name, value in content.items()]


def pairs(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names with spaces for underscores, values as text."""
    return [(str(name).replace("_", " "), words(value)) for name, value in content.items()]


def named(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a training under the names that readers know; counts with their thousands apart."""
    names = {"duration_s": "seconds of training", "n_rows": "training rows", "n_patients": "training patients"}
    return {
        names.get(name, name): count(value) if name.startswith("n_") and isinstance(value, int) else value
        for name, value in facts.items()
    }


def words(value: Any) -> str:
    """A setting or fact as text."""
    if isinstance(value, float):
        return signed(f"{value:.6g}")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(words(one) for one in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)
