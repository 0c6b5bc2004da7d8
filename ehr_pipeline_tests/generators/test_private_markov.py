"""What a fit of Markov timelines within a budget spends, and what it does not tell."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.generators.configs import TimelineMarkovConfig
from ehr_pipeline.generators.private_markov import SHARES, fit_private, markov_plan
from ehr_pipeline.generators.private_vocabulary import number_ranges
from ehr_pipeline.generators.timeline_markov import TimelineMarkov
from ehr_pipeline.generators.timelines import BIRTH, DEATH
from ehr_pipeline.privacy.budget import Accounted, Budget, GaussianMechanism, PrivacyPlan
from ehr_pipeline_tests.generators.cohorts import timeline_cohort
from ehr_pipeline_tests.timelines.events import stays

NOISE = 0.4
"""Of all measurements together: far less than a budget for release would take, so that few patients suffice."""


def loud_plan() -> PrivacyPlan:
    mechanisms = tuple(
        GaussianMechanism(name=name, noise_multiplier=NOISE / math.sqrt(share)) for name, share in SHARES.items()
    )
    spent = Accounted(epsilon=99, delta=1e-6, epsilon_prv=None, epsilon_rdp=99, accountant="none")
    return PrivacyPlan(budget=Budget(epsilon=99, delta=1e-6), mechanisms=mechanisms, accounted=spent)


def fitted(frame: pd.DataFrame, **settings) -> TimelineMarkov:
    config = TimelineMarkovConfig(**settings)
    parts, n_patients = fit_private(timeline_cohort(frame), config, loud_plan())
    generator = TimelineMarkov(config=config, **parts)
    generator.n_patients = n_patients
    return generator


@pytest.fixture(scope="module")
def generator() -> TimelineMarkov:
    return fitted(stays(300, is_calendar=True))


def test_the_plan_spends_the_budget_and_is_known_beforehand():
    plan = markov_plan(Budget(epsilon=1, delta=1e-6))
    assert sum(SHARES.values()) == pytest.approx(1)
    assert 0.99 < plan.accounted.epsilon <= 1
    assert plan.accounted.delta == 1e-6
    assert [one.name for one in plan.mechanisms] == list(SHARES)
    assert PrivacyPlan.of_record(plan.record()) == plan
    assert TimelineMarkov.privacy_plan(TimelineMarkovConfig(), plan.budget) == plan


def test_with_much_budget_timelines_look_like_those_learned(generator):
    assert generator.n_patients == pytest.approx(300, abs=30)  # six standard deviations
    assert set(generator.codes) == {"BP", "HR", "WEIGHT", "RHYTHM", DEATH}
    assert generator.codes[-1] == DEATH
    assert generator.clock.window_minutes == pytest.approx(23 * 60 + 59, abs=60)
    made = generator.sample(400, seed=0)
    timed = made[made["time"].notna() & (made["code"] != BIRTH)]
    assert len(timed) / 400 == pytest.approx(76, rel=0.15)
    assert timed[timed["code"] == "HR"]["numeric_value"].mean() == pytest.approx(79.5, abs=4)
    assert set(made["text_value"].dropna()) == {"sinus", "AF"}
    assert {"GENDER//F", "GENDER//M", BIRTH} <= set(made["code"])


def test_it_draws_the_same_after_it_was_saved(generator, tmp_path):
    generator.save(tmp_path)
    pd.testing.assert_frame_equal(generator.sample(20, seed=1), TimelineMarkov.load(tmp_path).sample(20, seed=1))


def test_an_extreme_patient_leaves_no_trace():
    # 2,000 events of codes, texts and values that nobody else has, for ten years.
    frame = stays(200, is_calendar=True)
    n = 2_000
    begin = pd.Timestamp("2150-03-01")
    canary = pd.DataFrame(
        {
            "subject_id": 99,
            "time": begin + pd.to_timedelta(np.arange(n) * 2_592, unit="min"),
            "code": [f"SECRET//{k % 50}" if k % 2 else "HR" for k in range(n)],
            "numeric_value": np.where(np.arange(n) % 2, np.nan, 123_456.0),
            "text_value": [f"only {k % 40}" if k % 2 else None for k in range(n)],
        }
    )
    made = fitted(pd.concat([canary, frame], ignore_index=True))
    # Each could happen with a chance of some 1e-6.
    assert not [code for code in made.codes if code.startswith("SECRET")]
    assert max(codec.highest for codec in made.values.symbols.numbers.values()) < 10_000
    drawn = made.sample(300, seed=0)
    assert not drawn["text_value"].dropna().str.startswith("only").any()
    assert made.clock.window_minutes < 3 * 24 * 60


def test_a_patient_reads_no_further_than_the_first_events():
    made = fitted(stays(100), private_events=10)
    assert made.most_events == 10
    drawn = made.sample(50, seed=0)
    assert drawn[drawn["time"].notna()].groupby("subject_id").size().max() <= 10


def test_few_patients_within_a_small_budget_still_give_events_that_can_be_read():
    poor = Budget(epsilon=1, delta=1e-6)
    made = TimelineMarkov.fit(timeline_cohort(stays(60)), TimelineMarkovConfig(), poor)
    assert made.privacy == markov_plan(poor)
    drawn = made.sample(20, seed=0)
    assert list(drawn.columns) == ["subject_id", "time", "code", "numeric_value", "text_value"]
    assert made.privacy.accounted.epsilon <= 1


def test_ranges_hold_what_many_have_and_nothing_far_away():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(500), 4)
    value = np.round(rng.normal(80, 8, 2000), 1)
    value[7] = 5e6
    found = number_ranges(patient, np.zeros(2000, dtype=int), value, 2, noise=2.0)
    assert set(found) == {0}
    assert found[0].decimals == 1
    assert 5 < found[0].low < 60 and 100 < found[0].high < 1000
