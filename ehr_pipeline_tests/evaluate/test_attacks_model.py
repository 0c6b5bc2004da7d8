import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.evaluate.attacks.panel import Panel
from ehr_pipeline.evaluate.encoding import Encoding
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline_tests.evaluate.examples import SCHEMA, patients


@pytest.fixture(scope="module")
def known():
    """A panel, the frames that it was made from, and a clean table."""
    train, holdout, made = patients(800, 1), patients(600, 2), patients(800, 3)
    encoding = Encoding.learn(train, SCHEMA)
    rows = [encoding.encode(frame) for frame in (train, holdout, made)]
    rng = np.random.default_rng(0)
    permuted = rows[0].permuted(rng)
    panel = Panel(encoding, train=rows[0], holdout=rows[1], permuted=permuted, secrets=(), rng=rng)
    return panel, (train, holdout), rows[2]


def assess(known, model):
    panel, real, made = known
    return panel.assess(made, Thresholds(), np.random.default_rng(1), model=model, real=real)


def test_a_model_that_knows_its_patients_by_heart_fails(known):
    train = known[1][0]
    rows = set(pd.util.hash_pandas_object(train, index=False))
    scores, attacks = assess(known, lambda table: pd.util.hash_pandas_object(table, index=False).isin(rows).to_numpy())
    for name in ("model_auc[all]", "model_tpr_at_1%[all]", "model_tpr_at_1%[isolated]"):
        assert scores[name].value == 1
        assert scores[name].verdict == "failed"
    assert scores["model_auc[isolated]"].value == 1
    assert not any("model" in attack.name for attack in attacks)


def test_a_model_that_knows_nobody_is_a_diagnostic_and_never_passes(known):
    scores, _ = assess(known, lambda table: table["age"].to_numpy(float))
    for name in ("model_auc[all]", "model_tpr_at_1%[isolated]"):
        assert scores[name].verdict == "diagnostic"
        assert "training it again" in scores[name].note


def test_a_model_without_a_score_is_not_attacked(known):
    scores, _ = assess(known, lambda table: None)
    assert not any(name.startswith("model") for name in scores)
