"""Blood pressures of one moment: what contradicts is set right, counted, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ehr_pipeline.evaluate.timelines.rules import find_broken
from ehr_pipeline.record import EVENT_SCHEMA
from ehr_pipeline.sanity.pressures import MENDED, pressures_in_order

SYSTOLIC, DIASTOLIC, MEAN = (f"VITAL//{code}//mmHg" for code in (220179, 220180, 220181))
ARTERIAL = tuple(f"VITAL//{code}//mmHg" for code in (220050, 220051, 220052))
HEART_RATE = "VITAL//220045//bpm"


def stays(*events):
    """Events from (minute, code, value)."""
    table = pd.DataFrame(events, columns=["minute", "code", "numeric_value"])
    table["subject_id"], table["text_value"], table["hadm_id"], table["stay_id"] = 1, None, 101, 101
    table["time"] = pd.Timestamp("2150-01-01") + pd.to_timedelta(table.pop("minute"), unit="min")
    return pa.Table.from_pandas(table[EVENT_SCHEMA.names], schema=EVENT_SCHEMA, preserve_index=False)


def values(table):
    return list(zip(table["code"].to_pylist(), table["numeric_value"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("given", "expected", "n"),
    [
        ((120, 70, 90), [120, 70, 90], 0),
        ((120, 70, 125), [120, 70, 125], 0),  # as far as E16 allows
        ((120, 70, 130), [120, 70, 120], 1),
        ((120, 70, 40), [120, 70, 70], 1),
        ((70, 120, 90), [120, 70, 90], 2),
        ((70, 120, 20), [120, 70, 70], 3),
        ((80, 80, 80), [80], 2),
    ],
)
def test_pressures_of_one_minute_are_put_in_order(given, expected, n):
    for codes in ((SYSTOLIC, DIASTOLIC, MEAN), ARTERIAL):
        table = stays(*((5, code, value) for code, value in zip(codes, given, strict=True)), (5, HEART_RATE, 60))
        mended, told = pressures_in_order(table)
        wanted = list(zip(codes, expected, strict=False))
        assert values(mended) == [*wanted, (HEART_RATE, 60)]
        assert told == {MENDED: n}
        assert mended.schema == table.schema


def test_other_minutes_sources_and_missing_values_are_left_alone():
    table = stays(
        (5, SYSTOLIC, 60), (6, DIASTOLIC, 90), (7, SYSTOLIC, 60), (7, ARTERIAL[1], 90),
        (8, SYSTOLIC, None), (8, DIASTOLIC, 90), (9, MEAN, 500),
    )  # fmt: skip
    mended, told = pressures_in_order(table)
    assert mended.equals(table)
    assert told == {MENDED: 0}
    assert pressures_in_order(table.slice(0, 0))[0].num_rows == 0


def test_where_one_stands_there_twice_the_others_are_left_out():
    mended, told = pressures_in_order(stays((5, SYSTOLIC, 60), (5, SYSTOLIC, 120), (5, DIASTOLIC, 90), (5, MEAN, 95)))
    assert values(mended) == [(SYSTOLIC, 60), (SYSTOLIC, 120)]
    assert told == {MENDED: 2}


def test_no_rule_of_pressures_is_broken_afterwards():
    rng = np.random.default_rng(0)
    drawn = [
        (minute, code, float(rng.integers(40, 140)))
        for minute in range(500)
        for code in (SYSTOLIC, DIASTOLIC, MEAN, *ARTERIAL)
        for _ in range(rng.integers(0, 3))
    ]
    before, after = (find_broken(table.to_pandas()) for table in (stays(*drawn), pressures_in_order(stays(*drawn))[0]))
    for rule in ("E15", "E16"):
        assert before[rule].broken.size
        assert not after[rule].broken.size
