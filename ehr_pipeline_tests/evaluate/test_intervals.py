import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ehr_pipeline.evaluate.dependence import Dependence
from ehr_pipeline.evaluate.encoding import Encoding
from ehr_pipeline.evaluate.intervals import (
    Resampling,
    auc_and_error,
    clopper_pearson,
    hanley_mcneil,
    quantile_interval,
    read,
)
from ehr_pipeline.evaluate.marginals import Marginals
from ehr_pipeline.evaluate.scoring import Reading
from ehr_pipeline.record import Column, Schema


def test_the_first_replicate_is_the_table_itself():
    resampling = Resampling(np.arange(1000), np.random.default_rng(0))
    cells = np.arange(1000) % 3
    assert resampling.counts(cells, 3)[0].tolist() == [334, 333, 333]
    assert resampling.sums(np.ones((1000, 2)))[0].tolist() == [1000, 1000]


def test_too_few_finite_replicates_give_no_interval():
    replicates = np.where(np.arange(101) < 50, 1.0, np.nan)  # the value and 49 replicates
    assert read(replicates) == Reading(1.0)
    assert read(np.where(np.arange(101) < 51, 1.0, np.nan)) == Reading(1.0, 1.0, 1.0)


def test_rows_of_one_patient_are_drawn_together():
    patient = np.repeat(np.arange(300), 4)
    block = Resampling(patient, np.random.default_rng(0)).block.reshape(300, 4)
    assert (block == block[:, :1]).all()


def test_bootstrap_error_of_a_share_is_the_binomial_error():
    rng = np.random.default_rng(1)
    values = (rng.random(4000) < 0.3).astype(float)[:, None]
    errors = [
        (resampling.sums(values) / resampling.n_rows())[1:].std()
        for resampling in (Resampling(np.arange(4000), np.random.default_rng(seed)) for seed in range(20))
    ]
    assert np.mean(errors) == pytest.approx((0.3 * 0.7 / 4000) ** 0.5, rel=0.1)


def test_intervals_cover_the_mean_of_what_they_measure():
    # 40 pairs of tables of the same two populations: the interval of one should hold the mean over all
    schema = Schema(columns=(Column(name="x", kind="continuous"), Column(name="y", kind="continuous")))
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, z = rng.normal(size=(2, 400))
        real = pd.DataFrame({"x": x, "y": 0.8 * x + rng.normal(size=400)})
        other = pd.DataFrame({"x": z + 0.3, "y": 0.2 * z + rng.normal(size=400)})
        encoding = Encoding.learn(real, schema)
        train, table = encoding.encode(real), encoding.encode(other)
        readings = Marginals(train, encoding, rng).readings(table, rng)
        found.append(readings | Dependence(train, encoding, 0, rng).readings(table, rng))
    for name in ("ks_mean", "mean_error", "correlation_error", "tvd2_mean"):
        target = np.mean([readings[name].value for readings in found])
        covered = np.mean([readings[name].low <= target <= readings[name].high for readings in found])
        assert covered >= 0.85, name


def test_auc_and_its_error_by_hand_and_by_repetition():
    label, score = np.array([1, 1, 0, 0]), np.array([3.0, 1.0, 2.0, 0.0])
    assert auc_and_error(label, score, np.arange(4))[0] == 0.75
    aucs, errors = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        label = (rng.random(300) < 0.3).astype(int)
        score = rng.normal(size=300) + label
        auc, error = auc_and_error(label, score, np.arange(300))
        assert auc == pytest.approx(roc_auc_score(label, score))
        aucs.append(auc)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(aucs), rel=0.2)


def test_repeated_rows_of_patients_do_not_make_an_auc_more_certain():
    rng = np.random.default_rng(0)
    label = (rng.random(200) < 0.5).astype(int)
    score = rng.normal(size=200) + label
    once = auc_and_error(label, score, np.arange(200))[1]
    thrice = auc_and_error(np.tile(label, 3), np.tile(score, 3), np.tile(np.arange(200), 3))[1]
    assert thrice == pytest.approx(once, rel=0.05)


def test_perfect_ranking_of_few_is_not_certain():
    _, error = auc_and_error(np.array([1, 1, 1, 0, 0, 0]), np.arange(6.0)[::-1], np.arange(6))
    assert error > 0.3
    assert hanley_mcneil(1.0, 3, 3)[0] < 0.2


def test_exact_interval_of_a_rate():
    # the rule of three: nothing in 100 is at most about 3.6 % (two-sided 95 %)
    assert clopper_pearson(0, 100) == (0, pytest.approx(0.0362, abs=1e-4))
    assert clopper_pearson(0, 0) == (0, 1)


def test_quantile_interval_holds_the_quantile():
    low, high = quantile_interval(np.arange(1001.0), 0.5)
    assert low < 500 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 * 1000 / 1001**0.5, rel=0.01)
