"""Typed rows written as the table they were learned from: its columns, order, formats and spellings.

What belongs here: files. What does not: how one column is spelled (`text_columns.py`, `arrow_columns.py`). A file is
there whole or not at all; memory holds the rows of one `write`.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehr_pipeline.generators.category_codec import POOLED
from ehr_pipeline.storage import atomic_file
from ehr_pipeline.tables.arrow_columns import write_arrow_values
from ehr_pipeline.tables.identifiers import FreshIdentifiers
from ehr_pipeline.tables.layout import ColumnLayout, Dialect, Layout
from ehr_pipeline.tables.text_columns import write_spellings
from ehr_pipeline.tables.text_file import BLANK

_TYPES = {
    "continuous": pa.float64(),
    "integer": pa.int64(),
    "binary": pa.int64(),
    "categorical": pa.string(),
    "time": pa.timestamp("us"),
    "text": pa.string(),
}
"""Types of the columns of a file of text when it is written as Parquet."""


class RowWriter:
    """Turns typed frames into the columns of a table, in pieces.

    Parameters
    ----------
    layout
        The table.
    seed
        Seed of fresh identifiers, and of spellings of missing values where a column has several.
    originals
        Hashes of the table's identifiers (`Table.originals`); None if they are not known.
    """

    def __init__(self, layout: Layout, seed: int, originals: Mapping[str, np.ndarray] | None = None) -> None:
        self.layout = layout
        self.rng = np.random.default_rng(seed)
        self.identifiers = {
            column.name: FreshIdentifiers(column.identifier, None if originals is None else originals[column.name])
            for column in layout.columns
            if column.identifier is not None
        }

    def values(self, frame: pd.DataFrame) -> Iterator[tuple[ColumnLayout, pd.Series]]:
        """Each column of the table with its values: drawn, made anew, the same in all rows, or missing."""
        n = len(frame)
        for column in self.layout.columns:
            if column.treatment == "identifier":
                yield column, self._fresh(column, n)
            elif column.treatment == "constant":
                is_time = column.column.kind == "time" and not column.is_text
                yield column, pd.Series([pd.Timestamp(column.constant) if is_time else column.constant] * n)
            elif column.treatment in ("empty", "left_out") or column.name not in frame.columns:
                yield column, pd.Series([None] * n, dtype=object)
            else:
                yield column, self._without_pool(column, frame[column.name].reset_index(drop=True))

    def text(self, frame: pd.DataFrame) -> list[pa.Array]:
        """The columns as they are spelled, string without null."""
        if self.layout.arrow is None:
            return [write_spellings(column, values, self.rng) for column, values in self.values(frame)]
        columns = self.arrow(frame).combine_chunks().columns
        return [pc.fill_null(_as_text(pa.concat_arrays(column.chunks)), "") for column in columns]

    def arrow(self, frame: pd.DataFrame) -> pa.Table:
        """The columns in their own types, or in those of their kinds."""
        schema = self.layout.arrow or pa.schema([(column.name, _type(column)) for column in self.layout.columns])
        arrays = [
            write_arrow_values(column, self._spelled(column, values), field)
            for (column, values), field in zip(self.values(frame), schema, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _spelled(self, column: ColumnLayout, values: pd.Series) -> pd.Series | pa.Array:
        """Text where the column is text in a table that has types."""
        if self.layout.arrow_schema is None or not column.is_text:
            return values
        return write_spellings(column, values, self.rng, unspelled=None)

    def _fresh(self, column: ColumnLayout, n: int) -> pd.Series:
        """Identifiers made anew, missing as often as they were."""
        drawn = self.identifiers[column.name].draw(n, self.rng)
        is_missing = self.rng.random(n) < column.identifier.missing_share
        values = pd.Series(drawn, dtype="Int64" if drawn.dtype == np.int64 else object)
        return values.mask(is_missing) if is_missing.any() else values

    def _without_pool(self, column: ColumnLayout, values: pd.Series) -> pd.Series:
        """Pooled levels in the column's own word, or else as one of the rows' other levels."""
        if column.column.kind != "categorical" or column.pool == POOLED:
            return values
        is_pooled = (values == POOLED).fillna(False).to_numpy(dtype=bool)
        if not is_pooled.any():
            return values
        if column.pool is not None:
            return values.mask(is_pooled, column.pool)
        others = values[~is_pooled & values.notna()].to_numpy()
        drawn = self.rng.choice(others, int(is_pooled.sum())) if len(others) else None
        replaced = values.astype(object)
        replaced[is_pooled] = drawn
        return replaced


class TableWriter:
    """Writes a table in pieces to an open file; `open_table` makes one."""

    def __init__(self, rows: RowWriter, file: Path, out: Path, n_rows: int | None) -> None:
        self.rows = rows
        self._n_rows = n_rows
        self._parquet: pq.ParquetWriter | None = None
        self._text: IO[bytes] | None = None
        self._closed = contextlib.ExitStack()
        self._path = file
        self._is_parquet = out.name.lower().endswith(".parquet")
        if not self._is_parquet:
            self._dialect = _dialect(rows.layout, out)
            self._text = self._closed.enter_context(file.open("wb"))
            if out.name.lower().endswith(".gz"):
                self._text = self._closed.enter_context(gzip.GzipFile("", "wb", 6, self._text, mtime=0))
            self._text.write(_header(self._dialect))

    def write(self, frame: pd.DataFrame) -> None:
        """Write rows: the learned columns in the dtypes of their kinds."""
        if self._text is not None:
            self._text.write(lines_of(self.rows.text(frame), self._dialect, self.rows.layout))
            return
        table = self.rows.arrow(frame)
        if self._parquet is None:
            schema = _with_range_index(table.schema, self._n_rows)
            self._parquet = self._closed.enter_context(pq.ParquetWriter(self._path, schema))
        self._parquet.write_table(table.replace_schema_metadata(self._parquet.schema.metadata))

    def close(self) -> None:
        """End the file."""
        self._closed.close()


@contextlib.contextmanager
def open_table(
    path: Path,
    layout: Layout,
    seed: int,
    *,
    originals: Mapping[str, np.ndarray] | None = None,
    n_rows: int | None = None,
) -> Iterator[TableWriter]:
    """A table to write to in pieces; `path` (.csv, .tsv, either with .gz, or .parquet) is put in place at the end."""
    with atomic_file(path) as temporary:
        writer = TableWriter(RowWriter(layout, seed, originals), temporary, path, n_rows)
        try:
            yield writer
        finally:
            writer.close()


def write_table(
    frame: pd.DataFrame,
    layout: Layout,
    path: Path,
    seed: int,
    originals: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a frame of learned columns (dtypes of their kinds) as the whole table of `layout`."""
    with open_table(path, layout, seed, originals=originals, n_rows=len(frame)) as table:
        table.write(frame)


def lines_of(columns: list[pa.Array], dialect: Dialect, layout: Layout) -> bytes:
    """Rows of delimited text."""
    if not columns or not len(columns[0]):
        return b""
    cells = [
        _quoted(texts, dialect, k, may_need=column.number is None or column.number.comma)
        for k, (texts, column) in enumerate(zip(columns, layout.columns, strict=True))
    ]
    rows = pc.binary_join_element_wise(
        *[cell.cast(pa.large_string()) for cell in cells], pa.scalar(dialect.delimiter, pa.large_string())
    )
    joined = pc.binary_join(
        pa.LargeListArray.from_arrays([0, len(rows)], rows), pa.scalar(dialect.line_end, pa.large_string())
    )
    return joined[0].as_buffer().to_pybytes() + dialect.line_end.encode()


def _header(dialect: Dialect) -> bytes:
    needs = re.compile(f'["\r\n{re.escape(dialect.delimiter)}]')
    names = [
        '"' + name.replace('"', '""') + '"' if dialect.quotes_header or needs.search(name) else name
        for name in dialect.header
    ]
    text = dialect.delimiter.join(names) + dialect.line_end
    return (b"\xef\xbb\xbf" if dialect.has_mark else b"") + text.encode()


def _quoted(texts: pa.Array, dialect: Dialect, k: int, may_need: bool) -> pa.Array:
    """Values in quotes where the column has them always, or the text needs them."""
    needs = pc.match_substring_regex(texts, f'["\r\n{re.escape(dialect.delimiter)}]') if may_need else None
    always = bool(dialect.quoted) and dialect.quoted[k]
    bare_missing = not (bool(dialect.quotes_missing) and dialect.quotes_missing[k])
    if always or not bare_missing:
        blank = pc.is_in(texts, value_set=pa.array(sorted(BLANK)))
        wanted = pc.if_else(blank, not bare_missing, always)
        needs = wanted if needs is None else pc.or_(needs, wanted)
    if needs is None or not pc.any(needs).as_py():
        return texts
    inside = pc.replace_substring(texts, '"', '""')
    return pc.if_else(needs, pc.binary_join_element_wise('"', inside, '"', ""), texts)


def _dialect(layout: Layout, out: Path) -> Dialect:
    """The table's own dialect; tabs in a .tsv, and no tabs in a .csv."""
    dialect = layout.dialect or Dialect(header=tuple(layout.schema.names))
    is_tsv = ".tsv" in out.name.lower()
    if is_tsv or dialect.delimiter == "\t":
        dialect = dialect.model_copy(update={"delimiter": "\t" if is_tsv else ","})
    return dialect


def _as_text(array: pa.Array) -> pa.Array:
    """Typed values as a CSV has them."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "True", "False")
    if pa.types.is_nested(array.type) or pa.types.is_null(array.type):
        return pa.nulls(len(array), pa.string())
    return array.cast(pa.string())


def _type(column: ColumnLayout) -> pa.DataType:
    if column.treatment in ("constant", "empty"):
        return pa.string()
    if column.identifier is not None:
        return pa.int64() if column.identifier.form in ("integer", "row") else pa.string()
    return _TYPES[column.column.kind]


def _with_range_index(schema: pa.Schema, n_rows: int | None) -> pa.Schema:
    """The schema with pandas' note of a plain index made true: as many rows as there are now."""
    metadata = dict(schema.metadata or {})
    if b"pandas" in metadata:
        notes = json.loads(metadata[b"pandas"])
        for index in notes.get("index_columns", []):
            if isinstance(index, dict) and index.get("kind") == "range":
                index |= {"start": 0, "stop": n_rows or 0, "step": 1}
        metadata[b"pandas"] = json.dumps(notes).encode()
    return schema.with_metadata(metadata)
