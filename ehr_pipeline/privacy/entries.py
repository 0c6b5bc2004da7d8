"""Rows of the ledger: what one of them says, its hash, and what a universe of patients has spent by them.

What belongs here: types, and the arithmetic of rows. What does not: the file that holds them (`ledger.py`).
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import importlib.metadata
import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ehr_pipeline.privacy.budget import UNIT

Kind = Literal["spend", "internal", "released"]

EVERYONE = "all patients of this data folder"
"""The universe of patients where none is named."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is to be written down.

    Attributes
    ----------
    kind
        `spend`: a private fit; `internal`: a model without a budget; `released`: something of an entry's model left.
    universe
        Whose patients; those of another universe are others.
    is_stated
        Whether a person said so (`--universe`), and not the default.
    data_fingerprint
        SHA-256 of what was learned from.
    source
        Cohort or table.
    epsilon, delta
        Per unit; infinity and 0 for a model without a budget, which count once it is released.
    mechanisms
        `PrivacyPlan.record` as it is.
    why
        Command or job, and run.
    of_entry
        The entry whose model was released.
    """

    kind: Kind
    universe: str
    is_stated: bool = False
    data_fingerprint: str = ""
    source: str
    generator: str
    unit: str = UNIT
    epsilon: float
    delta: float
    accountant: str = ""
    mechanisms: dict[str, Any] | None = None
    why: str
    of_entry: str = ""


@dataclass(frozen=True, kw_only=True)
class Recorded(Entry):
    """A row of the ledger: an entry, its number from 1, when, by whom and by which code, and its place in the chain."""

    number: int
    time: str
    who: str
    code_version: str
    previous: str
    digest: str

    @property
    def id(self) -> str:
        """Number and digest: what a model or a release keeps of the entry."""
        return f"{self.number}-{self.digest[:16]}"


@dataclass(frozen=True, kw_only=True)
class Total:
    """What one universe of patients has spent; infinity once a model without a budget was released.

    Attributes
    ----------
    unit
        What epsilon and delta are of. Where one fit's unit is a patient replaced, all are counted in that unit: to
        replace one is to remove one and add one, which doubles an epsilon.
    """

    universe: str
    unit: str
    epsilon: float
    delta: float
    n_spends: int
    n_internal: int
    n_released: int


def row_of(entry: Entry, *, number: int, previous: str) -> Recorded:
    """An entry as the row with that number, made now by whoever runs this."""
    # As the file holds them: a budget of 1 would be hashed as "1" and read back as "1.0".
    numbers = {"epsilon": float(entry.epsilon), "delta": float(entry.delta)}
    row = Recorded(
        **({field.name: getattr(entry, field.name) for field in fields(Entry)} | numbers),
        number=number,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        who=_who(),
        code_version=code_version(),
        previous=previous,
        digest="",
    )
    return read(stored(row) | {"digest": digest_of(row)})


def stored(row: Recorded) -> dict[str, Any]:
    """A row as the columns of the table."""
    return asdict(row) | {"mechanisms": json.dumps(row.mechanisms, sort_keys=True)}


def read(columns: dict[str, Any]) -> Recorded:
    """What `stored` made."""
    return Recorded(**(columns | {"mechanisms": json.loads(columns["mechanisms"])}))


def digest_of(row: Recorded) -> str:
    """SHA-256 over the canonical JSON of all columns but the digest itself."""
    said = {name: value for name, value in stored(row).items() if name != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def total_of(rows: Iterable[Entry], universe: str) -> Total:
    """What the rows of one universe add up to."""
    mine = [row for row in rows if row.universe == universe]
    counted = [row for row in mine if row.kind != "internal"]
    others = sorted({row.unit for row in counted if row.unit != UNIT})
    costs = [_replacing(row) if others and row.unit == UNIT else (row.epsilon, row.delta) for row in counted]
    return Total(
        universe=universe,
        unit=others[0] if others else UNIT,
        epsilon=math.fsum(epsilon for epsilon, _ in costs),
        delta=math.fsum(delta for _, delta in costs),
        n_spends=sum(row.kind == "spend" for row in mine),
        n_internal=sum(row.kind == "internal" for row in mine),
        n_released=sum(row.kind == "released" for row in mine),
    )


def _replacing(row: Entry) -> tuple[float, float]:
    """Epsilon and delta of an add-or-remove guarantee for a patient replaced (group privacy, two steps)."""
    return 2 * row.epsilon, row.delta * (1 + math.exp(min(row.epsilon, 700.0)))


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.getuid()}"


def code_version() -> str:
    """Version of the package, with the commit where it runs from a working copy."""
    version = f"ehr-pipeline {importlib.metadata.version('ehr-pipeline')}"
    git = Path(__file__).parents[2] / ".git"
    with contextlib.suppress(OSError):
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        reference = head.removeprefix("ref: ")
        if reference == head:
            return f"{version}, commit {head}"
        if (git / reference).exists():
            return f"{version}, commit {(git / reference).read_text(encoding='utf-8').strip()}"
        for line in (git / "packed-refs").read_text(encoding="utf-8").splitlines():
            if line.endswith(f" {reference}"):
                return f"{version}, commit {line.split()[0]}"
    return version
