"""The audit with canaries: it finds a generator that remembers, accuses none that forgets, tells what it cannot see."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.base import GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import IndependentConfig, RecombinationConfig
from ehr_pipeline.generators.independent import Independent
from ehr_pipeline.generators.registry import GENERATORS, generator_type
from ehr_pipeline.privacy import audit as module
from ehr_pipeline.privacy.account import Account
from ehr_pipeline.privacy.audit import Audit, audit, audit_cohort
from ehr_pipeline.privacy.budget import Accounted, Budget, PrivacyPlan, PureMechanism
from ehr_pipeline.privacy.canaries import make_canaries, twins_of
from ehr_pipeline.privacy.lower_bounds import ceiling
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.storage import DataFolder, read_json, write_json, write_parquet
from ehr_pipeline_tests.generators.tables import mixed_cohort
from ehr_pipeline_tests.generators.test_contract import assert_keeps_schema

SCHEMA = Schema(
    columns=(
        *(
            Column(name=name, kind="continuous", minimum=0, maximum=100, decimals=1, missing=False)
            for name in ("a", "b", "c", "d")
        ),
        Column(name="died", kind="binary", missing=False),
        Column(name="unit", kind="categorical", levels=("CCU", "MICU", "SICU")),
    )
)
BUDGET = Budget(epsilon=1.0, delta=1e-5)


def public_cohort(n: int = 600) -> TrainingCohort:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: np.clip(rng.normal(50, 10, n), 0, 100).round(1) for name in "abcd"})
    table = table.assign(died=rng.integers(2, size=n), unit=rng.choice(["CCU", "MICU"], n))
    return TrainingCohort(schema=SCHEMA, table=conform(table, SCHEMA), subject_id=np.arange(n))


class Copier(Independent):
    """Draws the rows that it was given, and says that this is private."""

    rows: pd.DataFrame

    @classmethod
    def privacy_plan(cls, schema: Schema, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        spent = Accounted(epsilon=1.0, delta=1e-5, epsilon_prv=None, epsilon_rdp=1.0, accountant="a lie")
        return PrivacyPlan(budget=budget, mechanisms=(PureMechanism(name="none", epsilon=1.0),), accounted=spent)

    @classmethod
    def fit(cls, cohort, config, budget=None, progress=None, *, checkpoint=None):
        copier = cls(TableCodec.fit(cohort.schema, cohort.table, cohort.subject_id), IndependentConfig())
        copier.rows = cohort.table
        copier.privacy = cls.privacy_plan(cohort.schema, config, budget) if budget else None
        return copier

    def sample(self, n, seed, conditions=None):
        return self.rows.sample(n, replace=True, random_state=seed).reset_index(drop=True)

    def scores(self, table):
        return None


class Knower(Copier):
    """Draws columns by themselves, and knows its own patients by heart."""

    def sample(self, n, seed, conditions=None):
        return Independent.sample(self, n, seed, conditions)

    def scores(self, table):
        known = set(map(tuple, self.rows.astype(str).to_numpy()))
        return np.array([float(tuple(row) in known) for row in table.astype(str).to_numpy()])


@pytest.fixture
def leaky(monkeypatch):
    def lend(generator):
        monkeypatch.setattr(module, "generator_type", lambda name: generator)

    return lend


def test_generator_that_copies_rows_is_found_out(leaky):
    leaky(Copier)
    found = audit("independent", public_cohort(), None, BUDGET, n_canaries=60, seed=3)
    assert found.is_violated
    # 60 canaries, 40 guesses: about two of three who were in are drawn, so not every guess is right.
    assert 1.0 < found.epsilon <= found.ceiling
    assert "is refuted" in found.lines()[-1]


def test_model_that_knows_its_rows_is_found_out_though_its_rows_say_nothing(leaky):
    leaky(Knower)
    found = audit("independent", public_cohort(), None, BUDGET, n_canaries=60, seed=3)
    by_score = {one.score: one for one in found.guesses}
    assert by_score["model"].n_right == 40
    assert by_score["model"].epsilon == pytest.approx(found.ceiling, abs=1e-6)
    assert by_score["nearest"].epsilon < 1.0
    assert found.is_violated


@pytest.mark.parametrize(
    ("name", "config", "budget"),
    [
        ("independent", None, None),
        ("independent", None, BUDGET),
        ("recombination", RecombinationConfig(public_rows=500), BUDGET),
        ("recombination", None, None),
    ],
)
def test_generator_that_forgets_is_not_accused(name, config, budget, monkeypatch):
    # The noise has no seed: the audit's own chance of being wrong is made too small to be met.
    monkeypatch.setattr(module, "CONFIDENCE", 1 - 1e-7)
    found = audit(name, public_cohort(), config, budget, n_canaries=120, seed=1)
    assert not found.is_violated
    assert found.epsilon <= found.ceiling
    assert (found.claimed_epsilon is None) == (name == "independent" and budget is None)
    best = ceiling(120, 80, delta=found.claimed_delta, confidence=1 - 1e-7 / len(found.guesses))
    assert found.ceiling == pytest.approx(best, abs=1e-9)
    said = "\n".join(found.lines())
    assert f"{found.ceiling:.2f} is the most this audit could show" in said
    assert "no violation" in said or "promised nothing" in said


def test_patients_number_stays_where_the_promise_is_for_a_patient_replaced(leaky):
    seen = {}

    class Counted(Copier):
        @classmethod
        def fit(cls, cohort, *rest, **more):
            seen["n"] = len(np.unique(cohort.subject_id)), len(cohort.table)
            return super().fit(cohort, *rest, **more)

    leaky(Counted)
    audit("independent", public_cohort(), None, None, n_canaries=30)
    assert seen["n"] == (630, 630)
    audit("independent", public_cohort(), None, BUDGET, n_canaries=30)  # its unit: add or remove one
    assert 600 < seen["n"][0] < 630


def test_canaries_keep_the_schema_stand_alone_and_are_each_themselves():
    cohort = public_cohort()
    canaries = make_canaries(cohort, 80, np.random.default_rng(0))
    assert_keeps_schema(canaries, SCHEMA)
    assert not canaries.duplicated().any()
    numbers = canaries[list("abcd")].to_numpy(float)
    assert ((numbers <= 25) | (numbers >= 75)).all()
    gaps = np.sqrt(((numbers[:, None] - numbers[None]) ** 2).sum(axis=2)) + 1e9 * np.eye(80)
    to_real = np.sqrt(((numbers[:, None] - cohort.table[list("abcd")].to_numpy(float)[None]) ** 2).sum(axis=2))
    assert min(gaps.min(), to_real.min()) > 5


def test_canaries_are_there_for_any_schema_and_twins_differ_in_one_column():
    cohort = mixed_cohort(300)
    canaries = make_canaries(cohort, 20, np.random.default_rng(0))
    assert_keeps_schema(canaries, cohort.schema)
    assert len(canaries) == 20
    twins = twins_of(canaries, cohort, np.random.default_rng(1))
    assert_keeps_schema(twins, cohort.schema)
    differs = (canaries.astype("string").fillna("") != twins.astype("string").fillna("")).sum(axis=1)
    assert differs.max() == 1


def test_an_audit_of_any_cohort_runs():
    found = audit("independent", mixed_cohort(200), n_canaries=12)
    assert not found.is_violated


def test_too_few_canaries_are_refused():
    with pytest.raises(OptionError, match="canaries"):
        audit("independent", public_cohort(100), n_canaries=11)


def test_audit_of_a_cohort_is_kept_and_charged(tmp_path):
    data = DataFolder(tmp_path)
    folder, cohort = data.cohort("medicore"), public_cohort()
    subject = cohort.subject_id
    for path in (folder.schema, folder.prepared_table):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(folder.schema, SCHEMA.model_dump(mode="json"))
    write_parquet(folder.prepared_table, cohort.table.assign(subject_id=subject))
    write_parquet(
        folder.split, pd.DataFrame({"subject_id": subject, "split": np.where(subject < 500, "train", "holdout")})
    )
    found = audit_cohort(data, "medicore", "independent", BUDGET, n_canaries=20, seed=0)
    kept = read_json(folder.generator("independent").audit)
    assert kept == json.loads(json.dumps(found.record()))
    assert kept["is_violated"] is False
    (entry,) = Account(data=data, why="test").ledger.entries()
    assert (entry.kind, entry.epsilon, entry.source) == ("spend", 1.0, "medicore")
    assert "audit" in entry.why
    assert not folder.generator("independent").model.exists()


def test_same_seed_hides_the_same_canaries():
    one, another = (audit("independent", public_cohort(200), n_canaries=20, seed=4) for _ in range(2))
    assert one == another


@pytest.mark.parametrize("name", ["independent", "recombination"])
def test_likelihoods_are_one_number_per_row(name):
    cohort, config_type = public_cohort(200), GENERATORS[name].config_type
    scores = generator_type(name).fit(cohort, config_type()).scores(cohort.table)
    assert scores.shape == (200,)
    assert np.isfinite(scores).all()


def test_likelihood_of_a_canary_is_below_that_of_a_patient_where_reports_are_clear():
    cohort = public_cohort(600)
    generator = generator_type("recombination").fit(cohort, RecombinationConfig(epsilon0=8))
    canaries = make_canaries(cohort, 50, np.random.default_rng(0))
    assert generator.scores(canaries).mean() < generator.scores(cohort.table).mean() - 5


def test_a_promise_beyond_the_ceiling_is_never_called_kept():
    quiet = Audit(
        generator="x",
        n_canaries=60,
        guesses=(),
        epsilon=0.0,
        ceiling=2.3,
        confidence=0.95,
        claimed_epsilon=8.0,
        claimed_delta=1e-6,
        unit="patient",
        seed=0,
        data_fingerprint="",
    )
    assert quiet.lines()[-1].startswith("no violation of")
    assert quiet.lines()[-1].endswith("was found at resolution 2.30")
