"""Reading a source of each kind: into the warehouse, into events, and into words.

What belongs here: the steps for MIMIC-IV, for MEDS and for a mapping, and the notes on what was found. What does not:
when the outcome takes the place of the old one (`ingest.py`).
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from ehr_pipeline.ingest.checks import refuse_references
from ehr_pipeline.ingest.mapped import STAGED, stage
from ehr_pipeline.ingest.meds_source import VIEW, view_events
from ehr_pipeline.ingest.reading import sql_text
from ehr_pipeline.ingest.recognise import MappedSource, MedsSource
from ehr_pipeline.ingest.source import Source
from ehr_pipeline.ingest.stream import write_events, write_stream
from ehr_pipeline.ingest.summary import EventsSummary, IngestSummary, TableSummary
from ehr_pipeline.ingest.warehouse import fill
from ehr_pipeline.progress import Progress


def read_source(
    con: duckdb.DuckDBPyConnection, source: Source | MedsSource | MappedSource, events: Path, progress: Progress
) -> IngestSummary:
    """Fill a new warehouse, and the folder `events` with the event stream.

    Of MEDS and of a mapping there are events alone; MIMIC-IV's tables are created and stay empty, so that what reads
    a warehouse (dictionaries, checks) finds them.

    Raises
    ------
    SourceError, ResourceShort
        As `warehouse.fill`, `meds_source.view_events`, `mapped.stage` and `stream.write_events` do.
    """
    if isinstance(source, Source):
        return _read_mimic(con, source, events, progress)
    tables = fill(con, (), progress)
    title = None
    if isinstance(source, MedsSource):
        files = (view_events(con, source.files, str(source.folders[0])),)
        stream = write_events(con, VIEW, events, progress)
    else:
        title = source.mapping.title
        files = stage(con, source.mapping, source.layouts, progress)
        stream = write_events(con, STAGED, events, progress)
    return IngestSummary(
        tables=tables,
        events=stream,
        notes=(*(str(file) for file in files), *_doubts(con, events)),
        form="meds" if isinstance(source, MedsSource) else "mapping",
        mapping=title,
        files=files,
    )


def _read_mimic(con: duckdb.DuckDBPyConnection, source: Source, events: Path, progress: Progress) -> IngestSummary:
    tables = fill(con, source.files, progress)
    warnings = refuse_references(con, [file.table for file in source.files])
    stream = write_stream(con, events, progress)
    return IngestSummary(tables=tables, events=stream, notes=_notes(source, tables, stream, warnings))


def _doubts(con: duckdb.DuckDBPyConnection, events: Path) -> list[str]:
    """What is odd about the events and was kept, one line for each kind; a patient lies in one file."""
    totals = [0] * len(_DOUBT_WORDS)
    for path in sorted(events.iterdir()):
        file = f"read_parquet({sql_text(path)})"
        counts = con.execute(_DOUBTS.format(file=file)).fetchone()
        totals = [total + n for total, n in zip(totals, counts, strict=True)]
    return [f"{n:,} {what}" for n, what in zip(totals, _DOUBT_WORDS, strict=True) if n]


_DOUBTS = """
    WITH birth AS (
        SELECT subject_id, min(time) AS born, count(DISTINCT time) AS n FROM {file}
        WHERE code = 'MEDS_BIRTH' AND time IS NOT NULL GROUP BY subject_id
    )
    SELECT (SELECT count(*) FROM {file}) - (SELECT count(*) FROM (SELECT DISTINCT * FROM {file})),
        (SELECT count(*) FROM {file} JOIN birth USING (subject_id) WHERE time < born),
        (SELECT count(*) FROM birth WHERE n > 1),
        (SELECT count(*) FROM {file} WHERE (hadm_id IS NULL AND starts_with(code, 'ADMISSION//'))
            OR (stay_id IS NULL AND (starts_with(code, 'ICU_ADMISSION//') OR starts_with(code, 'ED_ARRIVAL//'))))"""
_DOUBT_WORDS = (
    "events say to the letter what another one says: kept",
    "events lie before their patient's birth: kept; generators of timelines leave them out",
    "patients have more than one MEDS_BIRTH: kept; the first one counts",
    "admissions and stays have no hadm_id or stay_id: cohorts do not find them",
)


def _notes(
    source: Source, tables: dict[str, TableSummary], stream: EventsSummary, warnings: list[str]
) -> tuple[str, ...]:
    """What a reader should know of MIMIC-IV tables, one line for each kind of thing."""
    short = {name: name.split(".")[1] for name in tables}
    listed = {
        "tables not in the source, created empty": [short[name] for name, table in tables.items() if not table.file],
        "tables with a header and no rows": [
            short[name] for name, table in tables.items() if table.file and not table.n_rows
        ],
        "columns that MIMIC-IV doesn't have, left out": [
            f"{file.table.short_name}.{name}" for file in source.files for name in file.unknown_columns
        ],
        "files not read": [path.name for path in source.unread if path.suffix.lower() in (".csv", ".gz", ".parquet")],
        "rows without a time, not in the event stream": [
            f"{short[name]} {n_rows:,}" for name, n_rows in stream.undated.items()
        ],
        "references that lead nowhere, of those that MIMIC-IV leaves open": warnings,
    }
    return tuple(f"{what}: {', '.join(names)}" for what, names in listed.items() if names)
