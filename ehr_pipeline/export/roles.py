"""What each code of a stream is: the table it belongs to, and its role in admissions and stays.

What belongs here: classifying the distinct codes by the declared mapping. What does not: the events
(`place.py`).
"""

from __future__ import annotations

import duckdb

from ehr_pipeline.mimic.mapping import EventKind, mappings
from ehr_pipeline.mimic.tables import Table, tables

PERSONAL = ("GENDER", "ANCHOR_YEAR", "ANCHOR_YEAR_GROUP", "MEDS_BIRTH", "MEDS_DEATH")
"""First words of the codes that are facts of a patient; `place.py` reads them by name."""
ED_SCHEMA = "mimiciv_ed"
ICU_END = "ICU_DISCHARGE"
_UNKNOWABLE = ("admission_type", "arrival_transport")
"""Columns that MIMIC-IV requires and a stream may not know; they are written UNKNOWN."""


def create_codes(con: duckdb.DuckDBPyConnection, stream: str) -> None:
    """Create the table `codes`: code, table_name, is_static, admission, icu, ed (roles, null where it has none).

    Codes that no table of MIMIC-IV holds, or whose item is in no dictionary (schemas of `tables()`, on the same
    connection), have no row.
    """
    con.execute(f"CREATE TEMP TABLE spelt AS SELECT DISTINCT code FROM {stream}")
    parts = [_kind_sql(kind) for mapping in mappings().values() for kind in mapping.kinds if not is_personal(kind)]
    con.execute(f"CREATE TEMP TABLE codes AS {' UNION ALL '.join(parts)}")


def is_personal(kind: EventKind) -> bool:
    """Whether the kind is a fact of a patient."""
    return kind.code.parts[0][0] in PERSONAL


def _kind_sql(kind: EventKind) -> str:
    table = tables()[kind.table]
    roles = [_quoted(role) for role in (_admission_role(kind, table), _icu_role(kind), _ed_role(kind))]
    is_static = not (kind.time or kind.at)
    tests = [kind.code.match_sql(), *(_readable(kind, table, name) for name in kind.code.columns)]
    return (
        f"SELECT code, '{kind.table}' AS table_name, {is_static} AS is_static, {roles[0]} AS admission, "
        f"{roles[1]} AS icu, {roles[2]} AS ed FROM spelt WHERE {' AND '.join(tests)}"
    )


def _readable(kind: EventKind, table: Table, name: str) -> str:
    """Whether the code's part can stand in its column: of its type, known where a key says so."""
    part, column = kind.code.part_sql(name), table[name]
    test = f"TRY_CAST({part} AS {column.type}) IS NOT NULL"
    for reference in table.references:
        if reference.strict and reference.columns == (name,):
            (parent,) = reference.table_columns
            return f"TRY_CAST({part} AS {column.type}) IN (SELECT {parent} FROM {reference.table})"
    if (name in table.key or column.not_null) and name not in _UNKNOWABLE:
        return test
    return f"({part} IS NULL OR {test})"


def _admission_role(kind: EventKind, table: Table) -> str | None:
    if kind.table == "mimiciv_hosp.admissions":
        return {"ADMISSION": "opens", "DISCHARGE": "closes"}.get(kind.code.parts[0][0], "follows")
    if table.name.startswith(ED_SCHEMA) or "hadm_id" not in table.column_names:
        return None
    if kind.table == "mimiciv_hosp.transfers":
        return "near"
    if kind.code.parts[0][0] == ICU_END:
        return "outlasts"
    return "needs" if table["hadm_id"].not_null else "continues"


def _icu_role(kind: EventKind) -> str | None:
    return _stay_role(kind, "ICU_ADMISSION", ICU_END) if kind.table.startswith("mimiciv_icu") else None


def _ed_role(kind: EventKind) -> str | None:
    return _stay_role(kind, "ED_ARRIVAL", "ED_DISPOSITION") if kind.table.startswith(ED_SCHEMA) else None


def _stay_role(kind: EventKind, opening: str, closing: str) -> str:
    return {opening: "opens", closing: "closes"}.get(kind.code.parts[0][0], "needs")


def _quoted(role: str | None) -> str:
    return f"'{role}'" if role else "NULL"
