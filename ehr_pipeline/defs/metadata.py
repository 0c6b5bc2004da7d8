"""What assets say about themselves in the UI: counts, schemas and paths, never a row."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from ehr_pipeline.record import Schema

OWNERS = ["team:data-engineering"]
PHI = {"phi": "true"}
SYNTHETIC = {"phi": "restricted"}
RELEASED = {"phi": "released"}


def column_schema(columns: Iterable[tuple[str, str, str | None]]) -> dg.TableSchema:
    """A TableSchema from (name, type, description)."""
    return dg.TableSchema([dg.TableColumn(name, type=kind, description=text) for name, kind, text in columns])


def parquet_metadata(path: Path) -> dict[str, Any]:
    """Row count, columns and place of a Parquet file, from its footer alone."""
    file = pq.ParquetFile(path)
    columns = column_schema((field.name, str(field.type), None) for field in file.schema_arrow)
    return {
        "dagster/row_count": file.metadata.num_rows,
        "dagster/column_schema": columns,
        "file": dg.MetadataValue.path(str(path)),
    }


def patient_table_schema(schema: Schema) -> dg.TableSchema:
    """Columns of a patient table with kind, unit and title."""
    return column_schema(
        (column.name, column.kind, " ".join(filter(None, (column.title, f"[{column.unit}]" if column.unit else ""))))
        for column in schema.columns
    )


def picture(png: bytes, text: str) -> dg.MetadataValue:
    """A small PNG that the UI shows; keep it under 60 KB, since each lands in Dagster's database."""
    return dg.MetadataValue.md(f"![{text}](data:image/png;base64,{base64.b64encode(png).decode()})")
