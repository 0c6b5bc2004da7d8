"""A table with one row per patient or visit, as typed columns that are read one at a time.

What belongs here: what a file's columns are, and whose rows they hold. What does not: opening files (`source.py`,
`text_file.py`), what a column's values mean (`text_columns.py`, `arrow_columns.py`), writing (`write.py`).

Memory holds one column at a time: of text its distinct spellings and a code per row, of Parquet the column itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa

from ehr_pipeline.errors import DefinitionError, SourceError
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.record import Column, Schema
from ehr_pipeline.tables.arrow_columns import arrow_layout, is_text, read_arrow_values
from ehr_pipeline.tables.identifiers import hashes, names_a_patient, names_an_identifier
from ehr_pipeline.tables.kinds import SHARED_ROWS
from ehr_pipeline.tables.layout import ColumnLayout, Dialect, Layout, encoded
from ehr_pipeline.tables.public_layout import public_layout, public_values, unit_column
from ehr_pipeline.tables.schema_file import read_schema_file
from ehr_pipeline.tables.source import ParquetSource, Source, open_frame, open_parquet
from ehr_pipeline.tables.text_columns import TextColumn, read_spellings
from ehr_pipeline.tables.text_file import read_text_file

MOST_COLUMNS = 2_000
TEXT_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")


class Table:
    """One row per patient or visit: `table[name]` reads a column in the dtype of its kind (`record.DTYPES`).

    A context manager: what it holds open is let go of at the end.

    Attributes
    ----------
    layout
        What each column is, and how to write the table back.
    subject_id
        int64 of shape (len(table),): the patient of each row; the row's number where no patient comes twice.
    """

    def __init__(self, source: Source, layout: Layout) -> None:
        self._source = source
        self._numbers = {column.name: k for k, column in enumerate(layout.columns)}
        self.layout = layout
        self.subject_id = self._subjects()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def __len__(self) -> int:
        return self._source.n_rows

    @property
    def schema(self) -> Schema:
        """All columns in file order."""
        return self.layout.schema

    def __getitem__(self, name: str) -> pd.Series:
        """One column, missing values as pandas has them; free text that is left out is read too."""
        layout = self.layout[name]
        values = self._source.column(self._numbers[name])
        is_by_itself = layout.is_public and layout.treatment == "learned"
        if not layout.is_text:
            read = public_values(layout, values) if is_by_itself else read_arrow_values(values, layout.column)
            return read.rename(name)
        spellings = values.dictionary.cast(pa.string())
        distinct = public_values(layout, spellings) if is_by_itself else read_spellings(layout, spellings)
        codes = values.indices.fill_null(-1).to_numpy()
        return pd.Series(distinct.array.take(codes, allow_fill=True), name=name)

    def frame(self, names: list[str] | None = None) -> pd.DataFrame:
        """Columns side by side, all of them by default; in memory."""
        return pd.DataFrame({name: self[name] for name in names or self.schema.names})

    def cohort(self) -> TrainingCohort:
        """What a generator learns from: neither identifiers nor free text, nor what is the same in all rows."""
        return TrainingCohort(schema=self.layout.learned, table=self, subject_id=self.subject_id)

    def fingerprint(self) -> str:
        """SHA-256 over names, types and values, one column in memory at a time."""
        digest = hashlib.sha256()
        for k, layout in enumerate(self.layout.columns):
            values = self._source.column(k)
            digest.update(f"{layout.name}\0{values.type}\0".encode())
            parts = [values.indices, values.dictionary] if pa.types.is_dictionary(values.type) else [values]
            for part in parts:
                digest.update(pa.RecordBatch.from_arrays([part], ["values"]).serialize())
        return digest.hexdigest()

    def originals(self) -> dict[str, np.ndarray] | None:
        """The identifiers of the table, hashed (uint64): none of them may come out. None in a private run.

        There, to leave one out would tell that it is in the table.
        """
        if self.layout.is_public:
            return None
        return {
            layout.name: hashes(self._distinct_texts(self._numbers[layout.name]))
            for layout in self.layout.columns
            if layout.treatment == "identifier"
        }

    def _distinct_texts(self, k: int) -> np.ndarray:
        values = self._source.column(k)
        distinct = values.dictionary if pa.types.is_dictionary(values.type) else values.drop_null().unique()
        if pa.types.is_floating(distinct.type):
            distinct = distinct.cast(pa.int64(), safe=False)
        return distinct.cast(pa.string()).to_numpy(zero_copy_only=False)

    def _subjects(self) -> np.ndarray:
        subject = unit_column(self.layout) if self.layout.is_public else _subject_column(self)
        if subject is None:
            return np.arange(len(self), dtype=np.int64)
        codes = self[subject].fillna(-1).to_numpy(dtype=np.int64)
        return np.where(codes < 0, -1 - np.arange(len(codes)), codes)


def _subject_column(table: Table) -> str | None:
    """The identifier that keeps rows together: the patient's, else a visit's, else one that a schema file declares."""
    repeated = [
        layout.name
        for layout in table.layout.columns
        if layout.treatment == "identifier" and table[layout.name].nunique() < table[layout.name].notna().sum()
    ]
    patients = [name for name in repeated if names_a_patient(name)]
    others = [] if any(names_a_patient(name) for name in table.schema.names) else repeated
    visits = [name for name in others if names_an_identifier(name)]
    return next(iter([*patients, *visits, *others]), None)


def read_table(path: Path, schema: Path | Schema | None = None, *, is_private: bool = False) -> Table:
    """Open `path` (.csv, .tsv, either with .gz, or .parquet) and tell what its columns are.

    Parameters
    ----------
    path
        The file.
    schema
        A schema file, or columns as they are to be read where the file has them (a synthetic table as the real one
        was); what it does not say is inferred.
    is_private
        Nothing is inferred: the schema must name every column (`public_layout.py`).

    Raises
    ------
    SourceError
        The file cannot be read as a table.
    DefinitionError
        The schema file says nothing valid of this table.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist")
    if path.is_dir():
        raise SourceError(f"{path} is a folder; name one file ({', '.join(SUFFIXES)})")
    if not path.name.lower().endswith(SUFFIXES):
        raise SourceError(f"{path} is no table: its name must end in {', '.join(SUFFIXES)}")
    if path.name.lower().endswith(".parquet"):
        source, dialect = open_parquet(path), None
    else:
        file, dialect = read_text_file(path, MOST_COLUMNS)
        source = ParquetSource(file, file.schema_arrow, file.metadata.num_rows)
    try:
        return _table(source, dialect, path.name, schema, is_private)
    except BaseException:
        source.close()
        raise


def table_of(frame: pd.DataFrame, schema: Path | Schema | None = None, *, is_private: bool = False) -> Table:
    """A data frame as a table; its index is no column. `is_private` as in `read_table`.

    Raises
    ------
    SourceError
        A column holds values of several types, or a name stands twice or is no text.
    """
    return _table(open_frame(frame), None, "the data frame", schema, is_private)


def _table(
    source: Source, dialect: Dialect | None, origin: str, schema: Path | Schema | None, is_private: bool
) -> Table:
    names = _names(dialect.header if dialect is not None else source.schema.names, origin)
    declared = _declared(schema, names)
    if is_private:
        return Table(source, public_layout(source.schema, names, declared, dialect, origin))
    if source.n_rows < 2:
        raise SourceError(f"{origin} has {source.n_rows} rows; a table needs at least two")
    columns = [_column_layout(source, k, name, declared.get(name)) for k, name in enumerate(names)]
    arrow_schema = None if dialect is not None else encoded(source.schema)
    layout = Layout(columns=tuple(columns), dialect=dialect, arrow_schema=arrow_schema, source=origin)
    return Table(source, layout)


def _names(header: list[str] | tuple[str, ...], origin: str) -> list[str]:
    """Names of the columns; one that the file does not name is named by its number."""
    if len(header) > MOST_COLUMNS:
        raise SourceError(f"{origin} has {len(header):,} columns; at most {MOST_COLUMNS:,} can be learned from")
    if len(header) < 2:
        raise SourceError(f"{origin} has one column; a table needs two at least")
    names = [name or f"column {k}" for k, name in enumerate(header, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise SourceError(f"{origin} has the column name {twice[0]!r} twice; give each column a name of its own")
    return names


def _declared(schema: Path | Schema | None, names: list[str]) -> dict[str, Column]:
    if schema is None:
        return {}
    if isinstance(schema, Schema):
        return {column.name: column for column in schema.columns if column.name in names}
    columns = read_schema_file(schema)
    unknown = [column.name for column in columns if column.name not in names]
    if unknown:
        raise DefinitionError(f"the schema names the column {unknown[0]!r}, which the table does not have")
    return {column.name: column for column in columns}


def _column_layout(source: Source, k: int, name: str, declared: Column | None) -> ColumnLayout:
    values = source.column(k)
    field = source.schema.field(k)
    if not is_text(field.type):
        return arrow_layout(field.with_name(name), values, declared)
    counts = np.bincount(values.indices.drop_null().to_numpy(), minlength=len(values.dictionary))
    occurs = counts > 0
    spellings = values.dictionary.cast(pa.string())
    column = TextColumn(name, spellings.filter(pa.array(occurs)), counts[occurs], values.null_count)
    layout = column.layout(declared)
    if values.null_count:  # a file that has nulls writes them, not spellings
        layout = layout.model_copy(update={"missing": ()})
    if pa.types.is_dictionary(field.type):
        shared = spellings.filter(pa.array(counts >= SHARED_ROWS)).to_pylist()
        shared += [word for word in layout.spelled or () if word not in shared]
        layout = layout.model_copy(update={"pool": None, "dictionary": tuple(shared)})
    return layout


def refuse_too_few(table: Table) -> None:
    """Refuse a table that has too few patients, or nothing to learn from.

    Raises
    ------
    SourceError
        Whatever was drawn would tell of one of them.
    """
    n_patients = len(np.unique(table.subject_id))
    if n_patients < MINIMUM_PATIENTS and not table.layout.is_public:  # noise hides whoever there is
        raise SourceError(
            f"{table.layout.source} has rows of fewer than {MINIMUM_PATIENTS} patients; whatever came out would tell "
            f"of one of them"
        )
    if not table.layout.learned.columns:
        raise SourceError(
            f"{table.layout.source} has nothing to learn from: its columns are empty, constant, identifiers or text"
        )
