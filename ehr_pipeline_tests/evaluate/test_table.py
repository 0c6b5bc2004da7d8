import json

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.evaluate.attacks.findings import UNMOVED
from ehr_pipeline.evaluate.plan import EffectQuestion, EvaluationPlan, Task
from ehr_pipeline.evaluate.references import prepare_references
from ehr_pipeline.evaluate.table import PARTS, evaluate_table
from ehr_pipeline.record import SMALL_CELL, Column, Schema, conform
from ehr_pipeline_tests.evaluate.examples import PLAN, SCHEMA, patients, shuffled

N_TRAIN, N_HOLDOUT = 1600, 1200
NORMALISED = ("correlation_error", "c2st_auc", "comissing_error")


@pytest.fixture(scope="module")
def references():
    return prepare_references(patients(N_TRAIN, 1), patients(N_HOLDOUT, 2), SCHEMA, PLAN, 0)


def evaluate(synthetic, references, **options):
    train, holdout = patients(N_TRAIN, 1), patients(N_HOLDOUT, 2)
    return evaluate_table(train, holdout, synthetic, SCHEMA, plan=PLAN, seed=0, references=references, **options)


@pytest.fixture(scope="module")
def fresh(references):
    return evaluate(patients(N_TRAIN, 3), references)


@pytest.fixture(scope="module")
def independent(references):
    return evaluate(shuffled(patients(N_TRAIN, 1)), references)


def test_the_holdout_in_the_synthetic_place_scores_the_floor(references):
    scores = evaluate(patients(N_HOLDOUT, 2), references).scores
    for name in ("ks_mean", "tvd_mean", "correlation_error", "tvd2_mean", "missing_rate_error"):
        assert scores[name].value == pytest.approx(scores[name].floor), name
    assert scores["correlation_error"].normalised == pytest.approx(0)


def test_fresh_rows_score_near_zero_and_pass(fresh):
    for name in NORMALISED:
        assert abs(fresh.scores[name].normalised) < 0.2, name
    failed = [name for name, score in fresh.scores.items() if score.verdict == "failed"]
    assert failed == []
    noted = [name for name, score in fresh.scores.items() if score.note and not name.endswith("_max")]
    assert all(fresh.scores[name].note == UNMOVED or "0.1%" in name for name in noted)


def test_independent_columns_score_near_one_fail_fidelity_and_utility_and_pass_privacy(independent):
    for name in NORMALISED:
        assert independent.scores[name].normalised == pytest.approx(1, abs=0.2), name
    failed = {score.dimension for score in independent.scores.values() if score.verdict == "failed"}
    assert failed == {"fidelity", "utility"}


def test_every_score_has_its_place_and_most_have_intervals(fresh):
    for name, score in fresh.scores.items():
        assert score.name == name
        assert score.value is not None or score.note
        if score.low is not None:
            assert score.low <= score.value <= score.high, name
    without = {name for name, score in fresh.scores.items() if score.value is not None and score.low is None}
    assert without == set()


def test_the_same_seed_gives_the_same_evaluation_and_progress_names_every_part(fresh, references):
    steps = []
    assert evaluate(patients(N_TRAIN, 3), references, progress=steps.append) == fresh
    assert [step.done for step in steps] == list(range(1, len(PARTS) + 1))


def small(synthetic, references=None):
    train, holdout = patients(300, 1), patients(200, 2)
    return evaluate_table(train, holdout, synthetic, SCHEMA, plan=PLAN, seed=0, references=references)


def test_references_of_other_tables_are_not_used():
    other = prepare_references(patients(300, 7), patients(200, 8), SCHEMA, PLAN, 0)
    assert small(patients(300, 3), other) == small(patients(300, 3))


def test_missing_columns_are_left_out_and_said():
    found = small(patients(300, 3).drop(columns=["lab", "died"]))
    assert found.left_out == ["lab", "died"]
    assert "lab" not in [column.name for column in found.columns]
    assert found.scores["tstr_hgb[died]"].verdict == "failed"
    assert found.scores["causal_log_odds"].value is None
    assert any("lab" in warning for warning in found.warnings)


def test_what_stands_behind_the_pictures(fresh):
    assert [column.name for column in fresh.columns] == SCHEMA.names
    age = next(column for column in fresh.columns if column.name == "age")
    assert len(age.train) == len(age.bins) - 1
    assert fresh.correlation.names[:4] == ["age", "weight", "lab", "pressure"]
    matrix = np.array(fresh.correlation.train)
    assert matrix.shape == (len(fresh.correlation.names),) * 2
    assert np.allclose(np.diag(matrix), 1)
    assert [curve.label for curve in fresh.two_sample] == ["synthetic rows", "fresh real rows"]
    assert [(task.target, task.model, len(task.curves)) for task in fresh.tasks] == [
        ("died", "boosted", 2),
        ("died", "linear", 2),
    ]
    assert {group.column for group in fresh.subgroups} == {"sex", "site"}
    assert fresh.n_rows == {"train": 1600, "holdout": 1200, "synthetic": 1600, "compared": 1200}
    assert fresh.effect.true_log_odds == -0.8
    assert len(fresh.effect.estimates) == 6


def test_epidemiology_is_worked_out_from_the_tables(fresh):
    train, made = patients(N_TRAIN, 1), patients(N_TRAIN, 3)
    rows = {row.label: row for row in fresh.epidemiology}
    assert rows["Mean age"].real == pytest.approx(train["age"].mean())
    assert rows["sick"].synthetic == pytest.approx(100 * made["sick"].mean())
    female = 100 * (made["sex"] == "F").mean() - 100 * (train["sex"] == "F").mean()
    assert rows["sex: F"].difference == pytest.approx(female)


def test_subgroups_are_measured_inside_the_group(fresh):
    group = next(g for g in fresh.subgroups if (g.column, g.level) == ("sex", "F"))
    train, made = patients(N_TRAIN, 1), patients(N_TRAIN, 3)
    assert group.n_real == (train["sex"] == "F").sum()
    assert group.share_ratio == pytest.approx((made["sex"] == "F").mean() / (train["sex"] == "F").mean())
    assert set(group.scores) == {"ks_mean", "correlation_error", "tstr_gap[died]"}


def test_a_group_that_the_synthetic_table_lost_is_seen():
    made = patients(300, 3)
    made = made[made["sex"] == "M"].reset_index(drop=True)
    group = next(g for g in small(made).subgroups if (g.column, g.level) == ("sex", "F"))
    assert group.share_ratio == 0
    assert group.n_synthetic is None


WIDE = Schema(
    columns=(
        *(Column(name=f"lab{number}", kind="continuous") for number in range(8)),
        Column(name="gone", kind="continuous"),
        Column(name="constant", kind="continuous"),
        Column(name="count", kind="integer"),
        Column(name="died", kind="binary", role="outcome"),
        Column(name="never", kind="binary"),
        Column(name="sex", kind="categorical", role="sensitive"),
        Column(name="arrival", kind="time"),
        Column(name="words", kind="text"),
    )
)
WIDE_PLAN = EvaluationPlan(
    tasks=(Task("died"), Task("never"), Task("sex", "F"), Task("lab1"), Task("nowhere")),
    effect=EffectQuestion("died", "sex", ("lab1",)),
    sensitive=("sex", "lab2", "count"),
)


def ugly(n, seed, has_gaps=True):
    """Many gaps, an empty, a constant and a one-class column, times and words."""
    rng = np.random.default_rng(seed)
    columns = {f"lab{number}": rng.normal(size=n).round(2) for number in range(8)}
    if has_gaps:
        columns = {name: np.where(rng.random(n) < 0.6, np.nan, values) for name, values in columns.items()}
    columns |= {
        "gone": np.full(n, np.nan),
        "constant": np.full(n, 3.0),
        "count": rng.integers(0, 40, n),
        "died": (rng.random(n) < 0.1).astype(int),
        "never": np.zeros(n, dtype=int),
        "sex": rng.choice(["F", "M"], n),
        "arrival": pd.Timestamp("2150-01-01") + pd.to_timedelta(rng.integers(0, 10**8, n), unit="s"),
        "words": np.repeat("chest pain", n),
    }
    return conform(pd.DataFrame(columns), WIDE)


def is_outside(score):
    return score.value < score.threshold if score.better == "higher" else score.value > score.threshold


@pytest.mark.parametrize(
    ("n_train", "n_holdout", "n_synthetic", "has_gaps"),
    [(70, 30, 70, True), (70, 30, 70, False), (1, 1, 1, True), (1, 0, 3, True), (0, 0, 0, True), (6, 2, 100, True)],
)
def test_few_patients_never_crash_never_pass_and_are_said_to_be_few(n_train, n_holdout, n_synthetic, has_gaps):
    found = evaluate_table(
        ugly(n_train, 1),
        ugly(n_holdout, 2),
        ugly(n_synthetic, 3, has_gaps).drop(columns="words"),
        WIDE,
        plan=WIDE_PLAN,
        seed=0,
    )
    assert not [score.name for score in found.scores.values() if score.verdict == "passed"]
    for score in found.scores.values():
        assert score.note or (score.value is not None and (score.verdict == "diagnostic" or is_outside(score)))
    assert any("training and" in warning for warning in found.warnings)
    assert found.left_out == ["words"]
    for column in found.columns:
        for counts in (column.train, column.holdout, column.synthetic):
            assert all(count is None or count >= SMALL_CELL for count in counts)
    assert json.loads(found.model_dump_json())["scores"]


def test_no_exact_value_of_a_patient_is_an_edge():
    train = ugly(150, 1)
    found = evaluate_table(train, ugly(100, 2), ugly(150, 3), WIDE, plan=EvaluationPlan(), seed=0)
    for column in found.columns:
        if column.bins is not None and column.name.startswith("lab"):
            present = train[column.name].dropna()
            assert column.bins[0] != present.min()
            assert column.bins[-1] != present.max()
