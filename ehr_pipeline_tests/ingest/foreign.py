"""A made-up hospital that is no MIMIC-IV: its files, and a mapping that describes them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import duckdb
import yaml

from ehr_pipeline.ingest import IngestSummary, ingest
from ehr_pipeline.storage import DataFolder

MAPPING: dict[str, Any] = {
    "title": "A hospital",
    "origin": "2000-01-01",
    "files": [
        {
            "file": "values",
            "subject_id": "id",
            "time": {"column": "minute", "unit": "minutes"},
            "events": [{"code": "OWN//{name}", "unit": "{unit}", "value": "value"}],
        }
    ],
}
VALUES = "id,minute,name,unit,value\n1,0,HR,bpm,80\n1,90,HR,bpm,81.5\n2,30,rhythm,,sinus\n"


def mapping(**changed: Any) -> dict[str, Any]:
    """The mapping with keys of its one file changed; None takes one away."""
    file = {key: entry for key, entry in (MAPPING["files"][0] | changed).items() if entry is not None}
    return MAPPING | {"files": [file]}


def write_source(folder: Path, content: dict[str, Any] | str | None = None, **files: str | bytes) -> Path:
    """A source with its own mapping; `files` are stems of CSV files, one of bytes being compressed."""
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else yaml.safe_dump(content or MAPPING, allow_unicode=True)
    (folder / "mapping.yaml").write_text(text, encoding="utf-8")
    for stem, written in (files or {"values": VALUES}).items():
        if isinstance(written, bytes):
            (folder / f"{stem}.csv.gz").write_bytes(gzip.compress(written))
        else:
            (folder / f"{stem}.csv").write_text(written, encoding="utf-8")
    return folder


def read(folder: Path, data: DataFolder) -> tuple[IngestSummary, list[tuple]]:
    """Ingest a folder; its summary, and the events with times as text."""
    summary = ingest([folder], data)
    events = (
        duckdb.connect()
        .execute(
            "SELECT subject_id, time::VARCHAR, code, numeric_value, text_value, hadm_id, stay_id "
            f"FROM read_parquet('{data.events}/*.parquet') ORDER BY ALL NULLS FIRST"
        )
        .fetchall()
    )
    return summary, events
