"""Noisy marginals: what it spends, what one patient may move, what it keeps, and where it must fall back."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.generators import clique_selection, marginals, private_codec
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.clique_selection import SENSITIVITY, candidate_triples, choose, scores
from ehr_pipeline.generators.coarse_columns import CoarseColumn, Grains
from ehr_pipeline.generators.configs import MarginalsConfig
from ehr_pipeline.generators.marginals import Marginals
from ehr_pipeline.generators.marginals_plan import MarginalsPlan
from ehr_pipeline.privacy.budget import Budget, GaussianMechanism, PrivacyPlan, PureMechanism
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.simulate.medicore import simulate_medicore

QUICK = MarginalsConfig(rows=2_000, triples=2)
RANGES = {
    "age": (18, 95, 1),
    "bmi": (15, 55, 1),
    "hba1c": (3.5, 14, 2),
    "cholesterol": (100, 350, 0),
    "systolic_bp": (80, 220, 0),
    "creatinine": (0.4, 5, 2),
}
ROLES = {"treatment": "treatment", "adverse_event": "outcome"}


def case_study(n: int, seed: int = 0, rows_per_patient: int = 1) -> TrainingCohort:
    """The case study's twelve columns with their public ranges."""
    frame = simulate_medicore(n, np.random.default_rng(seed))
    columns = []
    for name in frame.columns:
        role = ROLES.get(name, "feature")
        if name in RANGES:
            low, high, decimals = RANGES[name]
            columns.append(Column(name=name, kind="continuous", minimum=low, maximum=high, decimals=decimals))
        elif name == "sex":
            columns.append(Column(name=name, kind="categorical", levels=("F", "M"), missing=False))
        else:
            columns.append(Column(name=name, kind="binary", missing=False, role=role))
    schema = Schema(columns=tuple(columns))
    return TrainingCohort(
        schema=schema, table=conform(frame, schema), subject_id=np.arange(n, dtype=np.int64) // rows_per_patient
    )


def part_of(cohort: TrainingCohort, names: list[str]) -> TrainingCohort:
    schema = Schema(columns=tuple(cohort.schema[name] for name in names))
    return TrainingCohort(schema=schema, table=cohort.table[names], subject_id=cohort.subject_id)


@pytest.fixture(scope="module")
def fitted() -> Marginals:
    return Marginals.fit(case_study(20_000), MarginalsConfig(rows=5_000), Budget(epsilon=1.0, delta=1e-5))


class Watched:
    """What a fit asks of the sources of noise: Gaussian scales per unit of sensitivity, epsilons of choices."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scales: list[float] = []
        self.epsilons: list[float] = []
        for module in (marginals, private_codec):
            real = module.noisy_counts

            def counts(counts, noise_multiplier, *, sensitivity=1.0, real=real):
                self.scales.append(noise_multiplier)
                assert sensitivity == 1.0
                return real(counts, noise_multiplier)

            monkeypatch.setattr(module, "noisy_counts", counts)
        real_choice = clique_selection.noisy_choice

        def choice(scores, epsilon, *, sensitivity):
            self.epsilons.append(epsilon)
            assert sensitivity == SENSITIVITY
            return real_choice(scores, epsilon, sensitivity=sensitivity)

        monkeypatch.setattr(clique_selection, "noisy_choice", choice)


def spent(plan: PrivacyPlan) -> tuple[float, list[float]]:
    """Inverse squares of all Gaussian noises, and epsilons of all choices, as a plan says them."""
    gaussian = [one for one in plan.mechanisms if isinstance(one, GaussianMechanism)]
    pure = [one for one in plan.mechanisms if isinstance(one, PureMechanism)]
    return sum(one.steps / one.noise_multiplier**2 for one in gaussian), [
        one.epsilon for one in pure for _ in range(one.steps)
    ]


@pytest.mark.parametrize("settings", [{}, {"pairs_per_column": 1, "triples": 3, "rounds": 2}])
def test_fit_spends_what_its_plan_says_and_nothing_else(monkeypatch, settings):
    watched = Watched(monkeypatch)
    cohort, config = case_study(400), MarginalsConfig(rows=2_000, **settings)
    budget = Budget(epsilon=1.0, delta=1e-5)
    plan = Marginals.privacy_plan(cohort.schema, config, budget)
    generator = Marginals.fit(cohort, config, budget)
    assert generator.privacy == plan
    assert plan.accounted.epsilon <= budget.epsilon
    assert plan.accounted.epsilon > 0.97 * budget.epsilon
    precision, epsilons = spent(plan)
    assert sum(1 / scale**2 for scale in watched.scales) == pytest.approx(precision)
    assert watched.epsilons == pytest.approx(epsilons)


def test_plan_knows_no_patient_and_no_choice_is_left_to_chance_alone():
    schema = case_study(1).schema
    for epsilon in (0.01, 0.1, 1.0):
        plan = Marginals.privacy_plan(schema, MarginalsConfig(), Budget(epsilon=epsilon, delta=1e-5))
        assert plan.accounted.epsilon <= epsilon
        choices = [one for one in plan.mechanisms if isinstance(one, PureMechanism)]
        assert all(one.epsilon > 1e-3 for one in choices)
    assert choices


def test_one_more_patient_moves_each_count_and_score_by_at_most_one():
    rng = np.random.default_rng(0)
    sizes = (5, 3, 4, 2)
    bins = [CoarseColumn(np.arange(n), np.zeros((n, 0))) for n in sizes]
    grains = Grains({2: bins, 3: bins})
    rows = np.column_stack([rng.integers(0, n, 400) for n in sizes])
    model = np.column_stack([rng.integers(0, n, 300) for n in sizes])
    cliques = [*combinations(range(4), 2), *combinations(range(4), 3)]
    before = scores(cliques, grains, rows, model, n=390.0, noise=7.0)
    for _ in range(30):
        more = np.vstack([rows, [rng.integers(0, n) for n in sizes]])
        for clique in cliques:
            moved = grains.counts(clique, more) - grains.counts(clique, rows)
            assert np.linalg.norm(moved) == 1
        after = scores(cliques, grains, more, model, n=390.0, noise=7.0)
        assert np.abs(after - before).max() <= SENSITIVITY + 1e-9


def test_all_rows_of_a_patient_count_as_one(monkeypatch):
    totals = []

    def counted(counts, noise_multiplier, *, sensitivity=1.0):
        totals.append(int(counts.sum()))
        return counts

    for module in (marginals, private_codec):
        monkeypatch.setattr(module, "noisy_counts", counted)
    Marginals.fit(case_study(900, rows_per_patient=3), QUICK, Budget(epsilon=1.0, delta=1e-5))
    assert set(totals) == {300}


def test_choice_takes_the_best_where_there_is_no_budget_and_each_once():
    candidates = list(combinations(range(5), 2))
    each = np.arange(len(candidates), dtype=float)
    assert choose(candidates, each, 3, None) == candidates[:-4:-1]
    assert sorted(choose(candidates, each, 99, 5.0)) == candidates


def test_clearly_best_candidate_is_chosen_privately():
    # 5,000 above all others at epsilon 0.1: the chance of another is below 45 exp(-250).
    each = np.zeros(45)
    each[17] = 5_000
    candidates = list(combinations(range(10), 2))
    assert choose(candidates, each, 1, 0.1) == [candidates[17]]


def test_triples_on_offer_hold_two_measured_pairs_and_are_new():
    rng = np.random.default_rng(0)
    triples = candidate_triples((2, 0, 1, 3), [(2, 0), (0, 1), (2, 3)], rng)
    assert set(triples) == {(2, 0, 1), (2, 0, 3)}
    assert candidate_triples((0, 1, 2), [(0, 1), (1, 2), (0, 1, 2)], rng) == []


def test_pairs_of_a_dozen_columns_are_all_measured_and_few_of_a_wide_table():
    narrow = MarginalsPlan.of(case_study(1).schema, MarginalsConfig(), None)
    assert set(combinations(narrow.order, 2)) <= set(narrow.fixed)
    columns = [Column(name=f"c{k}", kind="binary") for k in range(149)] + [
        Column(name="y", kind="binary", role="outcome")
    ]
    wide = MarginalsPlan.of(Schema(columns=tuple(columns)), MarginalsConfig(), None)
    assert {clique[-1] for clique in wide.fixed} == {149}
    assert len(wide.fixed) + sum(wide.n_pairs) == 6 * 150


def test_study_cliques_are_measured_in_the_order_of_the_chain():
    schema = case_study(1).schema
    names = schema.names
    by_default = MarginalsPlan.of(schema, MarginalsConfig(), None)
    assert [names[k] for k in by_default.order[-2:]] == ["treatment", "adverse_event"]
    triples = [clique for clique in by_default.fixed if len(clique) == 3]
    assert len(triples) == 10
    assert {(names[t], names[o]) for _, t, o in triples} == {("treatment", "adverse_event")}
    asked = MarginalsConfig(cliques=(("adverse_event", "age", "treatment", "sex"),))
    [clique] = [clique for clique in MarginalsPlan.of(schema, asked, None).fixed if len(clique) > 2]
    assert [names[k] for k in clique] == ["age", "sex", "treatment", "adverse_event"]
    with pytest.raises(DefinitionError, match="nowhere"):
        MarginalsPlan.of(schema, MarginalsConfig(cliques=(("age", "nowhere"),)), None)
    with pytest.raises(ValidationError, match="two to five distinct columns"):
        MarginalsConfig(cliques=(("age", "age"),))


def test_dependence_point_masses_and_effect_survive_the_noise(fitted):
    real, drawn = case_study(20_000).table, fitted.sample(20_000, seed=1)
    assert abs(fitted.n_patients - 20_000) < 1_000
    numbers = [*RANGES, "diabetes", "cvd", "treatment", "adverse_event"]
    gap = np.abs(real[numbers].astype(float).corr() - drawn[numbers].astype(float).corr()).to_numpy()
    assert gap[np.triu_indices(len(numbers), 1)].mean() < 0.03
    at_bound = [(table["hba1c"] == 3.5).mean() for table in (real, drawn)]
    assert at_bound[0] == pytest.approx(at_bound[1], abs=0.02)
    risk = [
        [math.log(p / (1 - p)) for p in table.groupby("treatment")["adverse_event"].mean().astype(float)]
        for table in (real, drawn)
    ]
    assert risk[0][1] - risk[0][0] == pytest.approx(risk[1][1] - risk[1][0], abs=0.35)


def test_conditions_follow_the_model_own_conditional(fitted):
    drawn = fitted.sample(30_000, seed=2)
    given = fitted.sample(5_000, seed=3, conditions={"diabetes": 1, "treatment": 1})
    wanted = drawn[(drawn["diabetes"] == 1) & (drawn["treatment"] == 1)]
    assert 0 < given.attrs["acceptance_rate"] <= 1
    for name in ("age", "hba1c", "adverse_event"):
        spread = float(wanted[name].astype(float).std())
        difference = float(given[name].astype(float).mean() - wanted[name].astype(float).mean())
        assert abs(difference) < 6 * spread * math.sqrt(1 / len(wanted) + 1 / len(given))


def test_noise_has_no_seed():
    cohort, budget = part_of(case_study(500), ["age", "sex", "cvd"]), Budget(epsilon=1.0, delta=1e-5)
    first, second = (Marginals.fit(cohort, QUICK, budget).sample(300, seed=0) for _ in range(2))
    assert not first.equals(second)


def test_without_a_budget_nothing_is_promised_and_nothing_random():
    cohort = part_of(case_study(2_000), ["age", "sex", "treatment", "adverse_event"])
    first, second = (Marginals.fit(cohort, QUICK) for _ in range(2))
    assert first.privacy is None
    assert first.n_patients is None
    pd.testing.assert_frame_equal(first.sample(200, seed=0), second.sample(200, seed=0))


def test_saved_and_loaded_it_draws_the_same(fitted, tmp_path):
    fitted.save(tmp_path)
    pd.testing.assert_frame_equal(fitted.sample(200, seed=4), Marginals.load(tmp_path).sample(200, seed=4))


@pytest.mark.parametrize("epsilon", [0.05, 1.0])
def test_small_tables_stay_near_independence(epsilon):
    """300 patients: what noise there is must not pass for dependence."""
    generator = Marginals.fit(case_study(300), QUICK, Budget(epsilon=epsilon, delta=1e-5))
    drawn = generator.sample(5_000, seed=0)
    numbers = drawn[list(RANGES)].astype(float)
    varying = numbers.loc[:, numbers.std() > 0].corr().to_numpy()
    off_diagonal = varying[np.triu_indices(len(varying), 1)]
    assert off_diagonal.size == 0 or np.abs(off_diagonal).mean() < 0.35


@pytest.mark.parametrize("names", [["age"], ["sex"], ["age", "cvd"], ["age", "sex", "cvd"]])
def test_few_columns_are_enough(names):
    generator = Marginals.fit(part_of(case_study(500), names), QUICK, Budget(epsilon=1.0, delta=1e-5))
    drawn = generator.sample(100, seed=0)
    assert list(drawn.columns) == names
    assert drawn.notna().all(axis=None) or "age" in names


def test_missing_everywhere_and_a_large_vocabulary():
    levels = tuple(f"code {k}" for k in range(1_000))
    schema = Schema(
        columns=(
            Column(name="never", kind="continuous", minimum=0, maximum=10, decimals=1),
            Column(name="code", kind="categorical", levels=levels),
            Column(name="flag", kind="binary"),
        )
    )
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "never": np.nan,
            "code": np.where(rng.random(5_000) < 0.3, None, np.array(levels)[rng.integers(0, 1_000, 5_000) // 100]),
            "flag": np.where(rng.random(5_000) < 0.5, np.nan, 1.0),
        }
    )
    cohort = TrainingCohort(schema=schema, table=conform(frame, schema), subject_id=np.arange(5_000))
    generator = Marginals.fit(cohort, QUICK, Budget(epsilon=2.0, delta=1e-5))
    assert generator.chain.grains.n_cells((0, 1, 2)) < 5_000
    drawn = generator.sample(3_000, seed=0)
    assert drawn["never"].isna().mean() > 0.95
    assert drawn["code"].isna().mean() == pytest.approx(0.3, abs=0.1)
    assert set(drawn["code"].dropna()) <= set(levels)


def test_column_without_public_bounds_is_refused_before_anything_is_read():
    cohort = case_study(50)
    columns = (*cohort.schema.columns[1:], Column(name="age", kind="continuous"))
    bare = TrainingCohort(schema=Schema(columns=columns), table=cohort.table, subject_id=cohort.subject_id)
    with pytest.raises(DefinitionError, match="age.*minimum and maximum"):
        Marginals.fit(bare, QUICK, Budget(epsilon=1.0, delta=1e-5))


def test_unknown_condition_is_refused_by_its_column(fitted):
    with pytest.raises(OptionError, match="nobody"):
        fitted.sample(10, seed=0, conditions={"nobody": 1})
