"""The timelines of a cohort, from where they are stored: real and synthetic stays in one form, sampled where many."""

import json

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.cohort import load_definitions
from ehr_pipeline.errors import NotReady
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.evaluate.timelines import cohort as of_cohort
from ehr_pipeline.evaluate.timelines.cohort import evaluate_cohort_timelines
from ehr_pipeline.record import Column, Schema
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.evaluate.timelines.examples import stays

N = 80
SCHEMA = Schema(columns=(Column(name="died_in_hospital", kind="binary"), Column(name="readmitted_30d", kind="binary")))


def staged(seed: int, n: int = N) -> pd.DataFrame:
    """Stays of intensive care that begin on days of their own, discharge not yet told."""
    made = stays(n, seed)
    made = made[made["code"] != "MEDS_DEATH"]
    opening = made.drop_duplicates("subject_id").assign(
        code="ICU_ADMISSION//MICU", time=pd.Timestamp("2000-01-01"), numeric_value=np.nan
    )
    made = pd.concat([opening, made], ignore_index=True)
    made["time"] = (made["time"] + pd.to_timedelta(made["subject_id"], unit="D")).astype("datetime64[us]")
    return made.assign(text_value=pd.Series(None, dtype="str", index=made.index))


def fact(frame: pd.DataFrame, code: str, value: float) -> pd.DataFrame:
    one = frame.drop_duplicates("subject_id").assign(code=code, time=pd.NaT, numeric_value=value)
    return one.astype({"time": "datetime64[us]"})


@pytest.fixture
def folder(tmp_path):
    folder = DataFolder(tmp_path).cohort("icu_48h")
    files = folder.generator("timeline_markov")
    for path in (files.root, folder.prepared_timelines.parent):
        path.mkdir(parents=True)
    folded = staged(1)
    folded = pd.concat([folded, fact(folded, "DISCHARGE//HOME", np.nan), fact(folded, "HOURS//DISCHARGE", 72.0)])
    folded = folded.assign(member=folded["subject_id"] - 1, subject_id=folded["subject_id"] + 5_000)
    folded.astype({"numeric_value": "float32"}).to_parquet(folder.prepared_timelines, index=False)
    folder.timelines_summary.write_text(json.dumps({"hours_after": 48.0}))
    subjects = np.arange(N) + 5_001
    pd.DataFrame({"subject_id": subjects}).to_parquet(folder.members)
    split = np.where(np.arange(N) % 2 == 0, "train", "holdout")
    pd.DataFrame({"subject_id": subjects, "split": split}).to_parquet(folder.split)
    rows = pd.DataFrame({"died_in_hospital": 0, "readmitted_30d": [0] * N}, dtype="Int8")
    rows.assign(subject_id=subjects).to_parquet(folder.prepared_table)
    made = staged(2)
    out = fact(made, "DISCHARGE//HOME", np.nan).assign(time=lambda one: pd.Timestamp("2000-01-04"))
    out["time"] = (out["time"] + pd.to_timedelta(out["subject_id"], unit="D")).astype("datetime64[us]")
    pd.concat([made, out]).assign(hadm_id=1, stay_id=1).to_parquet(files.events, index=False)
    rows.loc[:3, ["died_in_hospital", "readmitted_30d"]] = 1
    rows.to_parquet(files.synthetic)
    return folder


def judged(folder):
    definition = load_definitions([])["icu_48h"]
    return evaluate_cohort_timelines(folder, definition, "timeline_markov", SCHEMA, seed=0, thresholds=Thresholds())


def test_real_stays_are_unfolded_and_rows_of_the_patient_table_count_among_the_implausible(folder):
    got = judged(folder)
    assert got.n_patients == {"train": N // 2, "holdout": N // 2, "synthetic": N, "compared": N // 2}
    assert got.window_hours == 48.0
    assert got.survival[0].name == "discharge"
    assert got.survival[0].rmst_real == pytest.approx(got.survival[0].rmst_synthetic, abs=0.05)
    prevalence = {one.code: (one.real, one.synthetic) for one in got.prevalence}
    assert prevalence["DISCHARGE//HOME"] == (1.0, 1.0) and not any(code.startswith("HOURS//") for code in prevalence)
    broken = {one.rule: one.synthetic for one in got.plausibility.by_rule}
    assert broken["R23-readmission"] == 4 / N
    assert got.plausibility.synthetic_share >= 4 / N


def test_many_stays_are_sampled_and_it_is_said(folder, monkeypatch):
    monkeypatch.setattr(of_cohort, "MAX_PATIENTS", 30)
    got = judged(folder)
    assert got.n_patients == {"train": 30, "holdout": 30, "synthetic": 30, "compared": 30}
    assert sum("30 of" in note for note in got.notes) == 3


def test_what_is_not_there_yet_is_asked_for(folder):
    folder.prepared_timelines.unlink()
    with pytest.raises(NotReady, match="prepare the cohort first"):
        judged(folder)
