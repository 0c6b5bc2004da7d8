"""Rules of single patients' events, as data, and who breaks them.

What belongs here: the loader of `clinical/rules/events.yaml`, the relations that its SQL reads, and the patients that
break each rule. What does not: what a share of such patients means (`plausibility.py`); rules of patient tables
(`sanity/`).

Memory: 60 bytes per event.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import duckdb
import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from ehr_pipeline.clinical.catalogue import read_catalogue
from ehr_pipeline.clinical.items import Source, load_items
from ehr_pipeline.clinical.measured import Series, create_sources_table, measured_values_sql, series_of

CATALOGUE = "rules/events"


class EventRule(BaseModel):
    """One rule, as the head of its file explains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    severity: Literal["hard", "soft"]
    sources: tuple[str, ...] = Field(min_length=1)
    confirmed: bool = Field(True, description="False for clinical judgement that no clinician has confirmed yet")
    records: str
    violates: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Who was checked by one rule, and who breaks it: `broken` are subject_ids, int64, distinct.

    A rule that could not run has `could_run` False and says nothing of anybody.
    """

    n_checked: int
    broken: np.ndarray
    could_run: bool = True


@cache
def load_event_rules() -> tuple[EventRule, ...]:
    """Every rule that ships, in the order of its file."""
    return tuple(EventRule(id=name, **body) for name, body in read_catalogue(CATALOGUE)["rules"].items())


def find_broken(events: pd.DataFrame, rules: tuple[EventRule, ...] | None = None) -> dict[str, Found]:
    """What each rule finds in the events, by rule id.

    Parameters
    ----------
    events
        MEDS columns; `hadm_id` and `stay_id` are read where they are there.
    """
    with duckdb.connect() as connection:
        connection.execute("SET enable_external_access = false")
        _relate(connection, events)
        return {rule.id: _find(connection, rule) for rule in (load_event_rules() if rules is None else rules)}


def _find(connection: duckdb.DuckDBPyConnection, rule: EventRule) -> Found:
    is_broken = f"({rule.violates}) IS NOT FALSE"
    try:
        found = connection.execute(
            f"SELECT subject_id, bool_or({is_broken}) AS broken FROM ({rule.records}) GROUP BY subject_id"
        ).fetchnumpy()
    except duckdb.Error:  # its text may quote a value: nothing of it is kept
        return Found(n_checked=0, broken=np.array([], dtype=np.int64), could_run=False)
    ids = np.asarray(found["subject_id"], dtype=np.int64)
    return Found(n_checked=len(ids), broken=np.sort(ids[np.asarray(found["broken"], dtype=bool)]))


def _relate(connection: duckdb.DuckDBPyConnection, events: pd.DataFrame) -> None:
    """Make the relations that the head of the rules' file names."""
    ids = {name: name if name in events.columns else "NULL" for name in ("hadm_id", "stay_id")}
    connection.register("given", events)
    connection.execute(
        f"""CREATE TABLE events AS SELECT subject_id::BIGINT AS subject_id, time::TIMESTAMP AS time,
            code::VARCHAR AS code, CASE WHEN isfinite(numeric_value::DOUBLE) THEN numeric_value::DOUBLE END
            AS numeric_value, {", ".join(f"{source}::BIGINT AS {name}" for name, source in ids.items())}
            FROM given WHERE subject_id IS NOT NULL AND code IS NOT NULL"""
    )
    create_sources_table(connection, [*map(series_of, load_items().values()), *_plain_series()])
    connection.execute(
        f"""CREATE TABLE measured AS SELECT subject_id, time, item, priority, stated_value, is_impossible,
            coalesce(value, stated_value) AS canonical FROM
            ({measured_values_sql("events", ("subject_id", "time"))}) WHERE stated_value IS NOT NULL"""
    )
    connection.execute(
        """CREATE TABLE people AS SELECT subject_id,
            min(CASE upper(code) WHEN 'GENDER//M' THEN 'M' WHEN 'GENDER//F' THEN 'F' END) AS sex,
            min(time) FILTER (WHERE code = 'MEDS_BIRTH') AS birth,
            min(time) FILTER (WHERE code = 'MEDS_DEATH') AS death,
            min(time) FILTER (WHERE code <> 'MEDS_BIRTH') AS first_time
            FROM events GROUP BY subject_id"""
    )
    for name, kind in (("icd", "DIAGNOSIS"), ("procedures", "PROCEDURE")):
        connection.execute(
            f"""CREATE TABLE {name} AS SELECT subject_id, split_part(code, '//', 3) AS version,
                split_part(code, '//', 4) AS icd, time FROM events WHERE code LIKE '{kind}//ICD//%'"""
        )
    _spells(connection, "admissions", "ADMISSION//%", "DISCHARGE//%", "hadm_id")
    _spells(connection, "icu_stays", "ICU_ADMISSION//%", "ICU_DISCHARGE//%", "stay_id")


def _spells(connection: duckdb.DuckDBPyConnection, name: str, opens: str, closes: str, key: str) -> None:
    """Stays with both ends: by their id, else the patient's n-th beginning with the n-th end where they are as many."""
    connection.execute(
        f"""CREATE TABLE {name} AS
        WITH ends AS (
            SELECT subject_id, time, {key} AS id, code LIKE '{opens}' AS is_start FROM events
            WHERE time IS NOT NULL AND (code LIKE '{opens}' OR code LIKE '{closes}')
        ), numbered AS (
            SELECT *, row_number() OVER (PARTITION BY subject_id, is_start ORDER BY time) AS number,
                sum(CASE WHEN is_start THEN 1 ELSE -1 END) OVER (PARTITION BY subject_id) AS surplus
            FROM ends WHERE id IS NULL
        )
        SELECT subject_id, min(time) FILTER (WHERE is_start) AS start, max(time) FILTER (WHERE NOT is_start) AS finish
        FROM ends WHERE id IS NOT NULL GROUP BY subject_id, id HAVING start IS NOT NULL AND finish IS NOT NULL
        UNION ALL
        SELECT subject_id, min(time) FILTER (WHERE is_start), max(time) FILTER (WHERE NOT is_start)
        FROM numbered WHERE surplus = 0 GROUP BY subject_id, number"""
    )


def _plain_series() -> list[Series]:
    """The items under the names that sources without MIMIC-IV's codes give them."""
    items = load_items()
    return [
        Series(
            key=f"{name} (plain)",
            item=items[name],
            sources=tuple(
                Source(code=code, stem=code, unified_code=code, unit=None, has_fractions=name == "fio2", priority=place)
                for place, code in enumerate(codes)
            ),
        )
        for name, codes in read_catalogue(CATALOGUE)["plain_names"].items()
    ]
