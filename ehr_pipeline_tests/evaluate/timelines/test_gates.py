"""The gates of timelines: their mean, their limits, and what happens where the data cannot tell."""

import pytest

from ehr_pipeline.evaluate.score import Score
from ehr_pipeline.evaluate.scoring import Reading, assemble
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.evaluate.timelines.gates import gated, with_mean


def scores(tstr: float = 0.8, implausible: float | None = 0.05, **normalised: float) -> dict[str, Score]:
    values = {
        "tstr_auc": Reading(tstr),
        "implausible_share": Reading(implausible, note=None if implausible else "none"),
    }
    values |= {name: Reading(value) for name, value in normalised.items()}
    floor = dict.fromkeys(values, Reading(0.0)) | {"tstr_auc": Reading(0.8)}
    null = dict.fromkeys(values, Reading(1.0)) | {"tstr_auc": Reading(0.5)}
    return with_mean(assemble(values, floor, null))


def verdicts(found: dict[str, Score], n_patients: int = 500, real_share: float | None = 0.05) -> dict[str, str]:
    judged = gated(found, Thresholds(), n_patients, real_share)
    return {name: judged[name].verdict for name in ("mean_normalised", "tstr_auc", "implausible_share")}


def test_the_mean_is_of_named_scores_none_below_zero():
    found = scores(bigram_tvd=0.4, prevalence_error=-0.2, missingness_error=1.0)
    assert found["mean_normalised"].value == pytest.approx((0.4 + 0 + 0) / 3)  # the main task is at its floor
    assert found["mean_normalised"].note == "of 3 scores"


def test_each_gate_passes_within_its_limit_and_fails_beyond():
    assert set(verdicts(scores(bigram_tvd=0.5)).values()) == {"passed"}
    assert verdicts(scores(tstr=0.74))["tstr_auc"] == "failed"
    assert verdicts(scores(implausible=0.071))["implausible_share"] == "failed"
    assert verdicts(scores(implausible=0.07))["implausible_share"] == "passed"
    assert verdicts(scores(bigram_tvd=1.2))["mean_normalised"] == "failed"


def test_the_policys_limits_are_what_gates():
    found = gated(scores(bigram_tvd=0.5), Thresholds(timeline_normalised=0.1, implausible_excess=0.0), 500, 0.05)
    assert found["mean_normalised"].verdict == "failed"
    assert (found["mean_normalised"].threshold, found["implausible_share"].threshold) == (0.1, 0.05)


def test_few_patients_and_controls_that_pass_cannot_show_anything():
    assert set(verdicts(scores(bigram_tvd=0.1), n_patients=50).values()) == {"failed"}
    found = scores(bigram_tvd=0.1)
    found["implausible_share"] = found["implausible_share"].model_copy(update={"null": 0.06})
    assert verdicts(found)["implausible_share"] == "failed"


def test_where_no_rule_reads_the_events_there_is_no_gate():
    judged = gated(scores(implausible=None), Thresholds(), 500, None)
    assert (judged["implausible_share"].verdict, judged["implausible_share"].note) == ("diagnostic", "none")
    assert verdicts(scores(implausible=0.01), real_share=None)["implausible_share"] == "failed"


def test_without_anything_to_average_the_gate_is_shut():
    judged = gated(with_mean({"implausible_share": scores()["implausible_share"]}), Thresholds(), 500, 0.05)
    assert judged["mean_normalised"].verdict == "failed" and "tstr_auc" not in judged
