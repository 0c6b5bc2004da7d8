"""One run over the real MIMIC-IV demo, as the README says it; skipped only where the demo is absent."""

import re
from pathlib import Path

import duckdb
import pytest

from ehr_pipeline.generators.registry import default_generators
from ehr_pipeline.storage import DataFolder, read_json, read_parquet

from .test_cli import cli

DEMO = Path(__file__).parents[2] / "shared/data/mimic-iv-demo"
ED_DEMO = Path(__file__).parents[2] / "shared/data/mimic-iv-ed-demo"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DEMO.is_dir(), reason="the MIMIC-IV demo is not here")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "data"
    sources = [part for source in (DEMO, ED_DEMO) if source.is_dir() for part in ("--source", source)]
    done = cli("run", *sources, "--data", folder)
    assert done.returncode == 0, done.stderr
    assert str(DataFolder(folder).cohort("icu_48h").report_page) in done.stdout
    return DataFolder(folder)


def test_every_cohort_that_ships_has_its_report_on_real_records(data):
    for cohort in ("medicore", "icu_48h", "heart_failure", "diabetes", "emergency"):
        scores = read_json(data.cohort(cohort).report_scores)["generators"]
        assert set(scores) == set(default_generators())


def test_no_count_of_few_patients_is_in_a_report(data):
    for report in data.root.glob("cohorts/*/report/*"):
        assert not re.search(r"\b([1-9]|10) (training|holdout )?patients", report.read_text())


def test_published_mimic_sql_runs_on_the_warehouse(data):
    with duckdb.connect(data.warehouse, read_only=True) as con:
        (rows,) = con.execute(
            "SELECT count(*) FROM mimiciv_icu.icustays ie JOIN mimiciv_hosp.patients p USING (subject_id)"
            " JOIN mimiciv_hosp.admissions a USING (hadm_id)"
        ).fetchone()
    assert rows == 140


def test_the_report_says_that_a_hundred_patients_are_too_few(data):
    html = data.cohort("icu_48h").report_page.read_text()
    assert "Too few patients for an honest result" in html
    scores = read_json(data.cohort("icu_48h").report_scores)["generators"]
    gates = [score["verdict"] for one in scores.values() for score in one["scores"].values()]
    assert "passed" not in gates and "failed" in gates


def test_a_patient_is_on_one_side_of_the_split(data):
    split = read_parquet(data.cohort("icu_48h").split)
    assert split["subject_id"].is_unique and set(split["split"]) == {"train", "holdout"}


def test_the_synthetic_table_is_as_long_as_the_cohort_and_leaves_text_out(data):
    folder = data.cohort("emergency")
    real, synthetic = read_parquet(folder.prepared_table), read_parquet(folder.generator("tabular_vae").synthetic)
    assert len(synthetic) == len(real)
    assert set(real.columns) - set(synthetic.columns) == {"subject_id", "chief_complaint"}
    assert "chief_complaint" in folder.report_page.read_text()


def test_no_chief_complaint_of_a_patient_is_in_the_report_or_in_dagsters_storage(data):
    texts = read_parquet(data.cohort("emergency").prepared_table)["chief_complaint"].dropna().unique()
    long_texts = [text for text in texts if len(text) > 20]
    assert long_texts
    report = data.cohort("emergency").report_page.parent
    written = [
        path.read_bytes() for folder in (report, data.dagster_home) for path in folder.rglob("*") if path.is_file()
    ]
    assert sum(text.encode() in content for text in long_texts for content in written) == 0
