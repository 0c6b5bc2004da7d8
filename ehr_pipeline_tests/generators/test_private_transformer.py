"""What a fit of the timeline transformer within a budget spends, and what it does not tell."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators import private_transformer
from ehr_pipeline.generators.configs import TimelineTransformerConfig
from ehr_pipeline.generators.private_markov import SHARES
from ehr_pipeline.generators.private_transformer import PLAN_HISTOGRAMS, PLAN_STEPS, transformer_plan
from ehr_pipeline.generators.timeline_transformer import TimelineTransformer
from ehr_pipeline.generators.timelines import DEATH, TimelineCohort
from ehr_pipeline.privacy.account import Account
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.privacy.ledger import Ledger
from ehr_pipeline.privacy.training import STEPS_NAME
from ehr_pipeline.storage import DataFolder
from ehr_pipeline.timelines.synthesize import EventsRequest, synthesize_events
from ehr_pipeline_tests.generators.cohorts import timeline_cohort
from ehr_pipeline_tests.timelines.events import stays, write

TINY = {
    "private_guide": 100,
    "private_steps": 2,
    "private_positions": 64,
    "private_width": 8,
    "private_rate": 0.05,
    "updates": 4,
    "gap_rounds": 1,
}
BUDGET = Budget(epsilon=1, delta=1e-6)


@pytest.fixture(autouse=True, scope="module")
def few_steps():
    """Three steps of the plans' training; plans are made once, for the search for the noise takes seconds."""
    private_transformer._plan.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_transformer, "N_PLAN_STEPS", 3)
        yield
    private_transformer._plan.cache_clear()


def config(**settings) -> TimelineTransformerConfig:
    return TimelineTransformerConfig(**{**TINY, **settings})


def fitted(cohort: TimelineCohort, noise: float) -> TimelineTransformer:
    """A fit with so little noise that few patients suffice: nothing for release."""
    plan = transformer_plan(config(), BUDGET)
    quiet = replace(
        plan, mechanisms=tuple(replace(one, noise_multiplier=noise * one.noise_multiplier) for one in plan.mechanisms)
    )
    parts, n_patients = private_transformer.fit_private_transformer(cohort, config(), quiet)
    generator = TimelineTransformer(**parts)
    generator.n_patients = n_patients
    return generator


def canary(n: int = 300) -> pd.DataFrame:
    """One patient with codes, texts and values that nobody else has."""
    k = np.arange(n)
    return pd.DataFrame(
        {
            "subject_id": 99,
            "time": pd.Timestamp("2150-03-01") + pd.to_timedelta(k * 2_592, unit="min"),
            "code": [f"SECRET//{i % 50}" if i % 2 else "HR" for i in k],
            "numeric_value": np.where(k % 2, np.nan, 123_456.0),
            "text_value": [f"only {i % 40}" if i % 2 else None for i in k],
        }
    )


def test_the_plan_spends_the_budget_and_is_known_beforehand():
    plan = transformer_plan(config(), BUDGET)
    assert 0.97 < plan.accounted.epsilon <= 1
    assert plan.accounted.delta == 1e-6
    assert [one.name for one in plan.mechanisms] == [*SHARES, PLAN_HISTOGRAMS, PLAN_STEPS, STEPS_NAME]
    assert PrivacyPlan.of_record(plan.record()) == plan
    assert TimelineTransformer.privacy_plan(config(), BUDGET) == plan
    assert plan.mechanisms[-1].steps == 2 and plan.mechanisms[-1].sampling_rate == 0.05


def test_a_budget_too_small_for_any_noise_is_refused():
    with pytest.raises(OptionError, match="too small"):
        transformer_plan(config(), Budget(epsilon=1e-7, delta=1e-12))


def test_with_little_noise_stays_have_the_codes_of_real_ones_and_are_the_same_after_saving(tmp_path):
    made = fitted(timeline_cohort(stays(200, is_calendar=True)), noise=0.02)
    assert set(made.levels.codes) == {"BP", "HR", "WEIGHT", "RHYTHM", DEATH}
    assert made.n_patients == pytest.approx(200, abs=20)
    drawn = made.sample(60, seed=1)
    assert {"GENDER//F", "GENDER//M"} <= set(drawn["code"])
    timed = drawn[drawn["time"].notna() & (drawn["code"] != "MEDS_BIRTH")]
    assert len(timed) / 60 == pytest.approx(76, rel=0.4)
    after_death = timed.merge(timed[timed["code"] == DEATH][["subject_id", "time"]], on="subject_id")
    assert (after_death["time_x"] <= after_death["time_y"]).all()
    made.save(tmp_path)
    pd.testing.assert_frame_equal(TimelineTransformer.load(tmp_path).sample(60, seed=1), drawn)
    assert not drawn.equals(made.sample(60, seed=2))


def test_an_extreme_patient_leaves_no_trace_in_the_model_folder(tmp_path):
    cohort = timeline_cohort(pd.concat([canary(), stays(200, is_calendar=True)], ignore_index=True))
    made = fitted(cohort, noise=0.05)
    made.save(tmp_path)
    # Each could happen with a chance of some 1e-6.
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"SECRET" not in path.read_bytes() and b"only " not in path.read_bytes(), path.name
    assert max(codec.highest for codec in made.levels.symbols.numbers.values()) < 10_000
    assert made.clock.window_minutes < 3 * 24 * 60


@pytest.mark.parametrize("n", [1, 8])
def test_a_handful_of_patients_still_give_events_that_can_be_read(n, tmp_path):
    cohort = timeline_cohort(stays(8))
    few = replace(cohort, events=cohort.events[cohort.patient < n].reset_index(drop=True), origin=cohort.origin[:n])
    made = TimelineTransformer.fit(few, config(), BUDGET)
    assert made.privacy == transformer_plan(config(), BUDGET)
    assert made.history == []
    made.save(tmp_path)
    drawn = TimelineTransformer.load(tmp_path).sample(5, seed=0)
    assert list(drawn.columns) == ["subject_id", "time", "code", "numeric_value", "text_value"]


def test_a_batch_without_patients_is_a_step_too(monkeypatch):
    # With one chance in a thousand to take part, 30 patients nearly never do.
    monkeypatch.setitem(TINY, "private_rate", 1e-3)
    made = fitted(timeline_cohort(stays(30, is_calendar=True)), noise=0.02)
    assert all(weight.isfinite().all() for weight in made.network.parameters())
    assert torch.isfinite(made.network.gap_bias).all()


def test_a_budget_is_in_the_ledger_and_no_real_number_of_patients_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(TimelineTransformer, "config_type", partial(TimelineTransformerConfig, **TINY))
    write(stays(60), tmp_path / "events.parquet")
    data = DataFolder(tmp_path / "data")
    data.root.mkdir()
    request = EventsRequest(
        events=tmp_path / "events.parquet",
        out=tmp_path / "out.parquet",
        generator="timeline_transformer",
        epsilon=1.0,
        account=Account(data=data, why="test"),
    )
    said = []
    made = synthesize_events(request, say=said.append)
    (entry,) = Ledger(data.ledger).entries()
    assert (entry.kind, entry.generator, entry.epsilon, entry.delta) == ("spend", "timeline_transformer", 1.0, 1e-6)
    assert [one["name"] for one in entry.mechanisms["mechanisms"]][-1] == STEPS_NAME
    assert any(line.startswith("privacy: epsilon") for line in said)
    assert set(pd.read_parquet(tmp_path / "out.parquet")["subject_id"]) <= set(range(1, made.n_patients + 1))
