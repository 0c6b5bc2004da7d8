"""Reading one file into its table: the SQL, and what is said when DuckDB can't.

What belongs here: one pass over one file, and the words for its faults. DuckDB's own messages quote the
cells that they complain about; they are looked at and never passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from ehr_pipeline.errors import EhrPipelineError, ResourceShort, SourceError
from ehr_pipeline.ingest.source import SourceFile
from ehr_pipeline.mimic.tables import Column

_KINDS = {
    "INTEGER": "whole number",
    "SMALLINT": "whole number",
    "DOUBLE": "number",
    "FLOAT": "number",
    "TIMESTAMP": "readable time",
    "DATE": "readable date",
}
_FAULTS = {
    "MISSING COLUMNS": "has fewer cells than the header",
    "TOO MANY COLUMNS": "has more cells than the header",
    "UNQUOTED VALUE": "has a quote that is not closed, or text beside a quoted cell",
    "LINE SIZE OVER MAXIMUM": "is longer than 2 MB: a quote may not be closed",
    "INVALID ENCODING": "is not UTF-8 text; save the whole file as UTF-8",
}
MAX_FAULTS = 1000


def sql_text(text: str | Path) -> str:
    """A text as an SQL literal."""
    doubled = str(text).replace("'", "''")
    return f"'{doubled}'"


def read_into_table(con: duckdb.DuckDBPyConnection, file: SourceFile) -> int:
    """Append the rows of `file` to its table in one pass; returns how many.

    Raises
    ------
    SourceError
        A cell is not of its column's type, a row is malformed, the file is damaged. Rows are counted as a
        spreadsheet does: the header is row 1.
    ResourceShort
        The disk or the memory is full.
    """
    columns = ", ".join(file.table.column_names)
    try:
        if file.is_parquet:
            _refuse_casts(con, file)
        insert = f"INSERT INTO {file.table.name} ({columns}) SELECT {columns} FROM {_relation(file)}"
        (n_rows,) = con.execute(insert).fetchone()
        if not file.is_parquet:
            kinds = {column.name: _KINDS[column.type] for column in file.table.columns if column.type in _KINDS}
            refuse_faults(con, file.path, kinds)
    except duckdb.Error as error:
        raise plain_error(error, f"{file.path}") from None
    return n_rows


def plain_error(error: duckdb.Error, what: str) -> EhrPipelineError:
    """What a DuckDB error means for `what`, without a word of its message."""
    text = str(error).lower()
    if any(sign in text for sign in ("no space left", "disk quota", "file too large", "max_temp_directory_size")):
        return ResourceShort(f"the data folder's disk is full, at {what}; free space and repeat, nothing was lost")
    if isinstance(error, duckdb.OutOfMemoryException):
        return ResourceShort(f"memory ran out, at {what}; repeat with less else running, nothing was lost")
    if "gzip" in text or "inflate" in text:
        return SourceError(f"{what} is a truncated or damaged gzip file; copy it again")
    if "permission denied" in text:
        return SourceError(f"{what} may not be read by this user; change its permissions")
    return SourceError(f"{what} cannot be read; check that it is whole and what its name says")


def _relation(file: SourceFile) -> str:
    if file.is_parquet:
        return f"read_parquet({sql_text(file.path)})"
    types = ", ".join(
        f"{sql_text(name)}: '{file.table[name].type}'"
        if name in file.table.column_names
        else f"'unknown_{place}': 'VARCHAR'"
        for place, name in enumerate(file.header)
    )
    return (
        f"read_csv({sql_text(file.path)}, columns = {{{types}}}, header = true, auto_detect = false, delim = ',', "
        f"quote = '\"', escape = '\"', store_rejects = true, rejects_limit = {MAX_FAULTS})"
    )


def refuse_faults(con: duckdb.DuckDBPyConnection, path: Path, kinds: Mapping[str, str]) -> None:
    """Refuse the file if DuckDB set rows aside; only their place and kind of fault are looked at.

    `kinds` says what a cell of a column must be. The first faulty file is the last one read, so what stands there is
    of this file.
    """
    # A row that is broken as a whole has bad cells as a consequence, so that fault is named first.
    faults = con.execute(
        "SELECT line, column_name, error_type::VARCHAR FROM reject_errors "
        "ORDER BY line, error_type::VARCHAR = 'CAST', column_idx"
    ).fetchall()
    if not faults:
        return
    row, column, kind = faults[0]
    what = _FAULTS.get(kind) or f"has no {kinds.get(column, 'readable cell')} in column {column}"
    n_rows = len({fault[0] for fault in faults})
    limit = " or more" if len(faults) >= MAX_FAULTS else ""
    more = f" ({n_rows:,}{limit} rows have faults)" if n_rows > 1 else ""
    raise SourceError(f"{path}: row {row} {what}{more}")


def _refuse_casts(con: duckdb.DuckDBPyConnection, file: SourceFile) -> None:
    """Refuse a Parquet file with values that its table can't hold. Columns of the right type cost nothing."""
    relation = f"read_parquet({sql_text(file.path)}, file_row_number = true)"
    present = {name.lower(): (name, type_) for name, type_, *_ in con.execute(f"DESCRIBE FROM {relation}").fetchall()}
    for column in file.table.columns:
        name, type_ = present[column.name]
        if column.type in (type_, "VARCHAR"):
            continue
        quoted = '"' + name.replace('"', '""') + '"'
        n_failed, first = con.execute(
            f"SELECT count(*), min(file_row_number) FROM {relation} "
            f"WHERE {quoted} IS NOT NULL AND TRY_CAST({quoted} AS {column.type}) IS NULL"
        ).fetchone()
        if n_failed:
            raise SourceError(
                f"{file.path}: record {first + 1} has no {_kind(column)} in column {column.name} ({n_failed:,} in all)"
            )


def _kind(column: Column) -> str:
    """What a cell of the column must be, after `no`."""
    return _KINDS[column.type]
