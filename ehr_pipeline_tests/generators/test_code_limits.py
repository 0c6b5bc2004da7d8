"""Diagnoses that a sex or an age cannot have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.generators.code_limits import ages, closed_codes, possible, sexes
from ehr_pipeline.generators.timelines import events_frame

NAT = np.datetime64("NaT", "us")
ORIGIN = np.datetime64("2000-01-01", "us")


def static(rows: list[tuple[int, np.datetime64, str, float, str | None]]) -> pd.DataFrame:
    subject, time, code, value, text = (np.array(part, dtype=object) for part in zip(*rows, strict=True))
    return events_frame(subject.astype(np.int64), time.astype("datetime64[us]"), code, value.astype(float), text)


@pytest.mark.parametrize(
    ("code", "closed_to"),
    [
        ("DIAGNOSIS//ICD//10//O80", "M"),
        ("ED_DIAGNOSIS//ICD//9//650", "M"),
        ("DIAGNOSIS//ICD//10//C56.1", "M"),
        ("DIAGNOSIS//ICD//10//N40", "F"),
        ("DIAGNOSIS//ICD//9//185", "F"),
        ("ICD10CM//O80", "M"),
        ("PROCEDURE//ICD//9//6849", "M"),
        ("PROCEDURE//ICD//9//605", "F"),
        ("PROCEDURE//ICD//9//6149", ""),
        ("DIAGNOSIS//ICD//9//6849", ""),
        ("DIAGNOSIS//ICD//10//I10", ""),
        ("LAB//O80", ""),
        ("O80", ""),
    ],
)
def test_codes_are_closed_to_the_sex_that_cannot_have_them(code, closed_to):
    closed = closed_codes((code,), np.array(["M", "F", ""], dtype=object), np.full(3, 30.0))
    found = "" if closed is None else "".join(np.array(["M", "F", "?"])[closed[:, 0]])
    assert found == closed_to


def test_pregnancy_is_closed_to_ages_that_have_none_and_open_where_the_age_is_unknown():
    closed = closed_codes(
        ("DIAGNOSIS//ICD//10//O80",), np.array(["F"] * 5, dtype=object), np.array([9, 10, 60.9, 61, np.nan])
    )
    assert closed[:, 0].tolist() == [True, False, False, True, False]


def test_sex_and_age_are_read_from_static_facts_in_any_form():
    rows = static(
        [
            (1, NAT, "GENDER//F", np.nan, None),
            (1, NAT, "anchor_age", 70, None),
            (2, NAT, "gender", np.nan, "male"),
            (2, ORIGIN - np.timedelta64(40 * 36525, "h") * 24 // 100, "MEDS_BIRTH", np.nan, None),
            (3, NAT, "Gender", 1, None),
        ]
    )
    assert sexes(rows, 4).tolist() == ["F", "M", "", ""]
    assert ages(rows, np.full(4, ORIGIN))[:2] == pytest.approx([70, 40], abs=0.01)
    assert np.isnan(ages(rows, np.full(4, ORIGIN))[2:]).all()


def test_static_diagnoses_that_cannot_be_are_left_out_and_all_others_stay():
    rows = static(
        [
            (1, NAT, "DIAGNOSIS//ICD//10//O80", np.nan, None),
            (1, NAT, "DIAGNOSIS//ICD//10//I10", np.nan, None),
            (2, NAT, "DIAGNOSIS//ICD//10//O80", np.nan, None),
        ]
    )
    left = possible(rows, np.array(["M", "F"], dtype=object), np.array([30.0, 30.0]))
    assert list(zip(left["subject_id"], left["code"], strict=True)) == [
        (1, "DIAGNOSIS//ICD//10//I10"),
        (2, "DIAGNOSIS//ICD//10//O80"),
    ]
