"""The event stream as sorted Parquet files: of a warehouse's mapped tables, or of any relation of events.

What belongs here: cutting the patients into files small enough to sort, and writing them in the record's
schema. What does not: which row becomes which event (`mimic/events.yaml`, `mapping_sql.py`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.ingest.reading import plain_error, sql_text
from ehr_pipeline.ingest.summary import EventsSummary
from ehr_pipeline.mimic import events_sql, mappings
from ehr_pipeline.mimic.events_sql import undated_sql
from ehr_pipeline.progress import Progress, Step
from ehr_pipeline.record import EVENT_SCHEMA

ROWS_PER_FILE = 5_000_000
ROWS_PER_BATCH = 200_000

# Events of one moment are put in one order, so that the same source always gives the same files.
_ORDER = "subject_id, time NULLS FIRST, code, numeric_value, text_value, hadm_id, stay_id"


def write_stream(
    con: duckdb.DuckDBPyConnection, folder: Path, progress: Progress, rows_per_file: int = ROWS_PER_FILE
) -> EventsSummary:
    """Write the events of a warehouse into `folder`, which exists: each patient in one file, sorted by time.

    A file takes a range of patients with some `rows_per_file` rows in the tables, so that a sort fits in memory.

    Raises
    ------
    ResourceShort
        The disk is full.
    """
    try:
        ranges = _subject_ranges(con, rows_per_file)
        _write_files(con, folder, ranges, lambda subjects: events_sql(subjects=subjects), progress)
        undated = {name: con.execute(sql).fetchone()[0] for name, sql in undated_sql().items()}
        return _summary(con, folder, {name: n_rows for name, n_rows in undated.items() if n_rows})
    except duckdb.Error as error:
        raise plain_error(error, "the event stream") from None


def write_events(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    folder: Path,
    progress: Progress,
    rows_per_file: int = ROWS_PER_FILE,
) -> EventsSummary:
    """Write the events of `relation`, which has the columns of the event stream, as `write_stream` does.

    A file holds `rows_per_file` events, or those of one patient who has more.

    Raises
    ------
    ResourceShort
        The disk is full.
    """
    before = f"(sum(n) OVER (ORDER BY subject_id) - n) // {rows_per_file}"
    counted = f"(SELECT subject_id, count(*) AS n FROM {relation} GROUP BY subject_id)"
    try:
        lasts = con.execute(
            f"SELECT max(subject_id) FROM (SELECT subject_id, {before} AS part FROM {counted}) GROUP BY part ORDER BY 1"
        ).fetchall()
        ranges = _ranges([last for (last,) in lasts])
        columns = ", ".join(EVENT_SCHEMA.names)
        _write_files(
            con, folder, ranges, lambda subjects: f"SELECT {columns} FROM {relation} WHERE {subjects}", progress
        )
        return _summary(con, folder, {})
    except duckdb.Error as error:
        raise plain_error(error, "the event stream") from None


def _write_files(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    ranges: list[str],
    sql_of: Callable[[str], str],
    progress: Progress,
) -> None:
    begin = time.monotonic()
    for done, subjects in enumerate(ranges, start=1):
        _write_file(con, folder / f"{done - 1:04d}.parquet", sql_of(subjects))
        elapsed_s = time.monotonic() - begin
        progress(Step(task="events", done=done, total=len(ranges), unit="files", elapsed_s=elapsed_s))


def _subject_ranges(con: duckdb.DuckDBPyConnection, rows_per_file: int) -> list[str]:
    """Predicates over subject_id that cut the patients into ranges, without a gap or an overlap."""
    n_rows = sum(con.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in mappings())
    n_files = max(1, -(-n_rows // rows_per_file))
    lasts = con.execute(
        "SELECT max(subject_id) FROM (SELECT subject_id, ntile(?) OVER (ORDER BY subject_id) AS part "
        "FROM mimiciv_hosp.patients) GROUP BY part ORDER BY part",
        [n_files],
    ).fetchall()
    return _ranges([last for (last,) in lasts])


def _ranges(lasts: list[int]) -> list[str]:
    """Predicates over subject_id: up to each of the patients `lasts` but the last one, and beyond."""
    bounds = lasts[:-1]
    if not bounds:
        return ["TRUE"]
    between = [f"subject_id > {low} AND subject_id <= {high}" for low, high in itertools.pairwise(bounds)]
    return [f"subject_id <= {bounds[0]}", *between, f"subject_id > {bounds[-1]}"]


def _write_file(con: duckdb.DuckDBPyConnection, path: Path, events: str) -> None:
    """Write one file, a batch at a time. Arrow writes it, so that the schema is the record's to the letter."""
    batches = con.sql(f"SELECT * FROM ({events}) ORDER BY {_ORDER}").to_arrow_reader(ROWS_PER_BATCH)
    with pq.ParquetWriter(path, EVENT_SCHEMA, compression="zstd") as writer:
        for batch in batches:
            arrays = [batch.column(field.name).cast(field.type) for field in EVENT_SCHEMA]
            writer.write_batch(pa.record_batch(arrays, schema=EVENT_SCHEMA))


def _summary(con: duckdb.DuckDBPyConnection, folder: Path, undated: dict[str, int]) -> EventsSummary:
    paths = sorted(folder.iterdir())
    files = ", ".join(sql_text(path) for path in paths)
    n_events, n_subjects, n_codes = con.execute(
        f"SELECT count(*), count(DISTINCT subject_id), count(DISTINCT code) FROM read_parquet([{files}])"
    ).fetchone()
    return EventsSummary(n_events=n_events, n_subjects=n_subjects, n_codes=n_codes, n_files=len(paths), undated=undated)
