"""On real files, read as any file is, the scores that the judge also has are the judge's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.evaluate.files import evaluate_files
from ehr_pipeline.evaluate.reading import read_real
from ehr_pipeline.generators.configs import IndependentConfig
from ehr_pipeline.generators.independent import Independent
from ehr_pipeline.tables import read_table, write_table

SHARED = Path(__file__).resolve().parents[3] / "shared"
JUDGE, DIABETES = SHARED / "judge" / "judge.py", SHARED / "data" / "diabetes-130" / "diabetic_data.csv.gz"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (JUDGE.exists() and DIABETES.exists()), reason="the shared folder is absent"),
]
N = 3000
COLUMNS = [
    *("race", "gender", "age", "admission_type_id", "discharge_disposition_id", "time_in_hospital"),
    *("num_lab_procedures", "num_procedures", "num_medications", "number_inpatient", "diag_1", "number_diagnoses"),
    *("max_glu_serum", "insulin", "change", "diabetesMed", "readmitted"),
]
# not the missing rates: which words of a CSV stand for a missing value the judge and the reader decide by themselves
EXACT = (
    "ks_mean",
    "ks_max",
    "tvd_mean",
    "tvd_max",
    "correlation_error",
    "tvd2_mean",
    "tvd2_max",
    "exact_copies_train",
    "exact_copies_holdout",
)
CLOSE = {"c2st_auc": 0.03, "membership_auc[all]": 0.05, "dcr_share": 0.06, "dcr_median_train": 0.1}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Our scores and the judge's of one encounter of each of 3,000 patients, and columns drawn independently."""
    folder = tmp_path_factory.mktemp("judge")
    paths = {role: folder / f"{role}.csv" for role in ("train", "holdout", "synthetic")}
    rows = pd.read_csv(DIABETES, dtype=str, keep_default_na=False).drop_duplicates("patient_nbr")[COLUMNS]
    drawn = rows.iloc[np.random.default_rng(0).permutation(len(rows))]
    drawn.iloc[:N].to_csv(paths["train"], index=False)
    drawn.iloc[N : 2 * N].to_csv(paths["holdout"], index=False)
    with read_table(paths["train"]) as table:
        made = Independent.fit(table.cohort(), IndependentConfig()).sample(N, seed=0)
        write_table(made, table.layout, paths["synthetic"], 0)
    ours = evaluate_files(paths["train"], paths["synthetic"], paths["holdout"], ["readmitted=<30"]).scores
    known = read_real(paths["train"], None, np.random.default_rng(0)).compared
    arguments = [f"--{role}={path}" for role, path in paths.items()] + ["--target", "readmitted=<30"]
    arguments += ["--categorical", ",".join(column.name for column in known.columns if not column.is_number)]
    command = [sys.executable, str(JUDGE), "table", *arguments, "--json", str(folder / "scores.json")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return ours, json.loads((folder / "scores.json").read_text())


def test_what_is_counted_is_the_same(both):
    ours, theirs = both
    for name in EXACT:
        assert ours[name].value == pytest.approx(theirs[name]["value"], abs=1e-4), name
        assert ours[name].floor == pytest.approx(theirs[name]["floor"], abs=1e-4), name


def test_what_is_learned_or_drawn_is_near(both):
    ours, theirs = both
    for name, tolerance in CLOSE.items():
        assert ours[name].value == pytest.approx(theirs[name]["value"], abs=tolerance), name
    task = ours["tstr_hgb[readmitted=<30]"]
    assert task.value == pytest.approx(theirs["tstr_hgb[readmitted]"]["value"], abs=0.03)
    assert task.floor == pytest.approx(theirs["tstr_hgb[readmitted]"]["floor"], abs=0.03)
