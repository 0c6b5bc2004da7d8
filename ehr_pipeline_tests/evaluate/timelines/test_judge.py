"""On real stays, the scores that the judge also has are the judge's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ehr_pipeline.evaluate.timelines.evaluate import evaluate_timelines

SHARED = Path(__file__).resolve().parents[4] / "shared"
JUDGE, STAYS = SHARED / "judge" / "judge.py", SHARED / "data" / "physionet-2012"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (JUDGE.exists() and STAYS.exists()), reason="the shared folder is absent"),
]
N = 250
EXACT = (
    "events_per_subject_ks",
    "distinct_codes_ks",
    "unseen_code_share",
    "prevalence_r2",
    "prevalence_error",
    "rare_code_recall",
    "cooccurrence_r2",
    "bigram_tvd",
    "measurement_rate_error",
    "value_ks_mean",
    "autocorrelation_error",
    "value_correlation_error",
)
# the judge's hours are not rounded, so that gaps of one length can differ by less than a microsecond
CLOSE = {"time_gap_ks": 0.003, "length_ks": 0.01, "c2st_auc": 0.1, "tstr_auc": 0.08}


def real_stays() -> list[pd.DataFrame]:
    """Three sets of `N` stays each; in the third, values are dealt out again within their code."""
    long = pd.read_csv(STAYS / "set_a.csv.gz").dropna(subset=["Parameter"])
    ids = long["RecordID"].unique()
    long = long[long["RecordID"].isin(ids[: 3 * N])]
    clock = long["Time"].str.split(":", expand=True).astype(int)
    time = pd.Timestamp("2000-01-01") + pd.to_timedelta(60 * clock[0] + clock[1], unit="m")
    is_static = long["Parameter"].isin(["Age", "Gender", "Height", "ICUType"])
    events = pd.DataFrame(
        {
            "subject_id": long["RecordID"].astype("int64"),
            "time": time.mask(is_static),
            "code": long["Parameter"],
            "numeric_value": long["Value"].astype("float32"),
        }
    )
    outcomes = pd.read_csv(STAYS / "outcomes_a.csv").set_index("RecordID")["In-hospital_death"]
    died = [one for one in ids[: 3 * N] if outcomes[one] == 1]
    deaths = pd.DataFrame({"subject_id": died, "time": pd.Timestamp("2000-01-03 00:01"), "code": "MEDS_DEATH"})
    events = pd.concat([events, deaths]).sort_values(["subject_id", "time"], na_position="first", kind="stable")
    sets = [events[events["subject_id"].isin(ids[place : 3 * N : 3])] for place in range(3)]
    values = sets[2].groupby("code")["numeric_value"]
    return [
        *sets[:2],
        sets[2].assign(numeric_value=values.transform(lambda one: one.sample(frac=1, random_state=0).array)),
    ]


def test_the_judges_names_have_the_judges_values(tmp_path):
    train, holdout, synthetic = real_stays()
    arguments = ["--outcome-code", "MEDS_DEATH", "--until", "47", "--json", str(tmp_path / "judge.json")]
    for name, frame in (("train", train), ("holdout", holdout), ("synthetic", synthetic)):
        frame.to_parquet(tmp_path / f"{name}.parquet", index=False)
        arguments += [f"--{name}", str(tmp_path / f"{name}.parquet")]
    subprocess.run(
        [sys.executable, JUDGE.name, "timeline", *arguments],
        cwd=JUDGE.parent,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
    )
    theirs = json.loads((tmp_path / "judge.json").read_text())
    theirs = theirs.get("scores", theirs)
    ours = evaluate_timelines(train, holdout, synthetic, seed=0).scores
    for name in EXACT:
        for part in ("value", "floor"):
            assert getattr(ours[name], part) == pytest.approx(theirs[name][part], abs=1e-6), (name, part)
    for name, tolerance in CLOSE.items():
        for part in ("value", "floor"):
            assert getattr(ours[name], part) == pytest.approx(theirs[name][part], abs=tolerance), (name, part)
    for name in EXACT:
        if theirs[name]["normalised"] is not None:
            assert ours[name].normalised == pytest.approx(theirs[name]["normalised"], abs=0.1), name
