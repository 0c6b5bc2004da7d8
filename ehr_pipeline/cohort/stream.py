"""The event stream as DuckDB sees it: read-only, and locked before any definition is looked at.

What belongs here: the connection on which cohort predicates run. It can read the event files, write the files it was
given, and nothing else: no other file, no network, no extension, no change of these settings.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from ehr_pipeline.errors import NotReady, ResourceShort
from ehr_pipeline.record import EVENT_SCHEMA
from ehr_pipeline.storage import DataFolder, private_folder
from ehr_pipeline.writing import own_prefix


@contextlib.contextmanager
def locked_connection(
    folder: Path, readable: Sequence[Path], writable: Sequence[Path] = ()
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection in memory, with a view `events` over the Parquet files `readable`.

    It spills into a private folder inside `folder` that is gone afterwards.

    Raises
    ------
    NotReady
        The files are no event stream.
    ResourceShort
        Memory or disk ran out.
    """
    with tempfile.TemporaryDirectory(prefix=own_prefix(), dir=private_folder(folder)) as spill:
        connection = duckdb.connect(config={"temp_directory": spill})
        try:
            _view_events(connection, readable)
            allowed = ", ".join(quoted(str(path)) for path in [*readable, *writable])
            connection.execute(f"SET allowed_paths = [{allowed}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield connection
        except duckdb.OutOfMemoryException:
            raise ResourceShort("memory ran out; close other programs or use a machine with more memory") from None
        except duckdb.IOException as error:
            if "No space left" in str(error):
                raise ResourceShort("the disk is full; nothing was written, free space and repeat") from None
            raise NotReady("the event files cannot be read to their end; ingest the source again") from None
        finally:
            connection.close()


def event_files(data: DataFolder) -> list[Path]:
    """The Parquet files of the event stream.

    Raises
    ------
    NotReady
        There are none.
    """
    files = sorted(data.events.glob("*.parquet")) if data.events.exists() else []
    if not files:
        raise NotReady(f"{data.events} holds no events yet; ingest a source first")
    return files


def _view_events(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    try:
        events = connection.read_parquet([str(path) for path in files])
    except duckdb.Error:
        raise NotReady("the event files cannot be read as Parquet; ingest the source again") from None
    if absent := [name for name in EVENT_SCHEMA.names if name not in events.columns]:
        raise NotReady(f"the event files lack the columns {', '.join(absent)}; ingest the source again")
    events.create_view("events")


def copy_to(connection: duckdb.DuckDBPyConnection, select: str, target: Path) -> None:
    """Write the rows of a query as Parquet to a path that the connection may write."""
    # Without USE_TMP_FILE DuckDB writes to another name first, which the lock refuses; `target` is temporary itself.
    connection.execute(
        f"COPY ({select}) TO {quoted(str(target))} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
    )


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
