"""What the Markov chain learns: steps, gaps, ends and values of timelines whose law is known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.generators.backoff_counts import OTHER, Backoff, CountTable
from ehr_pipeline.generators.configs import TimelineMarkovConfig
from ehr_pipeline.generators.timeline_markov import TimelineMarkov
from ehr_pipeline.generators.timeline_steps import END, Steps
from ehr_pipeline_tests.generators.cohorts import minutes_frame, timeline_cohort
from ehr_pipeline_tests.timelines.events import stays


def fitted(frame=None, **settings) -> TimelineMarkov:
    return TimelineMarkov.fit(timeline_cohort(frame), TimelineMarkovConfig(**settings))


@pytest.fixture(scope="module")
def made() -> pd.DataFrame:
    return fitted(stays(300)).sample(600, seed=0)


def test_rare_cells_are_pooled_and_fall_back_on_the_coarser_table():
    # Context 0: outcome 1 of five patients, outcomes 2 and 3 of one each. Context 7: nothing is common.
    context = np.array([0] * 7 + [7] * 2)
    outcome = np.array([1, 1, 1, 1, 1, 2, 3, 1, 4])
    patient = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3])
    table = CountTable.of(context, outcome, np.ones(9), patient, minimum_patients=5, has_other=True)
    assert table.contexts.tolist() == [0, 7]
    assert table.outcomes.tolist() == [OTHER, 1, OTHER]
    assert np.diff(table.below).tolist() == [2, 5, 2]
    backoff = Backoff.of([context, np.zeros(9, dtype=int)], outcome, patient, minimum_patients=5)
    rng = np.random.default_rng(0)
    drawn = backoff.draw([np.array([0, 7, 99]), np.zeros(3, dtype=int)], rng)
    assert drawn.tolist() == [1, 1, 1]
    empty = Backoff.of([context], np.arange(9), patient, minimum_patients=5)
    assert empty.draw([np.array([0])], rng).tolist() == [OTHER]


def test_drawn_shares_are_those_that_were_counted():
    rng = np.random.default_rng(1)
    context, patient = rng.integers(0, 3, 30_000), np.arange(30_000)
    outcome = (rng.random(30_000) < np.array([0.1, 0.5, 0.9])[context]).astype(int)
    table = CountTable.of(context, outcome, np.ones(30_000), patient, minimum_patients=5, has_other=True)
    drawn = table.draw(np.repeat([0, 1, 2], 10_000), rng).reshape(3, -1).mean(axis=1)
    # Six standard deviations of a share of 10,000, and of the counted one, are below .05.
    assert drawn == pytest.approx([0.1, 0.5, 0.9], abs=0.05)


def test_censored_steps_pass_their_weight_to_longer_gaps():
    # After code 0: gaps of 1, 2, 2; two ends, watched for 1 and for 9. At level 1, one of four at risk after the step
    # is censored: later steps count 4/3. Mass left: 5 - 1 - 2 * 4/3 = 4/3, in equal parts on both ends.
    steps = Steps(
        before=np.zeros(5, dtype=int),
        after=np.array([1, 1, 1, END, END]),
        gap=np.array([1, 2, 2, 1, 9]),
        patient=np.arange(5),
    )
    assert steps.weights(steps.gap, n_codes=2) == pytest.approx([1, 4 / 3, 4 / 3, 2 / 3, 2 / 3])


def test_the_end_of_the_window_is_no_reason_to_stop():
    # One event an hour until the window ends, from a start that differs by patient: nobody stops early.
    rng = np.random.default_rng(0)
    rows = [(p, minute, "A") for p in range(300) for minute in range(int(rng.integers(60)), 2880, 60)]
    made = fitted(minutes_frame(rows)).sample(300, seed=0)
    last = made.groupby("subject_id")["time"].max()
    assert (last >= pd.Timestamp("2150-01-02 22:00")).all()


def test_a_code_that_ends_a_stay_is_the_last_event_and_simultaneous_ones_keep_their_order(made):
    timed = made[made["time"].notna()]
    last = timed.groupby("subject_id", observed=True)["code"].last()
    n_deaths = (timed["code"] == "MEDS_DEATH").sum()
    assert (last == "MEDS_DEATH").sum() == n_deaths > 0
    groups = timed[timed["code"].isin(["BP", "HR", "WEIGHT"])].groupby(["subject_id", "time"])["code"].agg(list)
    assert all(codes == sorted(codes) for codes in groups)


def test_gaps_are_to_the_minute(made):
    timed = made[made["time"].notna() & (made["code"] != "MEDS_DEATH")]
    assert set(timed["time"].dt.minute) == {0, 30}


def test_static_facts_keep_their_pairs(made):
    static = made[made["time"].isna()]
    sex = static[static["code"].astype(str).str.startswith("GENDER")].set_index("subject_id")["code"].astype(str)
    age = static[static["code"] == "Age"].set_index("subject_id")["numeric_value"]
    assert (age == sex.map({"GENDER//F": 70, "GENDER//M": 50})).mean() > 0.95
    assert 0.3 < (sex == "GENDER//F").mean() < 0.7


def test_ages_are_births_before_the_first_event():
    frame = stays(200, is_calendar=True)
    made = fitted(frame).sample(200, seed=0)
    begin = made[made["code"] == "HR"].groupby("subject_id")["time"].min()
    birth = made[made["code"] == "MEDS_BIRTH"].set_index("subject_id")["time"]
    age = (begin - birth).dt.days / 365.25
    assert set(age.round()) <= {50.0, 70.0}
    first = made[made["time"].notna() & (made["code"] != "MEDS_BIRTH")].groupby("subject_id")["time"].min()
    assert set(first.dt.hour) == {8, 20}


def test_a_setting_that_never_changes_repeats_exactly(made):
    weight = made[made["code"] == "WEIGHT"].groupby("subject_id")["numeric_value"]
    assert (weight.nunique() == 1).all()
    assert set(weight.first()) <= set(range(60, 68))
    pulse = made[made["code"] == "HR"]["numeric_value"]
    assert pulse.between(60, 99).all()
    assert (pulse == pulse.round()).all()


def test_texts_follow_the_text_before(made):
    texts = made[made["code"] == "RHYTHM"].groupby("subject_id", observed=True)["text_value"].agg(list)
    assert {text for row in texts for text in row} == {"sinus", "AF"}
    steps = [pair for row in texts for pair in itertools.pairwise(row)]
    assert ("AF", "sinus") not in steps


def test_tens_of_thousands_of_codes_fit_and_are_drawn():
    rng = np.random.default_rng(0)
    n, per_patient = 2_000, 60
    code = np.minimum(rng.zipf(1.3, n * per_patient), 30_000)
    rows = pd.DataFrame(
        {"subject_id": np.repeat(np.arange(n), per_patient), "code": [f"CODE//{k}" for k in code], "minute": 0}
    )
    rows["minute"] = rng.integers(0, 1440, len(rows))
    frame = minutes_frame(rows[["subject_id", "minute", "code"]].values.tolist())
    frame = frame.sort_values(["subject_id", "time"], ignore_index=True)
    generator = fitted(frame)
    made = generator.sample(200, seed=0)
    assert len(generator.codes) > 500
    # A patient's number of events is drawn with about its mean as deviation: 200 of them are within .35 of it.
    in_vocabulary = frame["code"].isin(generator.codes).mean() * per_patient
    assert len(made) / 200 == pytest.approx(in_vocabulary, rel=0.35)
    common = frame["code"].value_counts(normalize=True)["CODE//1"]
    assert (made["code"] == "CODE//1").mean() == pytest.approx(common, abs=0.05)
