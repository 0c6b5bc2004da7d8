"""Synthetic events as a Parquet file in the columns and types of the one they were learned from.

What belongs here: files. What does not: drawing. Memory holds the patients of one chunk; the file is
whole or not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.generators.timelines import EVENT_COLUMNS, shortest
from ehr_pipeline.storage import atomic_file


def write_events(out: Path, schema: pa.Schema, chunks: Iterator[pd.DataFrame]) -> int:
    """Write frames of events one after the other; returns the number of events."""
    n_events = 0
    schema = _writable(schema)
    with atomic_file(out) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for chunk in chunks:
            writer.write_table(_table(chunk, schema))
            n_events += len(chunk)
    return n_events


def fresh_ids(real: np.ndarray, n: int) -> np.ndarray:
    """The smallest `n` numbers from 1 that are no real patient's: int64 of shape (n,)."""
    return np.setdiff1d(np.arange(1, n + len(real) + 1), real)[:n]


def _writable(schema: pa.Schema) -> pa.Schema:
    """The schema with room for missing values in what is not learned, and without pandas' notes on the real file."""
    fields = [field if field.name in EVENT_COLUMNS else field.with_nullable(True) for field in schema]
    return pa.schema(fields)


def _table(events: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in EVENT_COLUMNS:
            columns.append(pa.nulls(len(events), field.type))
            continue
        values = events[field.name]
        if field.name == "time":
            array = pa.array(values, pa.timestamp("us"), from_pandas=True)
        elif field.name in ("code", "text_value"):
            array = pa.array(values.astype(object), pa.large_string(), from_pandas=True)
        else:
            numbers = values.to_numpy()
            is_wide = field.name == "numeric_value" and not pa.types.is_float32(field.type)
            array = pa.array(shortest(numbers) if is_wide else numbers, from_pandas=True)
        columns.append(_cast(array, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(array))
    if pa.types.is_dictionary(kind):
        return array.dictionary_encode().cast(kind)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return array.cast(pa.timestamp("us", "UTC")).cast(kind)
    if pa.types.is_integer(kind) and pa.types.is_floating(array.type):
        array = pa.compute.round(array)
    return array.cast(kind, safe=False)
