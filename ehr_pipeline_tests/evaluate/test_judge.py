"""The scores that the judge also has are the judge's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ehr_pipeline.evaluate.table import evaluate_table
from ehr_pipeline_tests.evaluate.examples import PLAN, SCHEMA, patients, shuffled

JUDGE = Path(__file__).resolve().parents[3] / "shared" / "judge" / "judge.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not JUDGE.exists(), reason="the judge's folder is absent"),
]
N = 1000

EXACT = (
    "ks_mean",
    "ks_max",
    "tvd_mean",
    "tvd_max",
    "missing_rate_error",
    "comissing_error",
    "correlation_error",
    "tvd2_mean",
    "tvd2_max",
    "tvd3_mean",
    "exact_copies_train",
    "exact_copies_holdout",
    "causal_log_odds",
    "causal_log_odds_error",
    "causal_risk_difference",
)
CLOSE = {
    "c2st_auc": 0.04,
    "tstr_hgb[died]": 0.03,
    "tstr_lr[died]": 0.005,
    "dcr_share": 0.06,
    "dcr_median_train": 0.05,
    "dcr_median_holdout": 0.05,
    "nndr_p05": 0.05,
    "membership_auc[all]": 0.005,
    "membership_auc[isolated]": 0.04,
    "membership_tpr_at_1%[all]": 0.005,
}


@pytest.fixture(scope="module", params=["leaky", "independent"])
def both(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    train, holdout, synthetic = (patients(N, seed) for seed in (1, 2, 3))
    if request.param == "leaky":
        synthetic.iloc[:200] = train.iloc[:200]
    if request.param == "independent":
        synthetic = shuffled(train)
    arguments = ["--target", "died", "--treatment", "treated", "--outcome", "died"]
    arguments += ["--confounders", "sick", "--true-log-odds", "-0.8", "--json", str(folder / "scores.json")]
    for role, table in (("train", train), ("holdout", holdout), ("synthetic", synthetic)):
        table.to_parquet(folder / f"{role}.parquet")
        arguments += [f"--{role}", str(folder / f"{role}.parquet")]
    command = [sys.executable, str(JUDGE), "table", *arguments]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    theirs = json.loads((folder / "scores.json").read_text())
    ours = evaluate_table(train, holdout, synthetic, SCHEMA, plan=PLAN, seed=0).scores
    return ours, theirs


def test_every_score_of_the_judge_is_there(both):
    ours, theirs = both
    assert set(theirs) <= set(ours)


def test_what_is_counted_is_the_same(both):
    ours, theirs = both
    for name in EXACT:
        assert ours[name].value == pytest.approx(theirs[name]["value"], abs=1e-6), name
        assert ours[name].floor == pytest.approx(theirs[name]["floor"], abs=1e-6), name


def test_what_is_learned_or_drawn_is_near(both):
    ours, theirs = both
    for name, tolerance in CLOSE.items():
        assert ours[name].value == pytest.approx(theirs[name]["value"], abs=tolerance), name


def test_what_is_normalised_is_the_same_kind_of_number(both):
    ours, theirs = both
    for name in ("correlation_error", "tvd2_mean", "comissing_error"):
        assert ours[name].normalised == pytest.approx(theirs[name]["normalised"], abs=0.1), name
