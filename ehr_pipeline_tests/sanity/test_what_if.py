"""What a what-if cohort promises: the patients asked for, sane, recorded, and never in the ordinary table's place."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import CheckFailed, NotReady, OptionError, RejectionCapReached
from ehr_pipeline.generators.cohort_data import load_training_cohort
from ehr_pipeline.generators.train import model_sha256, train
from ehr_pipeline.record import conform
from ehr_pipeline.sanity import what_if
from ehr_pipeline.sanity.accept import Ledger
from ehr_pipeline.sanity.binding import bind
from ehr_pipeline.sanity.real import check_cohort
from ehr_pipeline.sanity.rules import load_rules
from ehr_pipeline.sanity.what_if import WhatIf, sample_what_if
from ehr_pipeline.storage import DataFolder, read_json, sha256, write_json, write_parquet
from ehr_pipeline_tests.sanity.conftest import SCHEMA, draw

N = 2_000


def planted():
    """Females in part pregnant, so that drawing columns alone breaks the rule that no male is."""
    frame = draw(N, seed=3)
    frame.loc[(frame["sex"] == "F") & (np.random.default_rng(0).random(N) < 0.4), "pregnancy"] = 1
    return conform(frame, SCHEMA)


@pytest.fixture
def folder(tmp_path):
    """A prepared cohort with a trained model and an ordinary synthetic table."""
    cohort = DataFolder(tmp_path).cohort("c")
    frame, subject_id = planted(), np.arange(N)
    write_json(cohort.schema, SCHEMA.model_dump(mode="json"))
    write_parquet(cohort.prepared_table, frame.assign(subject_id=subject_id))
    write_parquet(cohort.split, pd.DataFrame({"subject_id": subject_id, "split": "train"}))
    check_cohort(frame, SCHEMA, cohort.sanity)
    train("independent", load_training_cohort(cohort), None, cohort.generator("independent"))
    cohort.generator("independent").synthetic.write_bytes(b"the ordinary table")
    return cohort


@pytest.fixture
def files(folder):
    return folder.generator("independent").what_if("mine")


def test_the_table_has_the_patients_asked_for_and_no_insane_one(folder, files):
    asked = WhatIf(conditions={"diabetes": "1"}, balance={"sex": {}, "pregnancy": {"0": 0.7}}, rows=601, seed=4)
    with pytest.raises(RejectionCapReached, match="R64"):  # pregnant males are asked for, and never come
        sample_what_if(folder, "independent", asked, files)
    assert not files.table.exists()
    asked = WhatIf(conditions={"diabetes": "1"}, balance={"sex": {"F": 0.75}}, rows=601, seed=4)
    made = sample_what_if(folder, "independent", asked, files)
    table = pd.read_parquet(files.table)
    assert conform(table, SCHEMA).dtypes.equals(table.dtypes)
    assert (table["sex"] == "F").sum() == made.parts[0]["n_rows"] == 451
    assert (table["diabetes"] == 1).all()
    assert not ((table["sex"] == "M") & (table["pregnancy"] == 1)).any()
    assert made.rejection_rate > 0
    assert folder.generator("independent").synthetic.read_bytes() == b"the ordinary table"


def test_the_record_says_what_was_asked_of_which_model_and_what_it_cost(folder, files):
    asked = WhatIf(conditions={"age": 40.0}, balance={"sex": {"F": 0.5}}, rows=100, seed=9)
    sample_what_if(folder, "independent", asked, files)
    record = read_json(files.record)
    assert {name: record[name] for name in ("cohort", "generator", "conditions", "balance", "rows", "seed")} == {
        "cohort": "c",
        "generator": "independent",
        "conditions": {"age": 40.0},
        "balance": {"sex": {"F": 0.5}},
        "rows": 100,
        "seed": 9,
    }
    assert record["table_sha256"] == sha256(files.table)
    assert record["model_sha256"] == model_sha256(folder.generator("independent"))
    assert record["acceptance_rate"] == 1.0
    assert [part["n_rows"] for part in record["parts"]] == [50, 50]
    assert files.table.stat().st_mode & 0o077 == files.record.stat().st_mode & 0o077 == 0


def test_same_seed_same_table_whatever_the_chunks_hold(folder, files):
    asked = WhatIf(balance={"diabetes": {}}, rows=300, seed=1)
    digests = {sample_what_if(folder, "independent", asked, files) and sha256(files.table) for _ in range(2)}
    assert len(digests) == 1


def test_a_table_that_fails_a_check_leaves_the_one_before(folder, files, monkeypatch):
    sample_what_if(folder, "independent", WhatIf(rows=50), files)
    before = sha256(files.table), files.record.read_text()
    monkeypatch.setattr(what_if, "run_file_rules", lambda *_: ())
    monkeypatch.setattr(what_if, "Ledger", lambda schema, hard: Ledger(schema, ()))
    with pytest.raises(CheckFailed, match="not written"):
        sample_what_if(folder, "independent", WhatIf(rows=50, seed=2), _broken(files, monkeypatch))
    assert (sha256(files.table), files.record.read_text()) == before


def _broken(files, monkeypatch):
    real = what_if.check_table
    monkeypatch.setattr(
        what_if, "check_table", lambda *arguments, n_expected: real(*arguments, n_expected=n_expected + 1)
    )
    return files


def test_a_row_whose_condition_does_not_survive_putting_in_order_is_not_accepted():
    ledger = Ledger(SCHEMA, [one for one in bind(SCHEMA, load_rules()) if one.rule.is_hard])
    frame = draw(100)
    frame.loc[:9, "heart_rate_min"], frame.loc[:9, "heart_rate_max"] = 120, 60
    assert len(ledger.judge(frame, 100, fixed=["heart_rate_min"])) == 90
    assert len(ledger.judge(frame, 100, fixed=["creatinine"])) == 100


@pytest.mark.parametrize(
    ("generator", "asked", "error", "names"),
    [
        ("tabular_vae", WhatIf(), NotReady, "train tabular_vae first"),
        ("magic", WhatIf(), OptionError, "magic"),
        ("independent", WhatIf(rows=0), OptionError, "rows"),
        ("independent", WhatIf(conditions={"creatinine": 140}), OptionError, "creatinine"),
        ("independent", WhatIf(balance={"age": {}}), OptionError, "age"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_written(folder, generator, asked, error, names):
    with pytest.raises(error, match=names):
        sample_what_if(folder, generator, asked, folder.generator("independent").what_if("mine"))
    assert not (folder.generator("independent").root / "what_if").exists()


def test_a_model_of_other_data_is_not_drawn_from(folder, files):
    write_parquet(folder.split, pd.DataFrame({"subject_id": np.arange(N - 10), "split": "train"}))
    with pytest.raises(NotReady, match="train it again"):
        sample_what_if(folder, "independent", WhatIf(), files)


def cli(root, *arguments):
    command = [Path(sys.executable).parent / "ehr-pipeline", "what-if", "--data", root, "--cohort", "c", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env={**os.environ})


def test_the_command_writes_into_the_data_folder(folder, tmp_path):
    ask = ["--generator", "independent", "--condition", "diabetes=1", "--balance", "sex=F:0.9,M:0.1", "--rows", "50"]
    done = cli(tmp_path, *ask, "--name", "rare")
    assert done.returncode == 0, done.stderr
    table = folder.generator("independent").what_if("rare").table
    assert str(table) in done.stdout
    assert "45 rows, 100.00% of the draws met: diabetes = 1, sex = F" in done.stderr
    assert (pd.read_parquet(table)["sex"] == "F").sum() == 45


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--generator", "independent"], "--name"),
        (["--generator", "independent", "--name", "a", "--condition", "diabetes"], "COLUMN=VALUE"),
        (["--generator", "independent", "--name", "a", "--condition", "sex=X"], "sex"),
        (["--generator", "tabular_vae", "--name", "a"], "train tabular_vae first"),
    ],
)
def test_a_wrong_command_is_one_clear_line_and_exit_2(folder, tmp_path, arguments, names):
    done = cli(tmp_path, *arguments)
    assert done.returncode == 2
    assert names in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
