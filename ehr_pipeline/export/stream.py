"""Reading the event stream that is exported.

What belongs here: whether files are a stream of events, as a relation of DuckDB. What does not: what the events say.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from ehr_pipeline.errors import SourceError
from ehr_pipeline.ingest.reading import sql_text

_TYPES = {"subject_id": "BIGINT", "time": "TIMESTAMP", "code": "VARCHAR", "numeric_value": "FLOAT"}


def stream_relation(con: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> str:
    """SQL of the events in the Parquet files `paths`, in the columns of the event stream.

    text_value, hadm_id and stay_id are null where the files lack them.

    Raises
    ------
    SourceError
        A file is no Parquet, lacks a column, or has an event without a subject or a code.
    """
    files = ", ".join(sql_text(path) for path in paths)
    try:
        present = {name for name, *_ in con.execute(f"DESCRIBE FROM read_parquet([{files}])").fetchall()}
    except duckdb.Error:
        raise SourceError(f"{paths[0] if paths else 'the stream'} cannot be read as Parquet; make it again") from None
    if absent := [name for name in _TYPES if name not in present]:
        raise SourceError(f"{paths[0]} lacks the column {absent[0]}; an event stream has {', '.join(_TYPES)}")
    columns = [f"TRY_CAST({name} AS {type_}) AS {name}" for name, type_ in _TYPES.items()]
    columns.append("CAST(text_value AS VARCHAR) AS text_value" if "text_value" in present else "NULL AS text_value")
    columns += [
        f"TRY_CAST({name} AS BIGINT) AS {name}" if name in present else f"NULL::BIGINT AS {name}"
        for name in ("hadm_id", "stay_id")
    ]
    relation = f"(SELECT {', '.join(columns)} FROM read_parquet([{files}]))"
    ((n_bad,),) = con.execute(f"SELECT count(*) FROM {relation} WHERE subject_id IS NULL OR code IS NULL").fetchall()
    if n_bad:
        raise SourceError(f"{paths[0]} has {n_bad:,} events without a subject_id or a code; both must be there")
    return relation
