"""Recombination: what it promises, what it says of the recipe as published, and that it keeps the contract."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.configs import RecombinationConfig
from ehr_pipeline.generators.published_recipe import published_plan
from ehr_pipeline.generators.recombination import Recombination
from ehr_pipeline.generators.train import load_model, train
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.privacy.shuffle import UNIT
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.storage import GeneratorFolder
from ehr_pipeline_tests.generators.tables import mixed_cohort
from ehr_pipeline_tests.generators.test_contract import assert_keeps_schema

BUDGET = Budget(epsilon=1.0, delta=1e-5)
SCHEMA = Schema(
    columns=(
        Column(name="age", kind="continuous", minimum=18, maximum=95, decimals=1, missing=False),
        Column(name="lactate", kind="continuous", minimum=0, maximum=20),
        Column(name="visits", kind="integer", minimum=0, maximum=30),
        Column(name="treated", kind="binary", missing=False),
        Column(name="died", kind="binary", missing=False),
        Column(name="unit", kind="categorical", levels=("CCU", "MICU", "SICU")),
    )
)
CONFIGS = {
    "response": RecombinationConfig(epsilon0=4.0),
    "laplace": RecombinationConfig(epsilon0=4.0, numbers="laplace"),
    "blocks": RecombinationConfig(epsilon0=4.0, blocks=(("treated", "died", "lactate"),)),
    "as_published": RecombinationConfig(mode="as_published"),
}


def public_cohort(n: int = 4000, seed: int = 0) -> TrainingCohort:
    rng = np.random.default_rng(seed)
    treated = rng.random(n) < 0.4
    died = rng.random(n) < np.where(treated, 0.05, 0.35)
    table = pd.DataFrame(
        {
            "age": np.clip(rng.normal(60, 15, n), 18, 95).round(1),
            "lactate": np.where(rng.random(n) < 0.2, np.nan, np.clip(np.exp(rng.normal(0.7, 0.6, n)), 0, 20)),
            "visits": np.minimum(rng.poisson(2, n), 30),
            "treated": treated.astype(int),
            "died": died.astype(int),
            "unit": np.where(rng.random(n) < 0.1, None, np.where(died, "MICU", "CCU")),
        }
    )
    return TrainingCohort(schema=SCHEMA, table=conform(table, SCHEMA), subject_id=np.arange(n))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_frame_keeps_the_schema_with_and_without_conditions(config):
    generator = Recombination.fit(public_cohort(), config)
    assert_keeps_schema(generator.sample(500, seed=1), SCHEMA)
    assert_keeps_schema(generator.sample(0, seed=1), SCHEMA)
    frame = generator.sample(200, seed=0, conditions={"died": "1", "unit": "MICU", "age": 70})
    assert_keeps_schema(frame, SCHEMA)
    assert ((frame["died"] == 1) & (frame["unit"] == "MICU") & (frame["age"] == 70)).all()
    first = generator.sample(300, seed=5)
    pd.testing.assert_frame_equal(first, generator.sample(300, seed=5))
    assert not first.equals(generator.sample(300, seed=6))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_saved_and_loaded_it_draws_the_same(config, tmp_path):
    folder = GeneratorFolder(tmp_path / "recombination")
    summary = train("recombination", public_cohort(500), config, folder)
    pd.testing.assert_frame_equal(load_model(folder).sample(200, 7), load_model(folder).sample(200, 7))
    assert {path.suffix for path in folder.model.iterdir()} == {".json", ".safetensors"}
    assert PrivacyPlan.of_record(summary.privacy).record() == summary.privacy
    assert load_model(folder).config == config


@pytest.mark.parametrize(
    ("name", "ks", "shift"), [("response", 0.06, 0.02), ("blocks", 0.06, 0.02), ("laplace", 0.5, 0.05)]
)
def test_columns_come_near_the_real_ones(name, ks, shift):
    """Laplace noise as wide as the range leaves little of a column but where it lies."""
    cohort = public_cohort(20_000)
    frame = Recombination.fit(cohort, CONFIGS[name]).sample(20_000, seed=0)
    for column in ("age", "visits"):
        real, drawn = (np.sort(table[column].dropna().astype(float)) for table in (cohort.table, frame))
        at = np.quantile(real, np.linspace(0.05, 0.95, 19))
        gap = np.searchsorted(real, at, "right") / len(real) - np.searchsorted(drawn, at, "right") / len(drawn)
        assert np.abs(gap).max() < ks
        assert abs(real.mean() - drawn.mean()) < shift * (SCHEMA[column].maximum - SCHEMA[column].minimum)
    assert frame["died"].mean() == pytest.approx(cohort.table["died"].mean(), abs=0.05)
    assert frame["lactate"].isna().mean() == pytest.approx(0.2, abs=0.06)


def test_what_binds_a_block_survives_and_what_binds_two_does_not():
    cohort = public_cohort(20_000)
    real, alone, together = (
        frame["treated"].astype(float).corr(frame["died"].astype(float))
        for frame in (
            cohort.table,
            Recombination.fit(cohort, CONFIGS["response"]).sample(20_000, seed=0),
            Recombination.fit(cohort, CONFIGS["blocks"]).sample(20_000, seed=0),
        )
    )
    assert real < -0.3
    assert abs(alone) < 0.05
    assert abs(together - real) < 0.08
    block = Recombination.fit(cohort, CONFIGS["blocks"])
    deaths = [block.sample(5000, 1, {"treated": treated})["died"].mean() for treated in ("0", "1")]
    assert deaths[0] > deaths[1] + 0.15


def test_budget_is_spent_and_the_plan_reads_no_patient():
    config = RecombinationConfig(public_rows=3000)
    plan = Recombination.privacy_plan(SCHEMA, config, BUDGET)
    assert 0.98 < plan.accounted.epsilon <= 1.0
    assert plan.accounted.delta == BUDGET.delta
    assert plan.unit == UNIT
    assert "replace one" in plan.unit
    (reports,) = plan.mechanisms
    assert (reports.n_patients, reports.steps) == (3000, 6)
    said = " ".join(plan.lines())
    assert f"epsilon {6 * reports.epsilon:.4g} together" in said
    assert "counts twice" in said
    generator = Recombination.fit(public_cohort(3500), config, BUDGET)
    assert generator.privacy == plan
    assert PrivacyPlan.of_record(plan.record()) == plan


def test_fewer_patients_than_the_budget_reckoned_with_are_refused_in_one_line():
    with pytest.raises(OptionError, match="public_rows") as refused:
        Recombination.fit(public_cohort(900), RecombinationConfig(), BUDGET)
    assert "\n" not in str(refused.value)
    assert "900" not in str(refused.value)


def test_rows_of_one_patient_are_one_report():
    cohort = public_cohort(2000)
    hundred = TrainingCohort(schema=SCHEMA, table=cohort.table, subject_id=np.arange(2000) // 20)
    with pytest.raises(OptionError, match="public_rows"):
        Recombination.fit(hundred, RecombinationConfig(public_rows=101), BUDGET)
    generator = Recombination.fit(hundred, RecombinationConfig(public_rows=100))
    assert generator.n_patients == 100
    assert generator.privacy.mechanisms[0].n_patients == 100


def test_without_a_budget_the_promise_is_recorded_all_the_same():
    plan = Recombination.fit(public_cohort(2000), RecombinationConfig(epsilon0=0.5)).privacy
    assert plan.mechanisms[0].epsilon == 0.5
    assert 0 < plan.accounted.epsilon < 3.0
    assert not any("must not be released" in note for note in plan.notes)


def test_two_fits_of_the_same_patients_differ_for_the_noise_has_no_seed():
    cohort, config = public_cohort(300), RecombinationConfig(seed=1)
    one, another = (Recombination.fit(cohort, config).sample(200, 3) for _ in range(2))
    assert not one.equals(another)


def test_columns_that_are_not_public_are_left_out_or_refused():
    generator = Recombination.fit(mixed_cohort(200), RecombinationConfig())
    assert generator.schema.names == ["age", "died", "unit"]
    with pytest.raises(DefinitionError, match="lactate"):
        Recombination.privacy_plan(mixed_cohort(50).schema, RecombinationConfig(), BUDGET)
    schema = Schema(columns=(Column(name="x", kind="continuous"),))
    table = conform(pd.DataFrame({"x": [1.0, 2.0]}), schema)
    with pytest.raises(DefinitionError, match="public"):
        Recombination.fit(TrainingCohort(schema=schema, table=table, subject_id=np.arange(2)), RecombinationConfig())


@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_handful_of_patients_is_enough(n, config):
    assert_keeps_schema(Recombination.fit(public_cohort(n), config).sample(40, seed=0), SCHEMA)


def test_published_recipe_costs_its_ranges_and_says_so():
    # Ranges over a scale of 10: 23 g/dL, 19.9 mg/dL, 260 mmHg, 550 mg/dL.
    labs = {"haemoglobin": (2, 25), "creatinine": (0.1, 20), "systolic": (40, 300), "cholesterol": (50, 600)}
    schema = Schema(
        columns=tuple(
            Column(name=name, kind="continuous", minimum=low, maximum=high) for name, (low, high) in labs.items()
        )
    )
    plan = published_plan(schema, 1e-6)
    assert [one.epsilon for one in plan.mechanisms] == pytest.approx([2.3, 1.99, 26.0, 55.0])
    assert plan.accounted.epsilon == pytest.approx(85.29)
    said = " ".join(plan.lines())
    assert "must not be released" in said
    assert "0.7 does not hold" in said
    assert re.search(r"epsilon 85\.29", said)


def test_published_recipe_leaves_what_the_gate_refuses_and_takes_no_budget(tmp_path):
    folder = GeneratorFolder(tmp_path / "recombination")
    summary = train("recombination", public_cohort(300), CONFIGS["as_published"], folder)
    assert summary.config["mode"] == "as_published"
    assert any("must not be released" in note for note in summary.privacy["notes"])
    assert summary.privacy["accounted"]["epsilon"] > 10
    with pytest.raises(OptionError, match="keeps to no budget"):
        Recombination.fit(public_cohort(300), CONFIGS["as_published"], BUDGET)


def test_published_recipe_is_laplace_of_one_scale_and_the_exponential_mechanism():
    n = 40_000
    schema = Schema(
        columns=(
            Column(name="pressure", kind="continuous", minimum=0, maximum=300, decimals=0, missing=False),
            Column(name="code", kind="categorical", levels=tuple("abcdefghij"), missing=False),
        )
    )
    table = conform(pd.DataFrame({"pressure": 150.0, "code": "c"}, index=range(n)), schema)
    cohort = TrainingCohort(schema=schema, table=table, subject_id=np.arange(n))
    frame = Recombination.fit(cohort, CONFIGS["as_published"]).sample(n, seed=0)
    assert frame["pressure"].std() == pytest.approx(10 * math.sqrt(2), rel=0.05)
    # Everyone has code c: it keeps with e^.25 / (e^.25 + 9), as exponent epsilon * utility / 2 makes it.
    assert (frame["code"] == "c").mean() == pytest.approx(math.exp(0.25) / (math.exp(0.25) + 9), abs=0.02)
