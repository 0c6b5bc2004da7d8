"""`report/scores.json`, the key scores and the thumbnail: every number, none of them small or not a number."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ehr_pipeline.evaluate.result import Score
from ehr_pipeline.report.build import build_report
from ehr_pipeline.report.scores import finite
from ehr_pipeline.report.summary import best_generator, key_scores, thumbnail
from ehr_pipeline_tests.report import examples


@pytest.fixture(scope="module")
def report():
    return build_report(examples.inputs())


def test_every_score_stands_with_floor_and_null(report):
    generators = report.scores["generators"]
    assert set(generators) == {"tabular_vae", "independent"}
    for found in generators.values():
        assert set(found["scores"]) == set(examples.SCORES)
        for score in found["scores"].values():
            assert {"value", "low", "high", "floor", "null", "normalised", "threshold", "verdict"} <= set(score)


def test_scores_are_strict_json(report):
    json.dumps(report.scores, allow_nan=False)
    assert finite({"a": [float("nan"), float("inf"), 1.23456789]}) == {"a": [None, None, 1.234568]}


def test_history_that_diverged_is_null_not_nan():
    inputs = examples.inputs()
    broken = replace(inputs.generators[0], history=[{"epoch": 1, "loss": float("nan")}, {"epoch": 2, "loss": 3.0}])
    report = build_report(replace(inputs, generators=[broken]))
    assert report.scores["generators"]["tabular_vae"]["history"][0]["loss"] is None


def test_an_attack_that_missed_its_plant_is_never_passed():
    inputs = examples.inputs(n_generators=1)
    blind = replace(inputs.generators[0], evaluation=examples.evaluation(inputs.schema, found_plant=False))
    found = build_report(replace(inputs, generators=[blind])).scores["generators"]["tabular_vae"]
    assert found["scores"]["membership_auc[all]"]["verdict"] == "failed"
    assert found["dimensions"]["privacy"]["state"] == "failed"
    assert found["verdict"] == "failed"


def test_a_gate_without_a_value_fails_and_says_why():
    inputs = examples.inputs(n_generators=1)
    score = Score(
        name="c2st_auc", dimension="fidelity", value=None, threshold=0.6, verdict="failed", note="one patient only"
    )
    evaluation = inputs.generators[0].evaluation.model_copy(update={"scores": {"c2st_auc": score}})
    report = build_report(replace(inputs, generators=[replace(inputs.generators[0], evaluation=evaluation)]))
    fidelity = report.scores["generators"]["tabular_vae"]["dimensions"]["fidelity"]
    assert fidelity == {"state": "failed", "n_gates": 1, "failed": ["Two-sample AUC: one patient only"]}


def test_key_scores_are_plottable(report):
    found = key_scores(report)
    assert found["tabular_vae/c2st_auc"] == 0.58
    assert found["independent/correlation_error"] == 0.114
    assert all(isinstance(value, float) for value in found.values())
    assert not any("dcr" in name for name in found)


def test_the_best_generator_fails_fewest_gates(report):
    assert best_generator(report).name == "tabular_vae"


def test_thumbnail_is_a_small_picture_that_leaves_no_global_state(report):
    import sys

    had_pyplot = "matplotlib.pyplot" in sys.modules
    picture = thumbnail(report)
    assert picture.startswith(b"\x89PNG") and len(picture) < 60_000
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_thumbnail_without_correlations_still_is_a_picture():
    inputs = examples.inputs()
    bare = [replace(one, title="$x_1 😀", evaluation=examples.EMPTY_EVALUATION) for one in inputs.generators]
    assert len(thumbnail(build_report(replace(inputs, generators=bare)))) < 60_000


def test_thumbnail_of_two_hundred_columns_stays_small():
    inputs = examples.inputs(n_generators=1)
    import numpy as np

    wide = examples.correlation([f"c{place}" for place in range(200)], np.random.default_rng(0))
    evaluation = inputs.generators[0].evaluation.model_copy(update={"correlation": wide})
    report = build_report(replace(inputs, generators=[replace(inputs.generators[0], evaluation=evaluation)]))
    assert len(thumbnail(report)) < 60_000
