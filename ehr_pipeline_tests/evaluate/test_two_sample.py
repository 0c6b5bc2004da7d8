import numpy as np
import pytest

from ehr_pipeline.evaluate.curves import MAX_POINTS, roc
from ehr_pipeline.evaluate.encoding import Encoding
from ehr_pipeline.evaluate.two_sample import grouped_folds, two_sample
from ehr_pipeline_tests.evaluate.examples import SCHEMA, patients, shuffled


def told(other, label="other", n=1000):
    real = patients(n, 1)
    encoding = Encoding.learn(real, SCHEMA)
    return two_sample(encoding, encoding.encode(real), encoding.encode(other), label, 0)


def test_fresh_rows_cannot_be_told_and_independent_ones_can():
    fresh, null = told(patients(1000, 2)), told(shuffled(patients(1000, 2)))
    assert fresh.reading.low < 0.5 < fresh.reading.high + 0.03
    assert null.reading.low > 0.7
    assert null.curve.auc == null.reading.value


def test_a_rounded_column_is_a_tell():
    rounded = patients(1000, 2)
    rounded["age"] = rounded["age"].round(0) + 0.5
    assert told(rounded).reading.low > 0.6


def test_a_patient_is_in_one_fold_only():
    patient = np.repeat(np.arange(100), 3)
    folds = grouped_folds(patient, np.random.default_rng(0)).reshape(100, 3)
    assert (folds == folds[:, :1]).all()
    assert np.bincount(folds[:, 0]).tolist() == [20] * 5


def test_too_few_rows_are_said_to_be_too_few():
    answer = told(patients(3, 2))
    assert answer.reading.value is None
    assert answer.reading.note
    assert answer.curve is None


def test_roc_curve_by_hand():
    # one positive above all, one below the only negative: up to 0.5, across, up to 1
    curve = roc("x", np.array([1, 0, 1]), np.array([3.0, 2.0, 1.0]), 0.5)
    assert len(curve.false_positive_rate) == MAX_POINTS
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(0.5, abs=0.02)
