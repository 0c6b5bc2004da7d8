"""Whole histories, whoever draws them: stays take turns, and nobody has a code of the other sex."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.evaluate.timelines.rules import find_broken
from ehr_pipeline.generators.stay_bounds import KINDS, within_bounds

DAY = pd.Timestamp("2150-03-01")


def drawn(*events):
    """Events of patients: (subject, hour or None, code)."""
    table = pd.DataFrame(events, columns=["subject_id", "hour", "code"])
    table["time"] = (DAY + pd.to_timedelta(table.pop("hour").astype(float), unit="h")).astype("datetime64[us]")
    table["numeric_value"], table["text_value"] = np.float32("nan"), None
    return table.astype({"code": "category", "text_value": "category"})


def kept(*events):
    found = within_bounds(drawn(*events))
    return [(one.subject_id, (one.time - DAY) / pd.Timedelta(hours=1), str(one.code)) for one in found.itertuples()]


@pytest.mark.parametrize(("opens", "closes"), KINDS)
def test_openings_and_closings_take_turns(opens, closes):
    opens, closes = f"{opens}//A", f"{closes}//B"
    turns = [(1, 1, opens), (1, 3, closes), (1, 5, opens), (1, 5, "X"), (1, 9, closes), (2, 2, opens)]
    inside, again = (1, 2, opens), (1, 4, closes)
    assert kept(*turns) == turns
    assert kept(*turns[:1], inside, turns[1], again, *turns[2:]) == turns
    assert kept((1, 0, closes), *turns) == turns
    assert kept((1, 0, closes), (1, 4, closes), (2, 1, opens)) == [(1, 0, closes), (2, 1, opens)]  # begun before


def test_one_discharged_and_admitted_in_a_minute_is_both():
    events = [(1, 1, "ADMISSION//A"), (1, 5, "ADMISSION//B"), (1, 5, "DISCHARGE//HOME"), (1, 9, "DISCHARGE//HOME")]
    assert kept(*events) == events


def test_kinds_of_stays_do_not_close_each_other():
    events = [(1, 1, "ADMISSION//A"), (1, 2, "ICU_ADMISSION//M"), (1, 3, "ED_ARRIVAL//W"), (1, 4, "DISCHARGE//HOME"),
              (1, 5, "ICU_DISCHARGE//M"), (1, 6, "ED_DISPOSITION//A")]  # fmt: skip
    assert kept(*events) == events


def test_codes_of_the_other_sex_are_left_out_at_their_times_too():
    birth = (40 - 2150) * 8766.0
    codes = [f"DIAGNOSIS//ICD//10//{code}" for code in ("O80", "N40", "I10")]
    events = [(k, hour, code) for k in (1, 2) for hour, code in enumerate(codes)]
    facts = [
        (1, None, "GENDER//F"),
        (2, None, "GENDER//M"),
        (1, birth / 50, "MEDS_BIRTH"),
        (2, birth / 50, "MEDS_BIRTH"),
    ]
    found = within_bounds(drawn(*facts, *events))
    left = found[found["code"].astype(str).str.startswith("DIAG")]
    assert [(one.subject_id, str(one.code)[-3:]) for one in left.itertuples()] == [
        (1, "O80"), (1, "I10"), (2, "N40"), (2, "I10"),
    ]  # fmt: skip
    assert len(found) == len(left) + 4


def test_no_rule_of_stays_is_broken_by_any_order_of_events():
    rng = np.random.default_rng(0)
    codes = [f"{word}//A" for kind in KINDS for word in kind]
    events = [
        (k + 1, int(hour), codes[rng.integers(len(codes))])
        for k in range(300)
        for hour in np.sort(rng.integers(0, 200, 20))
    ]
    before, after = (find_broken(table) for table in (drawn(*events), within_bounds(drawn(*events))))
    for rule in ("E07", "E08", "E09", "E10"):
        assert before[rule].broken.size
        assert not after[rule].broken.size
    assert within_bounds(drawn(*events[:0])).empty
