import numpy as np
import pytest

from ehr_pipeline.evaluate.effects import Effects, fit_logistic, weighted_difference
from ehr_pipeline.evaluate.encoding import Encoding
from ehr_pipeline.evaluate.plan import EffectQuestion
from ehr_pipeline_tests.evaluate.examples import PLAN, SCHEMA, patients, shuffled


def effects(n=4000, question=PLAN.effect):
    train = patients(n, 1)
    encoding = Encoding.learn(train, SCHEMA)
    return encoding, Effects(question, encoding.encode(train), encoding)


def test_logistic_regression_of_a_two_by_two_table():
    # 30 of 40 with x, 10 of 40 without: log-odds ratio ln(9), standard error sqrt(1/30+1/10+1/10+1/30)
    x = np.repeat([1.0, 1.0, 0.0, 0.0], [30, 10, 10, 30])[:, None]
    y = np.repeat([1.0, 0.0, 1.0, 0.0], [30, 10, 10, 30])
    coefficients, errors = fit_logistic(x, y)
    assert coefficients[1] == pytest.approx(np.log(9), abs=1e-4)
    assert errors[1] == pytest.approx((2 / 30 + 2 / 10) ** 0.5, abs=1e-4)


def test_risk_difference_by_strata_by_hand():
    # stratum 0: 1 of 4 treated, stratum 1: 3 of 4; risk 0.5 treated and 0.25 untreated in both: difference 0.25
    rows = [(0, 1, 0.5, 80), (0, 0, 0.25, 240), (1, 1, 0.5, 240), (1, 0, 0.25, 80)]
    x, treated, outcome = [], [], []
    for stratum, arm, risk, n in rows:
        x += [stratum] * n
        treated += [arm] * n
        outcome += [1.0] * int(risk * n) + [0.0] * (n - int(risk * n))
    found = weighted_difference(
        np.array(x, float)[:, None], np.array(treated, float), np.array(outcome), np.arange(640)
    )
    assert found.value == pytest.approx(0.25, abs=1e-4)


def test_sandwich_error_is_the_spread_over_repetitions():
    encoding, asked = effects()
    estimates = [asked.estimate(encoding.encode(patients(600, seed)))[1] for seed in range(150)]
    spread = np.std([estimate.value for estimate in estimates])
    assert np.mean([estimate.error for estimate in estimates]) == pytest.approx(spread, rel=0.2)


def test_truth_is_covered_and_lost_by_independent_columns():
    encoding, asked = effects()
    fresh = asked.readings(asked.estimate(encoding.encode(patients(4000, 2))))
    assert fresh["causal_log_odds"].low < -0.8 < fresh["causal_log_odds"].high
    assert fresh["causal_log_odds_error"].low == 0
    lost = asked.readings(asked.estimate(encoding.encode(shuffled(patients(4000, 2)))))
    assert lost["causal_log_odds_error"].low > 0.4


def test_without_a_truth_errors_are_against_the_training_table():
    _, asked = effects(question=EffectQuestion("treated", "died", ("sick",)))
    readings = asked.readings(asked.train)
    assert readings["causal_log_odds_error"].value == 0
    assert readings["causal_risk_difference_error"].value == 0


def test_what_cannot_be_estimated_says_why():
    encoding, asked = effects()
    few = encoding.encode(patients(4, 2))
    readings = asked.readings(asked.estimate(few))
    assert readings["causal_log_odds"].value is None
    assert "fewer than 5 rows" in readings["causal_log_odds"].note
    _, unknown = effects(question=EffectQuestion("treated", "died", ("nowhere",)))
    assert "nowhere" in unknown.train[0].note
