"""Tables -> events: the SQL made of the declared mapping.

What belongs here: one SELECT per event kind, in the columns of `record.EVENT_SCHEMA`. What does not: sorting,
files (`ingest/stream.py`).
"""

from __future__ import annotations

from collections.abc import Collection

from ehr_pipeline.mimic.mapping import EventKind, Mapping, mappings
from ehr_pipeline.mimic.tables import tables


def events_sql(names: Collection[str] | None = None, subjects: str = "TRUE") -> str:
    """SQL of the events of the tables in `names` (all mapped ones if None), not sorted.

    `subjects` is a predicate over `subject_id` that chooses patients. A row whose time is unknown isn't an
    event: null time means static, and nothing says that it is.
    """
    chosen = [mapping for name, mapping in mappings().items() if names is None or name in names]
    return "\nUNION ALL\n".join(kind_sql(mapping, kind, subjects) for mapping in chosen for kind in mapping.kinds)


def kind_sql(mapping: Mapping, kind: EventKind, subjects: str = "TRUE") -> str:
    """SQL of the events of one kind."""
    identifiers = [
        f"{name}::BIGINT AS {name}" if name in mapping.identifiers else f"NULL::BIGINT AS {name}"
        for name in ("hadm_id", "stay_id")
    ]
    columns = [
        "subject_id::BIGINT AS subject_id",
        f"{_time(kind)} AS time",
        f"{kind.code.render_sql(_as_text(kind.code.columns))} AS code",
        f"{_numeric(kind)} AS numeric_value",
        f"{_text(kind)} AS text_value",
        *identifiers,
    ]
    tests = [test for test in (f"({subjects})", _exists(kind), kind.when and f"({kind.when})") if test]
    return f"SELECT {', '.join(columns)}\nFROM {_source(kind)}\nWHERE {' AND '.join(tests)}"


def _source(kind: EventKind) -> str:
    """The table, with the time that another table lends as the column `borrowed_time`."""
    if kind.borrowed is None:
        return kind.table
    lender, column = kind.borrowed
    (key,) = tables()[lender].key
    return f"{kind.table} LEFT JOIN (SELECT {key}, {column} AS borrowed_time FROM {lender}) USING ({key})"


def _time(kind: EventKind) -> str:
    if kind.borrowed:
        return "borrowed_time"
    return f"CAST({kind.time or kind.at or 'NULL'} AS TIMESTAMP)"


def _exists(kind: EventKind) -> str:
    """An event needs its time, unless it is static; one with a borrowed time, or none, needs something to say."""
    tests = [f"{_time(kind)} IS NOT NULL"] if kind.time or kind.at else []
    if not kind.time and kind.carried:
        tests.append("(" + " OR ".join(f"{name} IS NOT NULL" for name in kind.carried) + ")")
    return " AND ".join(tests)


def _numeric(kind: EventKind) -> str:
    """The number as float32; what float32 can't hold, and text that is no plain number, is null."""
    if kind.numeric is None:
        return "NULL::FLOAT"
    number = f"TRY_CAST({kind.numeric} AS FLOAT)"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def _text(kind: EventKind) -> str:
    """The text; a template none of whose columns has a value is null."""
    if kind.text is None:
        return "NULL::VARCHAR"
    columns = _as_text(kind.text_columns)
    if kind.written:
        says_number = f"TRY_CAST({kind.written} AS FLOAT) = {_numeric(kind)}"
        columns[kind.written] = f"(CASE WHEN {says_number} THEN NULL ELSE {kind.written} END)"
    if kind.text_column:
        return columns[kind.text_column]
    return f"CASE WHEN coalesce({', '.join(columns.values())}) IS NOT NULL THEN {kind.text.render_sql(columns)} END"


def _as_text(columns: tuple[str, ...]) -> dict[str, str]:
    return {name: f"CAST({name} AS VARCHAR)" for name in columns}


def undated_sql() -> dict[str, str]:
    """Per table whose every row should be an event: SQL that counts the rows that are none for want of a time."""
    return {
        name: f"SELECT count(*) FROM {_source(kind)} WHERE {_time(kind)} IS NULL"
        for name, mapping in mappings().items()
        if not mapping.row
        for kind in mapping.kinds
    }
