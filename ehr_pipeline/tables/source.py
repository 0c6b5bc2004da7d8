"""Where a table's columns come from: a Parquet file, or a data frame.

What belongs here: columns as Arrow has them, one at a time. What does not: files of text (`text_file.py` makes a
Parquet file of them), and what columns mean (`table.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.errors import SourceError
from ehr_pipeline.tables.arrow_columns import is_text


class Source(Protocol):
    """Where columns come from: a Parquet file (of text that was read, or as given), or Arrow in memory."""

    schema: pa.Schema
    n_rows: int

    def column(self, k: int) -> pa.Array:
        """The k-th column, whole; text as a dictionary."""

    def close(self) -> None:
        """Let go of the file."""


@dataclass(frozen=True)
class ParquetSource:
    """An open Parquet file: the table itself, or the text of one."""

    file: pq.ParquetFile
    schema: pa.Schema
    n_rows: int

    def column(self, k: int) -> pa.Array:
        """The k-th column, read now."""
        try:
            return _whole(self.file.read(columns=[self.schema.names[k]]).column(0))
        except (pa.ArrowException, OSError):
            raise SourceError("the table cannot be read: the file is cut off or damaged; copy it again") from None

    def close(self) -> None:
        """Close the file."""
        self.file.close(force=True)


@dataclass(frozen=True)
class _ArrowSource:
    """A data frame in Arrow's types."""

    table: pa.Table

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    @property
    def n_rows(self) -> int:
        return self.table.num_rows

    def column(self, k: int) -> pa.Array:
        return _whole(self.table.column(k))

    def close(self) -> None:
        """Nothing is open."""


def open_parquet(path: Path) -> Source:
    """A Parquet file, text in dictionaries.

    Raises
    ------
    SourceError
        It cannot be read.
    """
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        text = [field.name for field in schema if is_text(field.type)]
        file = pq.ParquetFile(path, read_dictionary=text)
    except (pa.ArrowException, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "cut off, damaged, or no Parquet"
        raise SourceError(f"{path} cannot be read: {reason}") from None
    return ParquetSource(file, schema, file.metadata.num_rows)


def open_frame(frame: pd.DataFrame) -> Source:
    """A data frame in Arrow's types, without its index.

    Raises
    ------
    SourceError
        A column holds values of several types, or a name stands twice or is no text.
    """
    if not frame.columns.is_unique:
        raise SourceError("the data frame has a column name twice; give each column a name of its own")
    if not all(isinstance(name, str) for name in frame.columns):
        raise SourceError("the data frame has column names that are no text; frame.columns.astype(str) makes them so")
    for name in frame.columns:
        try:
            pa.array(frame[name], from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise SourceError(
                f"column {name} holds values of several types; make them all numbers or all text"
            ) from None
    return _ArrowSource(pa.Table.from_pandas(frame, preserve_index=False))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece; text as a dictionary of its spellings."""
    if is_text(column.type) and not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    if column.num_chunks == 1:
        return column.chunk(0)
    if not column.num_chunks:
        return pa.array([], column.type)
    return pa.concat_arrays(column.chunks)
