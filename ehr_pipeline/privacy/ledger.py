"""The ledger: everything that ever touched the patients of a data folder, in rows that are chained by their hashes.

What belongs here: adding rows, the cap, proving the chain. What does not: what a row says (`entries.py`), what a fit
spends (`accountant.py`), and which ledger, cap and patients a run means (`account.py`).

`ledger.duckdb` holds one table; each row carries SHA-256 over its own canonical JSON and the hash of the row before.
`ledger.head.json` beside it holds the number of rows, the last row's hash, and SHA-256 of the file. A row is added to a
copy of the file, which then takes its place, and the head follows: a process that is killed leaves the old ledger, or
the new one whose head is one row behind; both verify.

What is found: a byte of the file that was altered, a row that was altered, removed or put in between, last rows that
were cut off, a file that was deleted or put back from before. What a chain cannot find: someone who may write both
files and makes the whole chain anew, or puts older copies of both in their place. Against these stand the digests that
lie elsewhere: `ehr-pipeline ledger` prints the last one, each model keeps its entry's, and `verify` looks for them.

Epsilons add up and deltas add up (basic composition), over everything in one universe of patients.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb

from ehr_pipeline.errors import BudgetExceeded, LedgerBroken, OptionError, ResourceShort
from ehr_pipeline.privacy.entries import EVERYONE, Entry, Recorded, Total, digest_of, read, row_of, stored, total_of
from ehr_pipeline.writing import atomic_file, exclusive, private_folder, sha256, write_json

__all__ = ["EVERYONE", "Entry", "Ledger", "Recorded", "Total"]

ROUNDING = 1 + 1e-9
"""Ten spends of 0.1 are within a cap of 1."""
_NO_ROW = "0" * 64
_TABLE = "entries"
_STORED = [field.name for field in fields(Recorded)]
_TYPES = {"number": "BIGINT", "epsilon": "DOUBLE", "delta": "DOUBLE", "is_stated": "BOOLEAN"}
_COLUMNS = ", ".join(f"{name} {_TYPES.get(name, 'VARCHAR')} NOT NULL" for name in _STORED)


class Ledger:
    """The ledger in one file; each method opens it, and lets go of it at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head = path.with_suffix(".head.json")
        self._lock = path.with_name(f".{path.stem}.lock")

    @property
    def exists(self) -> bool:
        """Whether anything was ever written down, or a trace of it is left."""
        return self.path.exists() or self.head.exists()

    def reserve(self, entry: Entry, cap_epsilon: float, cap_delta: float = 1.0) -> str:
        """Write a private fit down before it starts, if its patients' caps allow it; returns the entry's id.

        Two processes wait for each other here, so that only one can have the last of a budget. What is written stays
        spent, whatever becomes of the fit.

        Raises
        ------
        BudgetExceeded
            It would pass a cap; nothing was written.
        LedgerBroken
            The ledger does not verify: nothing is spent on it.
        OptionError
            The folder cannot be written to.
        """
        with self._held():
            rows = self._proved()
            _refuse_beyond(rows, entry, cap_epsilon, cap_delta)
            return self._append(rows, entry)

    def require_room(self, entry: Entry, cap_epsilon: float, cap_delta: float = 1.0) -> None:
        """Tell early what `reserve` would refuse; nothing is written, and nothing is kept free (errors as there)."""
        _refuse_beyond(self._proved(), entry, cap_epsilon, cap_delta)

    def record_internal(self, entry: Entry) -> str:
        """Write a model without a budget down; returns the entry's id. Errors as `reserve`'s, without a cap."""
        with self._held():
            return self._append(self._proved(), entry)

    def mark_released(self, entry_id: str, *, what: str, why: str) -> str:
        """Write down that something of an entry's model is released; returns the new entry's id.

        From then on the patients of a model without a budget count as epsilon infinity.

        Raises
        ------
        LedgerBroken
            The ledger does not verify, or has no such entry.
        """
        with self._held():
            rows = self._proved()
            of = self._find(rows, entry_id)
            is_private = of.kind == "spend"
            released = Entry(
                kind="released",
                universe=of.universe,
                is_stated=of.is_stated,
                data_fingerprint=of.data_fingerprint,
                source=what,
                generator=of.generator,
                unit=of.unit,
                epsilon=0.0 if is_private else math.inf,
                delta=0.0,
                why=why,
                of_entry=of.id,
            )
            return self._append(rows, released)

    def entries(self) -> list[Recorded]:
        """All rows in order, proved first (errors as `verify`'s)."""
        return self._proved()

    def entry(self, entry_id: str) -> Recorded:
        """One row by its id; LedgerBroken if the ledger does not have it."""
        return self._find(self._proved(), entry_id)

    def totals(self) -> list[Total]:
        """What each universe has spent, in the order of their first entries."""
        rows = self._proved()
        return [total_of(rows, universe) for universe in dict.fromkeys(row.universe for row in rows)]

    def verify(self, witnesses: Iterable[str] = ()) -> list[Recorded]:
        """Prove the chain; returns its rows.

        Parameters
        ----------
        witnesses
            Ids of entries that were kept elsewhere and must stand in the chain.

        Raises
        ------
        LedgerBroken
            Something was altered, cut off or taken away; the line names the first row that tells.
        """
        rows = self._proved()
        for entry_id in witnesses:
            self._find(rows, entry_id)
        return rows

    # The file

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Be the only writer; what is made is the owner's alone."""
        old_mask = os.umask(0o077)
        try:
            private_folder(self.path.parent)
            with exclusive(self._lock, on_wait=lambda: None):
                yield
        except OSError as error:
            raise OptionError(
                f"the ledger {self.path} cannot be written ({error.strerror}); name a data folder that is yours "
                f"with --data, for nothing is trained that is not written down"
            ) from None
        finally:
            os.umask(old_mask)

    def _append(self, rows: list[Recorded], entry: Entry) -> str:
        """Add a row to a copy of the file, put it in place, and let the head follow."""
        row = row_of(entry, number=len(rows) + 1, previous=rows[-1].digest if rows else _NO_ROW)
        if not rows:  # from here on a ledger that is gone is missed
            write_json(self.head, {"n_entries": 0, "digest": _NO_ROW, "file_sha256": ""})
        with atomic_file(self.path) as temporary:
            if rows:
                shutil.copyfile(self.path, temporary)
            else:
                temporary.unlink()  # DuckDB takes no empty file
            _insert(temporary, row)
            file_sha256 = sha256(temporary)
        _to_disk(self.path.parent)
        write_json(self.head, {"n_entries": row.number, "digest": row.digest, "file_sha256": file_sha256})
        _to_disk(self.path.parent)
        return row.id

    def _proved(self) -> list[Recorded]:
        """The rows, if nothing was done to them; the head is read first, for a writer puts it in place last."""
        head = self._read_head()
        if not self.path.exists():
            if head is None or head["n_entries"] == 0:
                return []
            raise self._broken(f"it is gone, and had {head['n_entries']} rows")
        if head is None:
            raise self._broken(f"{self.head.name} beside it is gone")
        if self.path.with_name(f"{self.path.name}.wal").exists():
            raise self._broken("another program has written to it")
        file_sha256 = sha256(self.path)
        rows = self._rows()
        previous = _NO_ROW
        for number, row in enumerate(rows, start=1):
            if row.number != number or row.previous != previous or row.digest != digest_of(row):
                raise self._broken(f"row {number} was altered, or a row before it was removed")
            previous = row.digest
        n = head["n_entries"]
        if len(rows) < n:
            raise self._broken(f"its last rows were removed: {len(rows)} of {n} are left")
        if head["digest"] != (rows[n - 1].digest if n else _NO_ROW):
            raise self._broken(f"row {n} is not the one that {self.head.name} knows")
        if len(rows) == n and head["file_sha256"] != file_sha256:
            raise self._broken("bytes of the file were altered")
        return rows

    def _read_head(self) -> dict[str, Any] | None:
        try:
            head = json.loads(self.head.read_text(encoding="utf-8"))
            known = {"n_entries": int(head["n_entries"]), "digest": head["digest"], "file_sha256": head["file_sha256"]}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError):
            raise self._broken(f"{self.head.name} beside it cannot be read") from None
        if known["n_entries"] < 0:
            raise self._broken(f"{self.head.name} beside it cannot be read")
        return known

    def _rows(self) -> list[Recorded]:
        try:
            settings = {"enable_external_access": "false"}
            with duckdb.connect(str(self.path), read_only=True, config=settings) as connection:
                rows = connection.execute(f"SELECT {', '.join(_STORED)} FROM {_TABLE} ORDER BY number").fetchall()
            return [read(dict(zip(_STORED, row, strict=True))) for row in rows]
        except (duckdb.Error, ValueError, TypeError):
            raise self._broken("it is damaged, no ledger, or open in another program") from None

    def _find(self, rows: list[Recorded], entry_id: str) -> Recorded:
        for row in rows:
            if row.id == entry_id:
                return row
        raise self._broken(f"it does not have entry {entry_id}, which was kept elsewhere")

    def _broken(self, what: str) -> LedgerBroken:
        return LedgerBroken(
            f"the ledger {self.path} does not verify: {what}; put it and {self.head.name} back from a backup"
        )


def _refuse_beyond(rows: list[Recorded], entry: Entry, cap_epsilon: float, cap_delta: float) -> None:
    before, after = total_of(rows, entry.universe), total_of([*rows, entry], entry.universe)
    patients = f"the patients of universe {entry.universe!r}"
    if math.isinf(before.epsilon):
        raise BudgetExceeded(
            f"{patients} count as epsilon infinity since a model without a budget was released; no private run on "
            f"them can promise anything, so none starts"
        )
    for name, spent, would, cap in (
        ("epsilon", before.epsilon, after.epsilon, cap_epsilon),
        ("delta", before.delta, after.delta, cap_delta),
    ):
        if not would <= cap * ROUNDING:
            raise BudgetExceeded(
                f"--{name} {getattr(entry, name):g} would bring {patients} to {would:g}, past the cap of {cap:g}: "
                f"{spent:g} is spent; ask for less, or have the board raise {name}_cap in policy.yaml"
            )


def _insert(file: Path, row: Recorded) -> None:
    try:
        with duckdb.connect(str(file)) as connection:
            if row.number == 1:
                connection.execute(f"CREATE TABLE {_TABLE} ({_COLUMNS})")
            connection.execute(
                f"INSERT INTO {_TABLE} VALUES ({', '.join('?' * len(_STORED))})", list(stored(row).values())
            )
    except duckdb.Error:
        raise ResourceShort("the ledger was not written: free space or memory and repeat") from None


def _to_disk(folder: Path) -> None:
    """Make sure that the renames in a folder outlive the machine's power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
