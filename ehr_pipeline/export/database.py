"""A MIMIC-IV database whose keys DuckDB itself enforces, and its tables as files.

What belongs here: DDL with keys, dictionaries, writing files. What does not: rows (`complete.py`).

DuckDB has no foreign key from one schema to another, so the tables stand in the schema `main` with all of MIMIC-IV's
declared keys, and `mimiciv_hosp`, `mimiciv_icu` and `mimiciv_ed` are views of them: published queries run unchanged.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from ehr_pipeline.ingest.reading import sql_text
from ehr_pipeline.mimic import Table, mappings, tables
from ehr_pipeline.mimic.tables import SCHEMAS
from ehr_pipeline.storage import private_folder

DICTIONARIES = ("d_icd_diagnoses", "d_icd_procedures", "d_labitems", "d_items", "d_hcpcs")
"""Public tables, copied from the source."""
FIRST = ("patients", "admissions", "icustays", "edstays", "pharmacy", "poe")
"""Filled before all others, in this order, because others refer to them."""
OURS = "extension"
"""The schema that MIMIC-IV does not have: written only where it has rows."""


def create_database(con: duckdb.DuckDBPyConnection, dictionaries: Path) -> tuple[str, ...]:
    """Create every table with its keys, views by MIMIC-IV's names, and the dictionaries' rows.

    `dictionaries` is a warehouse. Returns the full names of the tables, each after those that it refers to.
    """
    order = fill_order()
    for schema in SCHEMAS.values():
        con.execute(f"CREATE SCHEMA {schema}")
    for name in order:
        con.execute(_create_sql(tables()[name]))
        con.execute(f"CREATE VIEW {name} AS FROM main.{tables()[name].short_name}")
    con.execute(f"ATTACH {sql_text(dictionaries)} AS source (READ_ONLY)")
    for name in order:
        short = tables()[name].short_name
        if short in DICTIONARIES:
            con.execute(f"INSERT INTO {short} BY NAME SELECT {', '.join(_names(name))} FROM source.{name}")
    con.execute("DETACH source")
    return order


def fill_order() -> tuple[str, ...]:
    """Full names of all tables, parents before children."""
    first = [name for short in (*DICTIONARIES, *FIRST) for name in tables() if tables()[name].short_name == short]
    return tuple(dict.fromkeys([*first, *tables()]))


def write_files(con: duckdb.DuckDBPyConnection, out: Path, counts: dict[str, int]) -> None:
    """Write each table as `<folder>/<table>.csv.gz` in the official layout, and as Parquet below `parquet/`.

    Tables that no event can fill, and that have no rows, are not written; `extension` only with rows.
    """
    for folder, schema in SCHEMAS.items():
        for name, table in tables().items():
            is_dictionary = table.short_name in DICTIONARIES
            if not name.startswith(f"{schema}.") or not (is_dictionary or name in mappings()):
                continue
            if schema == OURS and not counts.get(name):
                continue
            csv, parquet = private_folder(out / folder), private_folder(out / "parquet" / folder)
            rows = f"SELECT * FROM {table.short_name}{_order_by(table)}"
            target = csv / f"{table.short_name}.csv.gz"
            con.execute(f"COPY ({rows}) TO {sql_text(target)} (FORMAT csv, HEADER, COMPRESSION gzip)")
            target = parquet / f"{table.short_name}.parquet"
            con.execute(f"COPY ({rows}) TO {sql_text(target)} (FORMAT parquet, COMPRESSION zstd)")


def _create_sql(table: Table) -> str:
    lines = [f"{c.name} {c.type}{' NOT NULL' if c.not_null else ''}" for c in table.columns]
    if table.key:
        lines.append(f"PRIMARY KEY ({', '.join(table.key)})")
    for reference in table.references:
        if reference.strict:
            parent = tables()[reference.table].short_name
            columns, others = ", ".join(reference.columns), ", ".join(reference.table_columns)
            lines.append(f"FOREIGN KEY ({columns}) REFERENCES {parent} ({others})")
    return f"CREATE TABLE {table.short_name} (\n    {', '.join(lines)}\n)"


def _order_by(table: Table) -> str:
    by = [name for name in ("subject_id", "hadm_id", "stay_id", *table.key) if name in table.column_names]
    by += [name for name in ("charttime", "starttime", "itemid") if name in table.column_names]
    by += () if table.key else table.column_names  # else rows of one moment would stand as threads left them
    return f" ORDER BY {', '.join(dict.fromkeys(by))}" if by else ""


def _names(name: str) -> tuple[str, ...]:
    return tables()[name].column_names
