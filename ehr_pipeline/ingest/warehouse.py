"""The warehouse: a DuckDB database with MIMIC-IV's own schemas, tables and types.

What belongs here: how it is filled. What does not: how it is opened (`connection.py`), what is checked (`checks.py`),
when it takes the place of the old one (`ingest.py`).
"""

from __future__ import annotations

import time

import duckdb

from ehr_pipeline.errors import SourceError
from ehr_pipeline.ingest.checks import refuse_table
from ehr_pipeline.ingest.reading import read_into_table
from ehr_pipeline.ingest.source import SourceFile
from ehr_pipeline.ingest.summary import TableSummary
from ehr_pipeline.mimic.tables import SCHEMAS, tables
from ehr_pipeline.progress import Progress, Step


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
