"""`ehr-pipeline export`: each format, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import meds
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ehr_pipeline import storage
from ehr_pipeline.errors import NotReady, OptionError
from ehr_pipeline.export.export import FORMATS, export
from ehr_pipeline.generators.registry import TIMELINE_GENERATORS
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.export.streams import dictionaries, write_stream
from ehr_pipeline_tests.export.test_mimic_iv import stay

COMMAND = Path(sys.executable).parent / "ehr-pipeline"
TIMELINES = next(iter(TIMELINE_GENERATORS))


@pytest.fixture
def data(tmp_path) -> DataFolder:
    """A data folder in which a timeline and a table generator have made something."""
    folder = DataFolder(tmp_path / "data")
    folder.root.mkdir()
    dictionaries(folder.warehouse)
    made = folder.cohort("icu_48h").generator(TIMELINES)
    storage.private_folder(made.root)
    write_stream(made.events, [*stay(2), *stay(1), (1, "2000-03-02 09:30", "VITAL//220045//bpm", 89.5, "=1+1")])
    table = folder.cohort("icu_48h").generator("independent").synthetic
    storage.write_parquet(table, pd.DataFrame({"sex": ["F", "=HYPERLINK(1)"], "age": [1, -2]}))
    return folder


def test_meds_is_valid_and_reads_back_as_the_same_events(data, tmp_path):
    made = export(data, "icu_48h", TIMELINES, "meds", tmp_path / "out")
    assert "2 patients" in made.words
    table = pq.read_table(tmp_path / "out" / "data")
    meds.DataSchema.validate(table)
    meds.SubjectSplitSchema.validate(pq.read_table(tmp_path / "out" / meds.subject_splits_filepath))
    codes = pq.read_table(tmp_path / "out" / meds.code_metadata_filepath)
    meds.CodeMetadataSchema.validate(codes)
    meds.DatasetMetadataSchema.validate(json.loads((tmp_path / "out" / meds.dataset_metadata_filepath).read_text()))
    assert (
        dict(zip(codes["code"].to_pylist(), codes["description"].to_pylist(), strict=True))["LAB//50912//mg/dL"]
        == "Creatinine"
    )
    before = data.cohort("icu_48h").generator(TIMELINES).events
    columns = "subject_id, time, code, numeric_value, text_value"
    for a, b in ((before, f"{tmp_path}/out/data/*.parquet"), (f"{tmp_path}/out/data/*.parquet", before)):
        lost = f"SELECT count(*) FROM (SELECT {columns} FROM '{a}' EXCEPT ALL SELECT {columns} FROM '{b}')"
        assert duckdb.connect().sql(lost).fetchall() == [(0,)]
    order = table.select(["subject_id", "time"]).to_pandas()
    assert order.equals(order.sort_values(["subject_id", "time"], na_position="first", kind="stable"))


def test_csv_runs_nothing_in_a_spreadsheet(data, tmp_path):
    export(data, "icu_48h", "independent", "csv", tmp_path / "out")
    assert (tmp_path / "out" / "icu_48h.csv").read_text().split() == ["sex,age", "F,1", "'=HYPERLINK(1),-2"]


def test_mimic_iv_is_a_folder_that_replaces_only_an_export(data, tmp_path):
    for _ in range(2):
        export(data, "icu_48h", TIMELINES, "mimic-iv", tmp_path / "out")
    assert (tmp_path / "out/hosp/patients.csv.gz").exists() and (tmp_path / "out/icu/icustays.csv.gz").exists()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").write_text("years of work")
    for out in (tmp_path / "precious", tmp_path / "precious/thesis.txt"):
        with pytest.raises(OptionError, match="no export"):
            export(data, "icu_48h", TIMELINES, "mimic-iv", out)
    assert (tmp_path / "precious/thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("generator", "form", "says"),
    [
        ("independent", "mimic-iv", "only --format csv"),
        ("independent", "meds", "only --format csv"),
        (TIMELINES, "omop", "not written yet"),
        (TIMELINES, "fhir", "not written yet"),
        (TIMELINES, "xml", "there are mimic-iv, meds, csv"),
        ("magic", "meds", "magic"),
        ("magic", "csv", "magic"),
    ],
)
def test_what_cannot_be_had_is_refused(data, tmp_path, generator, form, says):
    with pytest.raises(OptionError, match=says):
        export(data, "icu_48h", generator, form, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_not_made_yet_says_so(data, tmp_path, form):
    with pytest.raises(NotReady, match="ehr-pipeline run"):
        export(data, "emergency", TIMELINES, form, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_that_no_gate_has_judged_it(data, tmp_path):
    done = subprocess.run(
        [COMMAND, "export", "--cohort", "icu_48h", "--generator", TIMELINES, "--format", "mimic-iv",
         "--out", str(tmp_path / "out"), "--data", str(data.root)],
        check=False, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 patients" in done.stdout and str(tmp_path / "out") in done.stdout
    assert "no release gate has judged" in done.stderr
    assert (tmp_path / "out/hosp/patients.csv.gz").stat().st_mode & 0o077 == 0
