"""Events as a MEDS data set: `data/*.parquet` and `metadata/`, valid against the `meds` package's schemas.

What belongs here: the layout of MEDS 0.4 (https://github.com/Medical-Event-Data-Standard/meds). What does not: what
the events say; they are written as they are, sorted by subject and time. `hadm_id` and `stay_id` ride along where an
event has one, as MEDS allows, so that cohorts find admissions and stays in what is read back.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import meds
import pyarrow as pa
import pyarrow.parquet as pq

import ehr_pipeline
from ehr_pipeline import storage
from ehr_pipeline.export.stream import stream_relation
from ehr_pipeline.ingest.connection import open_to_build
from ehr_pipeline.ingest.reading import sql_text
from ehr_pipeline.record import EVENT_SCHEMA

ROWS_PER_BATCH = 200_000
SPLITS = ((8, meds.train_split), (9, meds.tuning_split), (10, meds.held_out_split))
"""Tenths of the patients up to which each split goes."""

# A code's words are in the public dictionaries: the item or the ICD code that stands in it.
_DESCRIPTIONS = """
    SELECT c.code, coalesce(l.label, i.label, d.long_title, p.long_title) AS description,
        CAST(NULL AS VARCHAR[]) AS parent_codes
    FROM (SELECT code, string_split(code, '//') AS part FROM (SELECT DISTINCT code FROM events)) c
        LEFT JOIN source.mimiciv_hosp.d_labitems l ON part[1] = 'LAB' AND TRY_CAST(part[2] AS INTEGER) = l.itemid
        LEFT JOIN source.mimiciv_icu.d_items i ON part[1] IN ('VITAL', 'INPUT', 'OUTPUT', 'INGREDIENT', 'DATETIME')
            AND TRY_CAST(part[2] AS INTEGER) = i.itemid
        LEFT JOIN source.mimiciv_hosp.d_icd_diagnoses d ON part[1] = 'DIAGNOSIS'
            AND TRY_CAST(part[3] AS SMALLINT) = d.icd_version AND part[4] = d.icd_code
        LEFT JOIN source.mimiciv_hosp.d_icd_procedures p ON part[1] = 'PROCEDURE' AND part[2] = 'ICD'
            AND TRY_CAST(part[3] AS SMALLINT) = p.icd_version AND part[4] = p.icd_code
    ORDER BY c.code"""


@dataclass(frozen=True)
class MedsExport:
    """What was written."""

    out: Path
    n_events: int
    n_subjects: int

    def __str__(self) -> str:
        return f"{self.n_events:,} events of {self.n_subjects:,} patients"


def export_meds(events: Sequence[Path], dictionaries: Path, folder: Path, *, name: str) -> MedsExport:
    """Write events as a MEDS data set into the folder `folder`, which exists and is empty.

    `dictionaries` is a warehouse, of which the public dictionaries give the codes' descriptions; `name` is the data
    set's. Splits are 80 / 10 / 10 % of the patients, by a hash. Memory: one batch of rows; sorting spills.

    Raises
    ------
    SourceError
        The files are no event stream.
    """
    data, metadata = folder / meds.data_subdirectory, folder / Path(meds.code_metadata_filepath).parent
    storage.private_folder(data)
    storage.private_folder(metadata)
    with (
        storage.scratch_folder(folder / ".spill") as spill,
        open_to_build(spill / "events.duckdb", spill / "spill", "the event stream") as con,
    ):
        con.execute(
            f"CREATE TABLE events AS SELECT row_number() OVER () AS event, * FROM {stream_relation(con, events)}"
        )
        con.execute(f"ATTACH {sql_text(dictionaries)} AS source (READ_ONLY)")
        _write_data(con, data / "0.parquet")
        pq.write_table(
            meds.CodeMetadataSchema.align(con.sql(_DESCRIPTIONS).to_arrow_table()), folder / meds.code_metadata_filepath
        )
        ends = " ".join(f"WHEN tenth < {end} THEN '{split}'" for end, split in SPLITS)
        splits = f"SELECT subject_id, CASE {ends} END AS split FROM ({_TENTHS}) ORDER BY subject_id"
        table = meds.SubjectSplitSchema.align(con.sql(splits).to_arrow_table())
        pq.write_table(table, folder / meds.subject_splits_filepath)
        ((n_events,),) = con.execute("SELECT count(*) FROM events").fetchall()
    storage.write_json(folder / meds.dataset_metadata_filepath, _about(name))
    return MedsExport(folder, n_events, table.num_rows)


_TENTHS = "SELECT DISTINCT subject_id, hash(subject_id) % 10 AS tenth FROM events"


def _write_data(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write the events a batch at a time, in the schema's types to the letter."""
    known = con.execute("SELECT count(hadm_id) > 0, count(stay_id) > 0 FROM events").fetchall()[0]
    riding = [name for name, is_known in zip(("hadm_id", "stay_id"), known, strict=True) if is_known]
    schema = pa.schema([*meds.DataSchema.schema(), *(EVENT_SCHEMA.field(name) for name in riding)])
    rows = con.sql(f"SELECT {', '.join(schema.names)} FROM events ORDER BY subject_id, time NULLS FIRST, event")
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in rows.to_arrow_reader(ROWS_PER_BATCH):
            writer.write_table(meds.DataSchema.align(pa.Table.from_batches([batch])).cast(schema))


def _about(name: str) -> dict[str, str]:
    return {
        "dataset_name": name,
        "dataset_version": "synthetic",
        "etl_name": "ehr_pipeline",
        "etl_version": getattr(ehr_pipeline, "__version__", "0"),
        "meds_version": meds.__version__,
        "created_at": datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat(timespec="seconds"),
    }
