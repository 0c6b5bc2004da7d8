"""Made-up MEDS events with a shape that can be checked by eye."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        pa.field("subject_id", pa.int64()),
        pa.field("time", pa.timestamp("us")),
        pa.field("code", pa.string()),
        pa.field("numeric_value", pa.float32()),
        pa.field("text_value", pa.string()),
    ]
)


def stays(n: int = 60, seed: int = 0, *, is_calendar: bool = False) -> pd.DataFrame:
    """Stays of 24 hours: hourly HR and BP (a bed's constant weight with them), a sixth die at the end.

    Women are 70, men 50 years old. On a calendar, stays begin on any day of 2150 at 8:00 or 20:00.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for subject in range(1000, 1000 + n):
        begin = pd.Timestamp("2150-01-01")
        if is_calendar:
            begin += pd.Timedelta(days=int(rng.integers(365)), hours=[8, 20][subject % 2])
        sex = "FM"[subject % 2]
        rows.append((subject, pd.NaT, f"GENDER//{sex}", np.nan, None))
        age = {"F": 70, "M": 50}[sex]
        if is_calendar:
            rows.append((subject, begin - pd.Timedelta(days=365.25 * age), "MEDS_BIRTH", np.nan, None))
        else:
            rows.append((subject, pd.NaT, "Age", age, None))
        weight = 60.0 + subject % 8
        for hour in range(24):
            time = begin + pd.Timedelta(hours=hour)
            rows.append((subject, time, "BP", float(rng.integers(90, 150)), None))
            rows.append((subject, time, "HR", float(rng.integers(60, 100)), None))
            rows.append((subject, time, "WEIGHT", weight, None))
            if hour % 6 == 0:
                rows.append((subject, time + pd.Timedelta(minutes=30), "RHYTHM", np.nan, ["sinus", "AF"][hour // 12]))
        if subject % 6 == 0:
            rows.append((subject, begin + pd.Timedelta(hours=23, minutes=59), "MEDS_DEATH", np.nan, None))
    frame = pd.DataFrame(rows, columns=SCHEMA.names)
    return frame.sort_values(["subject_id", "time"], na_position="first", kind="stable", ignore_index=True)


def write(frame: pd.DataFrame, path, schema: pa.Schema = SCHEMA) -> None:
    """The frame as Parquet, in the types of `schema`."""
    pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False), path)
