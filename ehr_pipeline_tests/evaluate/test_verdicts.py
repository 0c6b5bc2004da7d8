import pytest

from ehr_pipeline.evaluate.scoring import Reading, assemble, normalise
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.evaluate.verdicts import gate_by_null


def gated(name, value, floor, null, n_patients=1000):
    scores = assemble({name: Reading(value)}, {name: Reading(floor)}, {name: Reading(null)})
    return gate_by_null(scores, Thresholds(), n_patients)[name]


def test_normalised_lies_between_floor_and_null():
    assert normalise("correlation_error", 0.03, 0.01, 0.11) == pytest.approx(0.2)
    assert normalise("tstr_hgb[died]", 0.6, 0.7, 0.5) == pytest.approx(0.5)


def test_nothing_is_normalised_where_the_null_is_not_clearly_worse():
    assert normalise("correlation_error", 0.02, 0.02, 0.0215) is None  # by less than 10 % of the floor
    assert normalise("c2st_auc", 0.5, 0.5, 0.54) is None
    assert normalise("ks_mean", 0.5, 0.1, 0.9) is None  # the null keeps the marginals
    assert normalise("correlation_error", None, 0.1, 0.9) is None


@pytest.mark.parametrize(
    ("name", "value", "floor", "null", "verdict"),
    [
        ("c2st_auc", 0.60, 0.5, 0.73, "passed"),
        ("c2st_auc", 0.70, 0.5, 0.73, "failed"),
        ("correlation_error", 0.05, 0.01, 0.11, "passed"),
        ("correlation_error", 0.07, 0.01, 0.11, "failed"),
        ("tstr_hgb[died]", 0.66, 0.70, 0.5, "passed"),
        ("tstr_hgb[died]", 0.64, 0.70, 0.5, "failed"),
        ("tstr_lr[died]", 0.10, 0.70, 0.5, "diagnostic"),
        ("ks_mean", 0.9, 0.01, 0.0, "diagnostic"),
    ],
)
def test_limits_are_kept_to(name, value, floor, null, verdict):
    assert gated(name, value, floor, null).verdict == verdict


@pytest.mark.parametrize(
    ("name", "value", "floor", "null"),
    [
        ("c2st_auc", 0.5, 0.5, 0.52),  # independent columns cannot be told either
        ("correlation_error", 0.1, 0.1, 0.1),  # nothing to keep
        ("tstr_hgb[died]", 0.5, 0.52, 0.5),  # nothing to learn
        ("c2st_auc", None, 0.5, 0.73),
    ],
)
def test_what_the_data_cannot_tell_is_failed_and_said(name, value, floor, null):
    score = gated(name, value, floor, null)
    assert score.verdict == "failed"
    assert score.note


def test_few_patients_cannot_pass():
    score = gated("c2st_auc", 0.5, 0.5, 0.9, n_patients=99)
    assert score.verdict == "failed"
    assert "99" in score.note
    assert gated("c2st_auc", 0.5, 0.5, 0.9, n_patients=100).verdict == "passed"
