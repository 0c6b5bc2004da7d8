"""A table as a DuckDB database of one table, for those who query rather than load.

What belongs here: writing it, whatever its columns are called. Names and paths are quoted or bound, and the connection
can read nothing but the table and write nothing but the database.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

TABLE = "patients"
BLOCK_BYTES = 16_384
"""The smallest block of DuckDB: at its default of 256 KiB a small table would be mostly padding."""


def write_database(table: Path, target: Path) -> None:
    """Write a Parquet table into `target`, a new database, as table `patients`; it is streamed."""
    source, database = (str(path.resolve()).replace("'", "''") for path in (table, target))
    with duckdb.connect() as connection:
        connection.execute(f"SET allowed_paths = ['{source}', '{database}', '{database}.wal']")
        connection.execute(f"ATTACH '{database}' AS released (BLOCK_SIZE {BLOCK_BYTES})")
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        connection.execute(f"CREATE TABLE released.{TABLE} AS SELECT * FROM read_parquet('{source}')")
        connection.execute("CHECKPOINT released; DETACH released")
