"""Connections to the warehouse: for building it to one side, and for reading it.

What belongs here: how DuckDB is opened, with which limits. What does not: what is written (`warehouse.py`).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from ehr_pipeline import storage
from ehr_pipeline.ingest.reading import plain_error, sql_text
from ehr_pipeline.writing import own_prefix


@contextlib.contextmanager
def open_to_build(database: Path, spill: Path, what: str = "the new warehouse") -> Iterator[duckdb.DuckDBPyConnection]:
    """A new database at `database`; what doesn't fit in half of the memory is spilled to `spill`.

    An error of DuckDB's inside the block becomes one of ours that names `what`, without its words.
    """
    con = duckdb.connect(database, config=_settings(spill))
    try:
        yield con
        con.execute("CHECKPOINT")  # here, where a full disk can still be told, and not while closing
    except duckdb.Error as error:
        raise plain_error(error, what) from None
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
    with tempfile.TemporaryDirectory(prefix=own_prefix(), dir=data.root) as spill:
        con = duckdb.connect(config=_settings(Path(spill)))
        try:
            con.execute(f"ATTACH {sql_text(path)} AS warehouse (READ_ONLY)")
            con.execute("USE warehouse")
            yield con
        finally:
            con.close()


def _settings(spill: Path) -> dict[str, str]:
    """Settings of every connection: half of the memory, the rest spilled here, no extension fetched from outside."""
    return {
        "memory_limit": "50%",
        "temp_directory": str(spill),
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
    }
