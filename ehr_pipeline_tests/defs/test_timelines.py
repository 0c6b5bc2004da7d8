"""A generator of timelines in the chain: one run from cohort to report, in the same assets as a generator of tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from ehr_pipeline.cli import app
from ehr_pipeline.definitions import build_defs
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.defs.run import RunRequest, run_pipeline
from ehr_pipeline.errors import OptionError
from ehr_pipeline.export.export import export
from ehr_pipeline.generators.registry import GENERATORS, TIMELINE_GENERATORS
from ehr_pipeline.ingest import ingest
from ehr_pipeline.storage import DataFolder, read_json

DEMO = Path(__file__).parents[3] / "shared/data/mimic-iv-demo"
MARKOV = "timeline_markov"


def test_an_unknown_generator_is_refused_in_one_line_that_names_all(tmp_path):
    with pytest.raises(OptionError) as refused:
        run_pipeline(RunRequest(data=DataFolder(tmp_path), generators=("timeline_magic",)), say=print)
    assert all(name in str(refused.value) for name in [*GENERATORS, *TIMELINE_GENERATORS])
    assert app.info.name == "ehr-pipeline"


def test_a_budget_that_a_generator_cannot_keep_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(OptionError, match="ehr_safe has no private tier"):
        run_pipeline(RunRequest(data=DataFolder(tmp_path), generators=("ehr_safe",), epsilon=1.0), say=print)
    assert not (tmp_path / "warehouse.duckdb").exists()


@pytest.mark.slow
def test_one_run_makes_timelines_and_their_table(data):
    defs = build_defs(pipeline=PipelineData(root=str(data.root)))
    keys = [["cohort", name] for name in ("members", "events", "stay_events", "table", "split")]
    keys += [["prepared", name] for name in ("table", "events", "timelines")]
    keys += [[stage, MARKOV] for stage in ("model", "synthetic", "scores")]
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        partition_key="icu_48h",
        instance=dg.DagsterInstance.ephemeral(),
        asset_selection=[dg.AssetKey(key) for key in [*keys, ["validation_report"]]],
        raise_on_error=False,
    )
    assert result.success, [event.message for event in result.all_events if event.is_failure]
    folder = data.cohort("icu_48h")
    made = folder.generator(MARKOV)
    assert read_json(made.sanity)["passed"]
    assert set(read_json(folder.report_scores)["generators"]) == {MARKOV}
    said = result.asset_materializations_for_node(f"synthetic__{MARKOV}")[0].metadata
    assert said["events"].value > said["dagster/row_count"].value
    refused = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        partition_key="icu_48h",
        instance=dg.DagsterInstance.ephemeral(),
        asset_selection=[dg.AssetKey(["model", "ehr_safe"])],
        run_config={"ops": {"model__ehr_safe": {"config": {"epsilon": 1.0}}}},
        raise_on_error=False,
    )
    (failure,) = [event for event in refused.all_events if event.is_step_failure]
    assert "no private tier" in failure.step_failure_data.user_failure_data.description


def run_and_export(source, tmp_path, rows=None):
    """Run the chain by the command line, export as MIMIC-IV and ingest that again; the new warehouse."""
    command = [
        sys.executable,
        "-m",
        "ehr_pipeline.cli",
        "run",
        "--source",
        str(source),
        "--data",
        str(tmp_path / "data"),
    ]
    command += ["--cohort", "icu_48h", "--generator", MARKOV]
    command[1:3] = ["-c", "import sys; from ehr_pipeline.cli import main; main()"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2_000:]
    data = DataFolder(tmp_path / "data")
    for form in ("mimic-iv", "meds"):
        export(data, "icu_48h", MARKOV, form, tmp_path / form)
    again = DataFolder(tmp_path / "again")
    ingest([tmp_path / "mimic-iv"], again)
    return again.warehouse


def count(warehouse, sql):
    with duckdb.connect(str(warehouse), read_only=True) as con:
        return con.execute(sql).fetchone()[0]


def check_as_mimic(warehouse):
    for table in ("mimiciv_icu.icustays", "mimiciv_icu.chartevents", "mimiciv_hosp.labevents"):
        assert count(warehouse, f"SELECT count(*) FROM {table}") > 0
    none = [
        "SELECT count(*) FROM mimiciv_hosp.admissions WHERE dischtime <= admittime",
        """SELECT count(*) FROM mimiciv_icu.icustays i JOIN mimiciv_hosp.admissions a USING (hadm_id)
        WHERE i.intime < a.admittime - INTERVAL 1 DAY OR i.outtime > a.dischtime + INTERVAL 1 DAY""",
        """SELECT count(*) FROM mimiciv_icu.chartevents c JOIN mimiciv_hosp.admissions a USING (hadm_id)
        WHERE c.charttime > a.deathtime + INTERVAL 1 DAY""",
        """SELECT count(*) FROM mimiciv_hosp.diagnoses_icd d JOIN mimiciv_hosp.patients p USING (subject_id)
        WHERE p.gender = 'M' AND d.icd_version = 10 AND d.icd_code LIKE 'O%'""",
        "SELECT count(*) FROM mimiciv_hosp.patients WHERE anchor_age IS NULL OR anchor_age < 17",
    ]
    for sql in none:
        assert count(warehouse, sql) == 0, sql
    patients = count(warehouse, "SELECT count(*) FROM mimiciv_hosp.patients")
    for table in ("mimiciv_hosp.admissions", "mimiciv_icu.icustays"):  # one stay each
        assert count(warehouse, f"SELECT count(*) FROM {table}") == patients


SMALLEST = {
    "timeline_markov": {},
    "ehr_safe": {"updates": 60, "category_updates": 60, "gan_updates": 60, "hidden": 32, "latent": 8},
    "timeline_transformer": {"updates": 40, "plan_updates": 100, "gap_rounds": 0, "width": 16, "layers": 1, "heads": 2},
}


@pytest.mark.slow
def test_the_command_line_makes_a_mimic_iv_of_a_simulated_hospital(hospital, tmp_path):
    check_as_mimic(run_and_export(hospital, tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(not DEMO.exists(), reason="the MIMIC-IV demo is not here")
def test_every_generator_of_timelines_takes_the_real_demo_through_the_whole_chain(tmp_path):
    """With the smallest settings: nothing is learned well, and what comes out holds together all the same."""
    data = DataFolder(tmp_path / "data")
    ingest([DEMO], data)
    keys = [["cohort", name] for name in ("members", "events", "stay_events", "table", "split")]
    keys += [["prepared", name] for name in ("table", "events", "timelines")]
    keys += [[stage, name] for name in TIMELINE_GENERATORS for stage in ("model", "synthetic", "scores")]
    config = {f"model__{name}": {"config": settings} for name, settings in SMALLEST.items()}
    config |= {f"synthetic__{name}": {"config": {"rows": 40}} for name in SMALLEST}
    result = (
        build_defs(pipeline=PipelineData(root=str(data.root)))
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            partition_key="icu_48h",
            instance=dg.DagsterInstance.ephemeral(),
            asset_selection=[dg.AssetKey(key) for key in [*keys, ["validation_report"]]],
            run_config={"ops": config},
            raise_on_error=False,
        )
    )
    assert result.success, [event.message for event in result.all_events if event.is_failure]
    folder = data.cohort("icu_48h")
    assert set(read_json(folder.report_scores)["generators"]) == set(TIMELINE_GENERATORS)
    for name in TIMELINE_GENERATORS:
        assert read_json(folder.generator(name).sanity)["passed"]
        export(data, "icu_48h", name, "mimic-iv", tmp_path / name)
        again = DataFolder(tmp_path / f"{name}-again")
        ingest([tmp_path / name], again)
        check_as_mimic(again.warehouse)
