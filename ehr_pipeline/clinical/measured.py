"""Measured values: how items are read out of an event stream, once, for every stage.

What belongs here: the join of events with the item catalogue, conversion to the canonical unit, and the judgement
of impossible values. What becomes of the values (first, mean, missing) is decided in `cohort/` and `prepare/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from ehr_pipeline.clinical.items import Item, Source

CONVERSION_DECIMALS = 4  # numeric_value is a float32: 98.6 comes back as 98.5999984741211


@dataclass(frozen=True, kw_only=True)
class Series:
    """An item as one column needs it: all its sources, or those chosen.

    Attributes
    ----------
    key
        Name of the series in the results, unique among those asked for.
    """

    key: str
    item: Item
    sources: tuple[Source, ...]


def series_of(item: Item) -> Series:
    """The series of all values of an item, keyed by the item's name."""
    return Series(key=item.name, item=item, sources=item.sources)


def create_sources_table(connection: duckdb.DuckDBPyConnection, series: Iterable[Series]) -> None:
    """Make the temporary table `item_sources`, one row per series and event code; `measured_values_sql` joins it."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE item_sources (series VARCHAR, item VARCHAR, code VARCHAR, stem VARCHAR,"
        " unified_code VARCHAR, scale DOUBLE, shift DOUBLE, has_fractions BOOLEAN, priority INTEGER,"
        " minimum DOUBLE, maximum DOUBLE)"
    )
    rows = [
        (
            *(one.key, one.item.name, source.code, source.stem, source.unified_code, source.scale, source.offset),
            *(source.has_fractions, source.priority, one.item.minimum, one.item.maximum),
        )
        for one in series
        for source in one.sources
    ]
    if rows:
        places = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * len(rows))
        connection.execute(f"INSERT INTO item_sources VALUES {places}", [value for row in rows for value in row])


def measured_values_sql(events: str, keep: Iterable[str], *, keep_others: bool = False) -> str:
    """SQL for the measured values among `events`, a table or view with the columns of the event stream.

    One row per event and series of `item_sources`, with the columns `keep` of the event and:

    - series, item, priority (0 is the preferred source);
    - unified_code: the code with the one unit of its source;
    - stated_value: DOUBLE in that unit, fractions as percent, float32 noise rounded away;
    - value: DOUBLE in the item's canonical unit; NULL where no number stands or the number is impossible;
    - is_impossible: a number stands, and is outside the item's plausible range.

    With `keep_others`, events that measure no item are kept as they stand, with series and item NULL.
    """
    kept = "".join(f"e.{column}, " for column in keep)
    return f"""
        SELECT * EXCLUDE (canonical, minimum, maximum),
            CASE WHEN canonical BETWEEN minimum AND maximum THEN canonical END AS value,
            coalesce(canonical NOT BETWEEN minimum AND maximum, false) AS is_impossible
        FROM (
            SELECT * EXCLUDE (scale, shift),
                round(stated_value * scale + shift, {CONVERSION_DECIMALS}) AS canonical
            FROM (
                SELECT {kept}s.series, s.item, s.priority, s.scale, s.shift, s.minimum, s.maximum,
                    coalesce(s.unified_code, e.code) AS unified_code,
                    CASE WHEN s.code IS NULL THEN e.numeric_value::DOUBLE
                        ELSE round(CASE WHEN s.has_fractions AND e.numeric_value <= 1 THEN 100 ELSE 1 END
                            * e.numeric_value::DOUBLE, {CONVERSION_DECIMALS}) END AS stated_value
                FROM {events} e {"LEFT JOIN" if keep_others else "JOIN"} item_sources s ON s.code = e.code
            )
        )"""
