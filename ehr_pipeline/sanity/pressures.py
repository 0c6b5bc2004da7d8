"""Construction before rejection, for events: blood pressures of one moment that contradict each other are set right.

What belongs here: the one mend that drawn values get, beside those of `prepare/unfold.py`. A generator draws systolic,
diastolic and mean pressure as three events of a minute, each with a value of its own, so that a few among hundreds of
such minutes contradict, and rejecting the patient for one of them would leave the short stays. What does not: the rules
(E15 and E16 of `clinical/rules/events.yaml`), which the stays still face.

At one time and from one kind of source (the cuff, the arterial line): a systolic value below the diastolic changes
place with it; where they are equal, or one stands there several times, the diastolic and the mean are left out; a mean
that lies more than `TOLERANCE` outside is put onto the nearer of the two.

Memory: about 100 bytes per pressure of the chunk.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from ehr_pipeline.clinical.items import load_items

TOLERANCE = 5.0
"""mmHg: the three may come from different beats (E16)."""
MENDED = "blood pressures that contradict others of the same minute"
_ITEMS = {"systolic": "systolic_bp", "diastolic": "diastolic_bp", "mean": "mean_bp"}


def pressures_in_order(stays: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """The events in their order with pressures set right, and how many values were changed or left out.

    Parameters
    ----------
    stays
        Columns of `record.EVENT_SCHEMA`.
    """
    with duckdb.connect() as con:
        con.execute("SET enable_external_access = false; SET lock_configuration = true")
        con.execute("CREATE TEMP TABLE code_of (code VARCHAR, item VARCHAR, priority INTEGER)")
        con.executemany("INSERT INTO code_of VALUES (?, ?, ?)", _codes())
        narrow = stays.select(["subject_id", "time", "code", "numeric_value"])
        con.register("stays", narrow.append_column("place", pa.array(np.arange(len(stays), dtype=np.int64))))
        found = con.execute(_MENDS, {"tolerance": TOLERANCE}).fetchnumpy()
    if not len(found["place"]):
        return stays, {MENDED: 0}
    place, value = found["place"], np.ma.filled(found["value"].astype(np.float32), np.nan)
    values = stays["numeric_value"].to_numpy().copy()
    values[place] = value
    is_kept = np.ones(len(stays), dtype=bool)
    is_kept[place[np.isnan(value)]] = False
    column = stays.schema.get_field_index("numeric_value")
    changed = pa.array(values, type=pa.float32(), from_pandas=True)
    return stays.set_column(column, stays.schema.field(column), changed).filter(pa.array(is_kept)), {MENDED: len(place)}


def _codes() -> list[tuple[str, str, int]]:
    """Code, which pressure, and kind of source, of those that need no conversion."""
    items = load_items()
    return [
        (source.code, name, source.priority)
        for name, item in _ITEMS.items()
        for source in items[item].sources
        if (source.scale, source.offset) == (1.0, 0.0)
    ]


_MENDS = """
    WITH pressure AS (
        SELECT s.place, s.subject_id, s.time, c.item, c.priority, s.numeric_value AS value
        FROM stays s JOIN code_of c USING (code) WHERE s.time IS NOT NULL AND isfinite(s.numeric_value)
    ), moment AS (
        SELECT subject_id, time, priority, min(value) FILTER (item = 'systolic') AS systolic,
            max(value) FILTER (item = 'diastolic') AS diastolic,
            count(*) FILTER (item = 'systolic') = 1 AND count(*) FILTER (item = 'diastolic') = 1
                AND systolic < diastolic AS is_swapped,
            systolic <= diastolic AND NOT is_swapped AS is_lost
        FROM pressure GROUP BY ALL HAVING systolic IS NOT NULL AND diastolic IS NOT NULL
    ), mended AS (
        SELECT p.place, p.value AS old, least(systolic, diastolic) AS low, greatest(systolic, diastolic) AS high, CASE
            WHEN item <> 'systolic' AND is_lost THEN NULL
            WHEN item = 'systolic' AND is_swapped THEN diastolic
            WHEN item = 'diastolic' AND is_swapped THEN systolic
            WHEN item = 'mean' AND p.value < low - $tolerance THEN low
            WHEN item = 'mean' AND p.value > high + $tolerance THEN high
            ELSE p.value END AS value
        FROM pressure p JOIN moment USING (subject_id, time, priority)
    )
    SELECT place, value FROM mended WHERE value IS DISTINCT FROM old ORDER BY place"""
