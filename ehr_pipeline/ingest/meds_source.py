"""A source that is MEDS already: Parquet files of events, which are read as they are.

What belongs here: recognising them, what is refused, and counting what is not taken over. What does not: mending
(`timelines/mend.py`); dates and codes stay as they are, doubles too.

Memory: half of the machine's at most; sorting spills.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from ehr_pipeline.errors import SourceError
from ehr_pipeline.ingest.header import column_names
from ehr_pipeline.ingest.reading import plain_error, sql_text
from ehr_pipeline.ingest.summary import FileSummary

NEEDED = ("subject_id", "time", "code")
"""Columns that every MEDS file has."""
OPTIONAL = ("numeric_value", "text_value", "hadm_id", "stay_id")
VIEW = "meds_events"
"""Temporary view of the events, in the columns of the event stream."""

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
_NUMBERS = (*_WHOLE, "FLOAT", "DOUBLE")
_TYPES = {
    "subject_id": (_NUMBERS, "whole numbers"),
    "time": (("TIMESTAMP", "DATE"), "timestamps"),
    "code": (("VARCHAR", "ENUM"), "text"),
    "numeric_value": ((*_NUMBERS, "DECIMAL"), "numbers"),
    "text_value": (("VARCHAR", "ENUM"), "text"),
    "hadm_id": (_NUMBERS, "whole numbers"),
    "stay_id": (_NUMBERS, "whole numbers"),
}
_IDS = ("subject_id", "hadm_id", "stay_id")


def meds_files(path: Path) -> list[Path]:
    """The event files of a MEDS folder (`data/**/*.parquet`), of a plain folder of them, or the one file; or none.

    Raises
    ------
    SourceError
        Some files have MEDS columns and others lack one, or a file is damaged.
    """
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" and not _lacks(path) else []
    inside = path / "data"
    files = sorted(inside.rglob("*.parquet")) if inside.is_dir() else []
    files = files or sorted(path.glob("*.parquet"))
    lacks = {file: absent for file in files if (absent := _lacks(file))}
    if lacks and len(lacks) < len(files):
        file, absent = next(iter(lacks.items()))
        raise SourceError(f"{file} lacks the column {absent[0]}, unlike the other events in {path}; move it elsewhere")
    return [] if lacks else files


def view_events(con: duckdb.DuckDBPyConnection, files: Sequence[Path], name: str) -> FileSummary:
    """Make the view `VIEW` of the events that have a subject and a code, and count the others.

    Raises
    ------
    SourceError
        A file cannot be read to its end, lacks a column, has one of another type, or an identifier is not whole.
    """
    relation = f"read_parquet([{', '.join(sql_text(file) for file in files)}], union_by_name = true)"
    try:
        types = {column: kind for column, kind, *_ in con.execute(f"DESCRIBE FROM {relation}").fetchall()}
        _refuse_types(types, name)
        _refuse_ids(con, relation, types, name)
        con.execute(f"CREATE TEMP VIEW {VIEW} AS {_events_sql(relation, types)}")
        counts = con.execute(_COUNTS.format(relation=relation, time=_time_sql(types), odd=_odd_sql(types))).fetchone()
    except duckdb.Error as error:
        raise plain_error(error, name) from None
    n_rows, no_subject, no_code, bad_time, odd = counts
    if n_rows == no_subject + no_code + bad_time:
        raise SourceError(f"{name} holds no event that names a patient and a code")
    aside = {
        "without a subject": no_subject,
        "without a code": no_code,
        "with a time outside the years 1 to 9999": bad_time,
    }
    return FileSummary(
        name=name,
        n_files=len(files),
        n_rows=n_rows,
        n_events=n_rows - sum(aside.values()),
        aside={reason: n for reason, n in aside.items() if n},
        odd=odd,
        unread=tuple(column for column in types if column not in (*NEEDED, *OPTIONAL)),
    )


_IN_YEARS = "(t IS NULL OR (isfinite(t) AND t >= TIMESTAMP '0001-01-01' AND t < TIMESTAMP '10000-01-01'))"
_IS_EVENT = f"subject_id IS NOT NULL AND coalesce(code, '') <> '' AND {_IN_YEARS}"
_COUNTS = f"""
    SELECT count(*), count(*) FILTER (WHERE subject_id IS NULL),
        count(*) FILTER (WHERE subject_id IS NOT NULL AND coalesce(code, '') = ''),
        count(*) FILTER (WHERE subject_id IS NOT NULL AND coalesce(code, '') <> '' AND NOT {_IN_YEARS}),
        count(*) FILTER (WHERE {_IS_EVENT} AND {{odd}})
    FROM (SELECT *, {{time}} AS t FROM {{relation}})"""


def _events_sql(relation: str, types: dict[str, str]) -> str:
    number = _number_sql(types)
    optional = [
        "CAST(text_value AS VARCHAR) AS text_value" if "text_value" in types else "NULL::VARCHAR AS text_value",
        *(f"TRY_CAST({name} AS BIGINT) AS {name}" if name in types else f"NULL::BIGINT AS {name}" for name in _IDS[1:]),
    ]
    return (
        "SELECT CAST(subject_id AS BIGINT) AS subject_id, t AS time, CAST(code AS VARCHAR) AS code, "
        f"CASE WHEN isfinite({number}) THEN {number} END AS numeric_value, {', '.join(optional)} "
        f"FROM (SELECT *, {_time_sql(types)} AS t FROM {relation}) WHERE {_IS_EVENT}"
    )


def _number_sql(types: dict[str, str]) -> str:
    return "TRY_CAST(numeric_value AS FLOAT)" if "numeric_value" in types else "NULL::FLOAT"


def _odd_sql(types: dict[str, str]) -> str:
    """Whether a value is there that float32 does not hold, or that is infinite or NaN."""
    if "numeric_value" not in types:
        return "false"
    return f"numeric_value IS NOT NULL AND NOT isfinite(coalesce({_number_sql(types)}, 'nan'))"


def _time_sql(types: dict[str, str]) -> str:
    """Times with a zone are told in UTC."""
    return "(time AT TIME ZONE 'UTC')" if "TIME ZONE" in types["time"] else "CAST(time AS TIMESTAMP)"


def _refuse_types(types: dict[str, str], name: str) -> None:
    for column, (allowed, wanted) in _TYPES.items():
        if column in types and not types[column].startswith((*allowed, '"NULL"')):
            raise SourceError(f"column {column} of {name} holds {types[column].split('(')[0]}; MEDS wants {wanted}")


def _refuse_ids(con: duckdb.DuckDBPyConnection, relation: str, types: dict[str, str], name: str) -> None:
    """Identifiers that pandas wrote as floats are whole; others are refused."""
    for column in _IDS:
        if types.get(column) in ("FLOAT", "DOUBLE"):
            test = f"isfinite({column}) AND {column} = trunc({column}) AND abs({column}) <= 9007199254740992"
        elif types.get(column) in ("UBIGINT", "HUGEINT"):
            test = f"TRY_CAST({column} AS BIGINT) IS NOT NULL"
        else:
            continue
        (n_bad,) = con.execute(
            f"SELECT count(*) FROM {relation} WHERE NOT isnan({column}::DOUBLE) AND NOT ({test})"
        ).fetchone()
        if n_bad:
            raise SourceError(f"column {column} of {name} holds {n_bad:,} numbers that are not whole, or too large")


def _lacks(path: Path) -> list[str]:
    """Columns of MEDS that a file does not have."""
    present = column_names(path)
    return [name for name in NEEDED if name not in present]
