"""Events become records and records become the same events."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from ehr_pipeline.generators.persistence import read_state, write_state
from ehr_pipeline.generators.plan_decoder import Plans
from ehr_pipeline.generators.record_arrays import Learned, learn_records, token_rows
from ehr_pipeline.generators.record_autoencoder import Drawn
from ehr_pipeline.generators.record_events import timed_events
from ehr_pipeline.generators.record_layout import MOST_FEATURES, NUMBER, RecordLayout, padded
from ehr_pipeline.generators.static_columns import StaticColumns
from ehr_pipeline.generators.static_facts import StaticFacts
from ehr_pipeline.generators.timelines import TimelineCohort
from ehr_pipeline_tests.generators.cohorts import timeline_cohort
from ehr_pipeline_tests.timelines.events import stays

WHAT = ["subject_id", "time", "code", "numeric_value", "text_value"]


def learned(cohort: TimelineCohort, *, exact: bool = True) -> Learned:
    return learn_records(cohort, events_per_patient=20_000, exact=exact, gap_levels=16, rng=np.random.default_rng(0))


def rewritten(parts: Learned, cohort: TimelineCohort) -> pd.DataFrame:
    """The cohort's records written as if they had been drawn."""
    records = parts.records
    rows, place = records.rows_of(torch.arange(records.n_patients))
    is_stamp = ~records.is_end[rows]
    rows, place = rows[is_stamp], place[is_stamp]
    drawn = Drawn(
        plans=Plans.of(records, torch.arange(records.n_patients)),
        begin=records.begin.numpy(),
        end_minute=records.until.numpy(),
        patient=place.numpy(),
        minute=records.minute[rows].numpy(),
        mask=records.mask[rows].numpy(),
        z=records.z[rows].numpy(),
        is_number=records.is_number[rows].numpy(),
        tokens=records.tokens[rows].numpy(),
    )
    return timed_events(drawn, parts.layout, parts.others, cohort.origin, np.random.default_rng(0))


def timed(frame: pd.DataFrame) -> pd.DataFrame:
    """Its timed events in one order, patients numbered from 1, birth left out."""
    frame = frame[frame["time"].notna() & (frame["code"] != "MEDS_BIRTH")].copy()
    frame["subject_id"] = frame["subject_id"].rank(method="dense").astype("int64")
    for name in ("code", "text_value"):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    frame["numeric_value"] = frame["numeric_value"].astype("float32")
    return frame.sort_values(["subject_id", "time", "code"], kind="stable", ignore_index=True)[WHAT]


@pytest.mark.parametrize("is_calendar", [False, True])
def test_records_of_events_are_the_events(is_calendar):
    cohort = timeline_cohort(stays(is_calendar=is_calendar))
    parts = learned(cohort)
    pd.testing.assert_frame_equal(timed(rewritten(parts, cohort)), timed(cohort.events), check_dtype=False)


def test_codes_that_are_both_numbers_and_texts_or_nothing_keep_their_forms():
    frame = stays()
    is_hr = np.flatnonzero(frame["code"] == "HR")
    frame.loc[is_hr[::4], ["numeric_value", "text_value"]] = [np.nan, "irregular"]
    frame.loc[is_hr[1::4], "numeric_value"] = np.nan
    cohort = timeline_cohort(frame)
    parts = learned(cohort)
    k = parts.layout.features.index("HR")
    assert sorted(parts.layout.forms[k]) == [0, 1, 2]
    pd.testing.assert_frame_equal(timed(rewritten(parts, cohort)), timed(cohort.events), check_dtype=False)


def many_codes(n_codes: int = 90) -> pd.DataFrame:
    """Stays whose hours have five of many codes without values."""
    frame, rng = stays(30), np.random.default_rng(0)
    hours = frame.loc[frame["code"] == "HR", ["subject_id", "time"]]
    codes = np.argsort(rng.random((len(hours), n_codes)), axis=1)[:, :5].ravel()
    more = hours.loc[hours.index.repeat(5)].assign(
        code=[f"DRUG//{code:03}" for code in codes], numeric_value=np.nan, text_value=None
    )
    return pd.concat([frame, more]).sort_values(["subject_id", "time"], na_position="first", kind="stable")


def test_codes_beyond_the_features_are_sets_and_come_back():
    cohort = timeline_cohort(many_codes())
    parts = learned(cohort)
    assert len(parts.layout.features) == MOST_FEATURES
    assert len(parts.layout.rare) == 4 + 90 - MOST_FEATURES
    pd.testing.assert_frame_equal(timed(rewritten(parts, cohort)), timed(cohort.events), check_dtype=False)
    rows, owner = token_rows(parts.records, parts.layout.tokens)
    assert len(rows) == len(owner) > 0
    assert (rows >= 0).any(dim=1).all()


def test_what_was_before_a_row_is_what_the_rows_before_it_say():
    records = learned(timeline_cohort(stays(12))).records
    for patient in (0, 7):
        rows, _ = records.rows_of(torch.tensor([patient]))
        for k in range(records.mask.shape[1]):
            z, minute = [], -1
            for row in rows.tolist():
                assert records.n_before[row, k] == len(z)
                assert records.last_minute[row, k] == minute
                torch.testing.assert_close(float(records.mean_z[row, k]), sum(z) / max(1, len(z)), atol=1e-5, rtol=0)
                torch.testing.assert_close(float(records.last_z[row, k]), z[-1] if z else 0.0)
                if records.mask[row, k]:
                    minute = int(records.minute[row])
                if records.is_number[row, k]:
                    z.append(float(records.z[row, k]))


def test_the_same_weight_again_is_known_as_the_same():
    parts = learned(timeline_cohort(stays(12)))
    k, records = parts.layout.features.index("WEIGHT"), parts.records
    again = records.is_number[:, k] & (records.n_before[:, k] > 0)
    assert records.is_same[again, k].all()
    assert not records.is_same[~again & ~records.is_end, k].any()


def test_what_ends_a_stay_lies_in_the_plan_with_its_time():
    cohort = timeline_cohort(stays())
    parts = learned(cohort)
    assert parts.layout.ends == ("MEDS_DEATH",)
    died = parts.records.end_level >= 0
    assert torch.equal(died, parts.records.bits[:, -1] > 0)
    assert died.sum() == (cohort.events["code"] == "MEDS_DEATH").sum()
    assert set(parts.records.until[died].tolist()) == {23 * 60 + 59}


def test_the_longest_patients_are_cut_and_counted():
    frame = stays(400)
    extra = frame[(frame["subject_id"] == 1003) & (frame["code"] == "HR")]
    more = pd.concat([extra.assign(time=extra["time"] + pd.Timedelta(minutes=m)) for m in range(1, 6)])
    cohort = timeline_cohort(pd.concat([frame, more]))
    parts = learned(cohort)
    assert parts.most_stamps == 28
    assert any("time stamps" in note for note in parts.notes)
    rows, _ = parts.records.rows_of(torch.tensor([3]))
    assert len(rows) == 29
    assert not parts.records.is_known[rows].any()  # nobody knows what came next


def test_layouts_come_back_from_disk(tmp_path):
    layout = learned(timeline_cohort(many_codes())).layout
    write_state(tmp_path, "layout", *layout.state())
    again = RecordLayout.of_state(*read_state(tmp_path, "layout"))
    assert (again.features, again.rare, again.ends, again.forms) == (
        layout.features,
        layout.rare,
        layout.ends,
        layout.forms,
    )
    assert again.tokens == layout.tokens
    assert {k for k, forms in enumerate(again.forms) if NUMBER in forms} == set(again.numbers)


def test_static_rows_come_back_as_they_were():
    frame = stays(is_calendar=True)
    more = frame[frame["code"].str.startswith("GENDER")].assign(code="HEIGHT", numeric_value=170.5)
    more = more[more["subject_id"] % 3 > 0]
    cohort = timeline_cohort(pd.concat([frame, more]))
    facts = StaticFacts.learn(cohort)
    table = facts.table(cohort)
    columns = StaticColumns.learn(facts, table, exact=True)
    arrays = columns.encode(table, np.random.default_rng(0))
    assert (arrays.z[arrays.present == 0] == 0).all()
    back = columns.decode(arrays)
    for k, column in enumerate(facts.columns):
        wanted = table[str(k)].astype(object).where(table[str(k)].notna(), None)
        found = back[str(k)].astype(object).where(back[str(k)].notna(), None)
        if column.form == "number":
            np.testing.assert_allclose(found.astype(float), wanted.astype(float))
        else:
            assert found.tolist() == wanted.tolist()


def test_padded_rows_keep_their_order_and_drop_what_has_no_place():
    table = padded(np.array([0, 0, 2, 2, 2]), np.arange(5), 3, 2)
    assert table.tolist() == [[0, 1], [-1, -1], [2, 3]]
