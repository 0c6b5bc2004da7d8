"""The warehouse: a DuckDB database with MIMIC-IV's own schemas, tables and types.

What belongs here: how it is opened, for building and for reading, and how it is filled. What does not: what is
checked (`checks.py`), when it takes the place of the old one (`ingest.py`).
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from ehr_pipeline import storage
from ehr_pipeline.errors import SourceError
from ehr_pipeline.ingest.checks import refuse_table
from ehr_pipeline.ingest.reading import plain_error, read_into_table, sql_text
from ehr_pipeline.ingest.source import SourceFile
from ehr_pipeline.ingest.summary import TableSummary
from ehr_pipeline.mimic.tables import SCHEMAS, tables
from ehr_pipeline.progress import Progress, Step


@contextlib.contextmanager
def open_to_build(database: Path, spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A new database at `database`; what doesn't fit in half of the memory is spilled to `spill`.

    An error of DuckDB's inside the block becomes one of ours, without its words.
    """
    con = duckdb.connect(database, config=_settings(spill))
    try:
        yield con
        con.execute("CHECKPOINT")  # here, where a full disk can still be told, and not while closing
    except duckdb.Error as error:
        raise plain_error(error, "the new warehouse") from None
    finally:
        con.close()


@contextlib.contextmanager
def connect(data: storage.DataFolder) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse, read-only: `mimiciv_hosp.patients` and so on. A new ingest meanwhile doesn't disturb it.

    Raises
    ------
    NotReady
        Nothing has been ingested.
    """
    path = storage.require(data.warehouse, "run `ehr-pipeline ingest` first")
    # An instance of its own: DuckDB would hand out an open instance of the same path, of the file before it.
    with tempfile.TemporaryDirectory(prefix=storage.TEMPORARY_PREFIX, dir=data.root) as spill:
        con = duckdb.connect(config=_settings(Path(spill)))
        try:
            con.execute(f"ATTACH {sql_text(path)} AS warehouse (READ_ONLY)")
            con.execute("USE warehouse")
            yield con
        finally:
            con.close()


def fill(con: duckdb.DuckDBPyConnection, files: tuple[SourceFile, ...], progress: Progress) -> dict[str, TableSummary]:
    """Create every table and read the files into theirs, each checked by itself as soon as it is read.

    Raises
    ------
    SourceError, ResourceShort
        As `reading.read_into_table` and `checks.refuse_table` do.
    """
    for schema in SCHEMAS.values():
        con.execute(f"CREATE SCHEMA {schema}")
    for table in tables().values():
        con.execute(table.create_sql())
    begin = time.monotonic()
    n_rows = {}
    for done, file in enumerate(files, start=1):
        n_rows[file.table.name] = read_into_table(con, file)
        if file.table.required and not n_rows[file.table.name]:
            raise SourceError(f"{file.path} has a header but no rows; {file.table.short_name} is required")
        refuse_table(con, file.table, file.path)
        elapsed_s = time.monotonic() - begin
        progress(Step(task="read", done=done, total=len(files), unit="tables", elapsed_s=elapsed_s))
    names = {file.table.name: file.path.name for file in files}
    return {
        name: TableSummary(
            name=name,
            file=names.get(name),
            n_rows=n_rows.get(name, 0),
            columns=tuple((column.name, column.type) for column in table.columns),
        )
        for name, table in tables().items()
    }


def _settings(spill: Path) -> dict[str, str]:
    """Settings of every connection: half of the memory, the rest spilled here, no extension fetched from outside."""
    return {
        "memory_limit": "50%",
        "temp_directory": str(spill),
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
    }
