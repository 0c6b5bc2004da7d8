"""The structural equations, against the case study's text written out a second time."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from ehr_pipeline.simulate import medicore
from ehr_pipeline.simulate.medicore import COLUMNS, simulate_medicore, true_effects

N = 300_000


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    return simulate_medicore(N, np.random.default_rng(5))


def logistic(log_odds: pd.Series) -> pd.Series:
    return 1 / (1 + np.exp(-log_odds))


def test_columns_are_the_case_studys_in_order(patients):
    assert tuple(patients.columns) == COLUMNS
    assert set(patients["sex"]) == {"F", "M"}
    for name in COLUMNS[7:]:
        assert set(patients[name]) == {0, 1}


@pytest.mark.parametrize(
    ("name", "low", "high", "decimals"),
    [
        ("age", 18, 95, 1),
        ("bmi", 15, 55, 1),
        ("hba1c", 3.5, 14, 2),
        ("cholesterol", 100, 350, 0),
        ("systolic_bp", 80, 220, 0),
        ("creatinine", 0.4, 5, 2),
    ],
)
def test_quantities_keep_their_range_and_decimals(patients, name, low, high, decimals):
    values = patients[name]
    assert values.between(low, high).all()
    assert (values == values.round(decimals)).all()
    assert (values != values.round(decimals - 1)).any()


def test_inner_quantities_have_the_means_of_their_equations(patients):
    # Means of the unclipped equations: each centre is the mean of its column. Clipping moves them little, but
    # for HbA1c, whose lower bound 3.5 holds more than a tenth of the patients (so its mean is above 4.5).
    for name, mean, tolerance in [
        ("age", 55, 0.2),
        ("bmi", 28, 0.1),
        ("cholesterol", 180, 0.4),
        ("systolic_bp", 120, 0.2),
        ("creatinine", 0.9, 0.005),
    ]:
        assert patients[name].mean() == pytest.approx(mean, abs=tolerance)
    assert 0.11 < (patients["hba1c"] == 3.5).mean() < 0.15
    assert (patients["sex"] == "F").mean() == pytest.approx(0.52, abs=5 * (0.52 * 0.48 / N) ** 0.5)


def test_noise_is_as_large_as_written(patients):
    # What the equations leave of creatinine and systolic pressure, in patients far from every bound.
    inner = patients[patients["age"].between(30, 80) & patients["bmi"].between(20, 40)]
    creatinine = inner["creatinine"] - (0.9 + 0.005 * (inner["age"] - 55))
    systolic = inner["systolic_bp"] - (120 + 0.4 * (inner["age"] - 55) + 0.6 * (inner["bmi"] - 28))
    assert creatinine.std() == pytest.approx(0.2, rel=0.02)
    assert systolic.std() == pytest.approx(15, rel=0.02)


def test_age_and_hba1c_correlate_as_simulated(patients):
    assert patients["age"].corr(patients["hba1c"]) == pytest.approx(0.32, abs=0.02)


def test_each_condition_follows_its_log_odds(patients):
    p = patients
    log_odds = {
        "diabetes": -3 + 0.03 * p["age"] + 0.05 * p["bmi"] + 0.3 * (p["hba1c"] - 6.5),
        "hypertension": -2.5 + 0.025 * p["age"] + 0.04 * p["bmi"] + 0.02 * (p["systolic_bp"] - 120),
        "cvd": -4
        + 0.04 * p["age"]
        + 0.03 * p["bmi"]
        + 0.005 * p["cholesterol"]
        + 0.5 * p["diabetes"]
        + 0.4 * p["hypertension"],
        "treatment": -1 + 0.3 * p["diabetes"] + 0.2 * p["hypertension"] + 0.4 * p["cvd"] + 0.01 * (p["hba1c"] - 6),
        "adverse_event": -2
        + 0.3 * p["diabetes"]
        + 0.2 * p["hypertension"]
        + 0.5 * p["cvd"]
        + 0.02 * p["age"]
        - 0.8 * p["treatment"],
    }
    for name, value in log_odds.items():
        predicted = logistic(value)
        by_decile = pd.DataFrame({"predicted": predicted, "seen": p[name]}).groupby(
            pd.qcut(predicted, 10, duplicates="drop"), observed=True
        )
        gaps = by_decile["seen"].mean() - by_decile["predicted"].mean()
        # A decile holds 30,000 patients: standard error under 0.003.
        assert gaps.abs().max() < 5 * 0.003, name


def test_adjusted_log_odds_of_treatment_are_minus_0_8(patients):
    confounders = ["diabetes", "hypertension", "cvd", "age"]
    model = LogisticRegression(C=1e6, max_iter=500).fit(
        patients[["treatment", *confounders]], patients["adverse_event"]
    )
    assert model.coef_[0][0] == pytest.approx(-0.8, abs=5 * 0.009)  # its standard error at this size


def test_true_effects_are_the_published_ones():
    effects = true_effects(400_000, np.random.default_rng(1), chunk=150_000)
    assert effects.log_odds == -0.8
    assert effects.risk_difference == pytest.approx(-0.1632, abs=0.0004)
    assert 0 < effects.risk_difference_standard_error < 1e-4


def test_chunks_cover_every_patient_once():
    assert list(medicore._sizes(7, 3)) == [3, 3, 1]
    assert list(medicore._sizes(6, 3)) == [3, 3]
    assert true_effects(1, np.random.default_rng(0)).n == 1


def test_same_seed_same_patients():
    one, two = (simulate_medicore(50, np.random.default_rng(3)) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(simulate_medicore(50, np.random.default_rng(4)))


def test_nobody_is_a_valid_number_of_patients():
    assert tuple(simulate_medicore(0, np.random.default_rng(0)).columns) == COLUMNS


def test_coefficients_hold_every_column_and_are_json():
    coefficients = json.loads(json.dumps(medicore.coefficients()))
    assert set(coefficients) == (set(COLUMNS) - {"sex"}) | {"female"}
    assert coefficients["adverse_event"]["terms"][-1] == {"column": "treatment", "coefficient": -0.8, "centre": 0.0}
