"""Streams of events for the tests of exports: made by hand, or of a simulated hospital with identifiers taken away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.mimic import tables
from ehr_pipeline.mimic.tables import SCHEMAS
from ehr_pipeline.record import EVENT_SCHEMA

Event = tuple[Any, ...]


def write_stream(path: Path, events: list[Event]) -> Path:
    """Events (subject, time, code, number, text), shorter ones filled up, without hadm_id and stay_id."""
    names = EVENT_SCHEMA.names[:5]
    rows = [(*event, *[None] * (5 - len(event))) for event in events]
    frame = pd.DataFrame(rows, columns=names)
    frame["time"] = pd.to_datetime(frame["time"], format="ISO8601").astype("datetime64[us]")
    schema = pa.schema([EVENT_SCHEMA.field(name) for name in names])
    pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False), path)
    return path


def strip_identifiers(events: Path, target: Path, where: str = "TRUE", name: str = "*.parquet") -> Path:
    """Write the stream in the folder `events` as a generator would: new subjects, no admissions, no stays."""
    columns = "CAST(subject_id * 7 + 13 AS BIGINT) AS subject_id, time, code, numeric_value, text_value"
    duckdb.connect().sql(
        f"COPY (SELECT {columns} FROM read_parquet('{events}/{name}') WHERE {where} "
        f"ORDER BY subject_id, time NULLS FIRST) TO '{target}' (FORMAT parquet)"
    )
    return target


def dictionaries(path: Path) -> Path:
    """A warehouse whose dictionaries hold a few items and codes, and whose other tables are empty."""
    with duckdb.connect(str(path)) as con:
        for schema in SCHEMAS.values():
            con.execute(f"CREATE SCHEMA {schema}")
        for table in tables().values():
            con.execute(table.create_sql())
        con.execute("INSERT INTO mimiciv_hosp.d_labitems VALUES (50912, 'Creatinine', 'Blood', 'Chemistry')")
        con.execute(
            "INSERT INTO mimiciv_icu.d_items (itemid, label, abbreviation, linksto, category, param_type) VALUES "
            "(220045, 'Heart Rate', 'HR', 'chartevents', 'Vitals', 'Numeric'), "
            "(225152, 'Heparin', 'Heparin', 'inputevents', 'Drips', 'Solution'), "
            "(224275, 'Line', 'Line', 'datetimeevents', 'Access', 'Date'), "
            "(226559, 'Foley', 'Foley', 'outputevents', 'Output', 'Numeric'), "
            "(225792, 'Ventilation', 'Vent', 'procedureevents', 'Breathing', 'Process')"
        )
        con.execute("INSERT INTO mimiciv_hosp.d_icd_diagnoses VALUES ('I214', 10, 'NSTEMI')")
    return path
