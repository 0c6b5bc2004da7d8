"""Placed events become whole tables: the mapped columns, and what fits to them (`complete.yaml`).

What belongs here: filling tables that were created with their keys. What does not: the keys and files
(`database.py`), identifiers and dates (`place.py`).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import duckdb
import pandas as pd
import yaml

from ehr_pipeline.mimic import mappings, tables, tables_sql
from ehr_pipeline.mimic.tables import Table


def fill_tables(con: duckdb.DuckDBPyConnection, order: tuple[str, ...]) -> dict[str, int]:
    """Insert the rows that the relation `events` says into the empty tables `order`, parents first.

    Rows that lack what their table requires are left out. Returns the number of rows of each.
    """
    con.register("lab_ranges_frame", _lab_ranges())
    con.execute("CREATE TEMP TABLE lab_ranges AS FROM lab_ranges_frame")
    return {name: con.execute(_insert_sql(tables()[name])).fetchall()[0][0] for name in order if name in mappings()}


def filled_columns() -> dict[str, tuple[str, ...]]:
    """Per mapped table the columns that an export fills, from events or from what fits to them."""
    return {
        name: tuple(c for c in mapping.table.column_names if c in mapping.columns or c in _columns(name))
        for name, mapping in mappings().items()
    }


def empty_columns() -> dict[str, tuple[str, ...]]:
    """Per mapped table the columns that an export leaves empty: events don't carry them and nothing says them."""
    filled = filled_columns()
    empty = {name: tuple(c for c in tables()[name].column_names if c not in filled[name]) for name in filled}
    return {name: columns for name, columns in empty.items() if columns}


def _insert_sql(table: Table) -> str:
    entry, filled = _declared().get(table.name, {}), filled_columns()[table.name]
    columns = _columns(table.name)
    chosen = ", ".join(f"{columns[name]} AS {name}" if name in columns else f"made.{name}" for name in filled)
    required = [f"{column.name} IS NOT NULL" for column in table.columns if column.not_null or column.name in table.key]
    kept = f" QUALIFY {entry['keep']}" if "keep" in entry else ""
    select = f"SELECT {chosen} FROM ({_mapped_sql(table)}) AS made {entry.get('also', '')}{kept}"
    return (
        f"INSERT INTO {table.short_name} ({', '.join(filled)}) SELECT * FROM ({select}) WHERE {' AND '.join(required)}"
    )


def _mapped_sql(table: Table) -> str:
    """The mapped columns; a float32 is written as the shortest decimal number that it stands for."""
    doubles = [c.name for c in table.columns if c.type == "DOUBLE" and c.name in mappings()[table.name].columns]
    shortest = ", ".join(f"CAST(CAST(CAST({name} AS FLOAT) AS VARCHAR) AS DOUBLE) AS {name}" for name in doubles)
    replaced = f" REPLACE ({shortest})" if shortest else ""
    sql = tables_sql("events", cast="TRY_CAST")[table.name]
    if table.name == "mimiciv_hosp.microbiologyevents":  # mapped is the day; the hour of the event is needed too
        sql = sql.replace("SELECT ", "SELECT time AS moment, ", 1)
    if table.name == "mimiciv_hosp.prescriptions":  # each finds an order of its own
        place = (
            "row_number() OVER (PARTITION BY hadm_id, starttime, drug ORDER BY drug_type, dose_val_rx, mapped) AS place"
        )
        return f"SELECT *{replaced}, {place} FROM ({sql}) AS mapped"
    return f"SELECT *{replaced} FROM ({sql})"


@cache
def _declared() -> dict[str, Any]:
    return _read("complete.yaml")


def _columns(name: str) -> dict[str, str]:
    return _declared().get(name, {}).get("columns", {})


def _lab_ranges() -> pd.DataFrame:
    rows = [(itemid, unit, lower, upper) for itemid, (_, unit, lower, upper) in _read("lab_ranges.yaml").items()]
    return pd.DataFrame(rows, columns=["itemid", "valueuom", "lower", "upper"]).astype({"valueuom": "str"})


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load(files("ehr_pipeline.export").joinpath(name).read_text(encoding="utf-8"))
