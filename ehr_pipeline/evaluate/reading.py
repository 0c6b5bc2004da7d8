"""The tables of an evaluation of files: all read as the real one is, with the columns that can be compared.

What belongs here: from files or frames to typed tables on one schema, and what is wrong with them in one line. What
does not: how a file is parsed and its kinds are told (`tables/`), and any judgement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ehr_pipeline.errors import InputError, OptionError, SourceError
from ehr_pipeline.evaluate.encoding import COMPARED_KINDS
from ehr_pipeline.record import Schema
from ehr_pipeline.storage import sha256
from ehr_pipeline.tables import Table, read_table, table_of
from ehr_pipeline.tables.identifiers import hashes

Source = Path | str | pd.DataFrame
"""A file, or a table that is in memory."""

MIN_ROWS = 20
MAX_ROWS = 200_000


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """A file as it may be named: no path; the digest is None for a table that was in memory."""

    name: str
    sha256: str | None
    n_rows: int
    n_patients: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """One table as it is compared.

    Attributes
    ----------
    schema
        Kinds of all its columns. For the real table they are told from its values; the others are read by them.
    frame
        The compared columns, at most `MAX_ROWS` rows.
    patient
        int64 [len(frame)]: whose row it is.
    identifiers
        By column of identifiers, their hashes; none of a column that only numbers the rows.
    ignored
        Its columns that the real table lacks.
    """

    facts: FileFacts
    schema: Schema
    frame: pd.DataFrame
    patient: np.ndarray
    identifiers: dict[str, np.ndarray]
    ignored: tuple[str, ...] = ()

    def of(self, numbers: np.ndarray) -> Rows:
        """The same with only the rows of these numbers."""
        return replace(self, frame=self.frame.iloc[numbers].reset_index(drop=True), patient=self.patient[numbers])

    @property
    def compared(self) -> Schema:
        """The columns that are compared: neither identifiers nor free text."""
        return Schema(columns=tuple(self.schema.of_kind(*COMPARED_KINDS)))

    def notes(self) -> list[str]:
        """What the reader of an evaluation should know of how the table was read."""
        found = []
        if self.ignored:
            found.append(f"{self.facts.name}: the real table has no {', '.join(self.ignored)}; ignored")
        if len(self.frame) < self.facts.n_rows:
            found.append(
                f"{self.facts.name}: {len(self.frame):,} of {self.facts.n_rows:,} rows were drawn and compared"
            )
        return found


def read_real(source: Source, schema: Path | None, rng: np.random.Generator) -> Rows:
    """The real table; its kinds are those of the schema file, else told from its values.

    Raises
    ------
    InputError
        It cannot be read, has fewer than `MIN_ROWS` rows, or no column that can be compared.
    """
    with _opened(source, "real", schema) as table:
        rows = _rows(source, "real", table, table.schema, rng)
    if not rows.compared.columns:
        raise SourceError(f"{rows.facts.name} has no column to compare: all are identifiers or free text")
    return rows


def read_beside(source: Source, role: str, real: Rows, rng: np.random.Generator) -> Rows:
    """The synthetic or the holdout table (`role`), read by the kinds of the real one.

    Raises
    ------
    InputError
        It cannot be read so, has fewer than `MIN_ROWS` rows, or lacks a column that is compared.
    """
    with _opened(source, role, real.schema) as table:
        return _rows(source, role, table, real.schema, rng)


def refuse_shared_patients(real: Rows, holdout: Rows) -> None:
    """Refuse a holdout with patients of the real table, whom the generator has seen.

    Raises
    ------
    OptionError
        The tables are the same file, or a column of identifiers has values in common.
    """
    if real.facts.sha256 is not None and real.facts.sha256 == holdout.facts.sha256:
        raise OptionError("--holdout is the same file as --real; name rows that the synthetic table was not made from")
    for name in real.identifiers.keys() & holdout.identifiers.keys():
        n_shared = len(np.intersect1d(real.identifiers[name], holdout.identifiers[name]))
        if n_shared:
            raise OptionError(
                f"--holdout {holdout.facts.name} shares {n_shared:,} values of the identifier {name} with the real "
                "file: leave these patients out, or the column if it does not tell who a patient is"
            )


def _rows(source: Source, role: str, table: Table, schema: Schema, rng: np.random.Generator) -> Rows:
    name = _name(source, role)
    if len(table) < MIN_ROWS:
        raise SourceError(f"{name} has {len(table)} rows; at least {MIN_ROWS} are needed to compare anything")
    wanted = [column.name for column in schema.columns if column.kind in COMPARED_KINDS]
    there = set(table.schema.names)
    if not there & set(wanted):
        raise SourceError(f"{name} has no column in common with the real table")
    lacking = [column for column in wanted if column not in there]
    if lacking:
        raise SourceError(f"{name} lacks the columns {', '.join(lacking)} of the real table")
    patient = table.subject_id
    chosen = _whole_patients(patient, rng)
    return Rows(
        facts=FileFacts(
            name=name,
            sha256=None if isinstance(source, pd.DataFrame) else sha256(Path(source)),
            n_rows=len(table),
            n_patients=len(np.unique(patient)),
        ),
        schema=schema,
        frame=pd.DataFrame({column: table[column].iloc[chosen].array for column in wanted}),
        patient=patient[chosen],
        identifiers=_identifiers(table),
        ignored=tuple(column for column in table.schema.names if column not in schema),
    )


def _whole_patients(patient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Numbers of at most `MAX_ROWS` rows, in order: all rows of patients who are drawn at random."""
    if len(patient) <= MAX_ROWS:
        return np.arange(len(patient))
    _, position, n_rows = np.unique(patient, return_inverse=True, return_counts=True)
    order = rng.permutation(len(n_rows))
    is_drawn = np.zeros(len(n_rows), dtype=bool)
    is_drawn[order[np.cumsum(n_rows[order]) <= MAX_ROWS]] = True
    return np.flatnonzero(is_drawn[position])


def _name(source: Source, role: str) -> str:
    return f"the {role} table" if isinstance(source, pd.DataFrame) else Path(source).name


def _opened(source: Source, role: str, schema: Path | Schema | None) -> Table:
    """The table, open; an error names which of the tables it is about."""
    try:
        return table_of(source, schema) if isinstance(source, pd.DataFrame) else read_table(Path(source), schema)
    except InputError as error:
        name = _name(source, role)
        raise error if name in str(error) else type(error)(f"{name}: {error}") from None


def _identifiers(table: Table) -> dict[str, np.ndarray]:
    """Hashed identifiers by column, less the columns that only number the rows: 1, 2, 3 tells nobody apart."""
    return {name: np.unique(found) for name, found in table.originals().items() if not _only_numbers_rows(found)}


def _only_numbers_rows(identifiers: np.ndarray) -> bool:
    numbers = (np.sort(hashes(np.arange(first, first + len(identifiers)))) for first in (0, 1))
    return any(np.array_equal(np.sort(identifiers), one) for one in numbers)
