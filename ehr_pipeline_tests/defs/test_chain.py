"""What a cohort's run promises: the whole chain in one run, gated, and nothing of a patient in Dagster's storage."""

import shutil
from pathlib import Path

import dagster as dg
import pytest

import ehr_pipeline.defs
from ehr_pipeline.cohort import build_cohort, load_definitions
from ehr_pipeline.definitions import build_defs
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.errors import NotReady
from ehr_pipeline.evaluate.cohort import evaluate_cohort
from ehr_pipeline.generators.cohort_data import load_training_cohort
from ehr_pipeline.generators.registry import GENERATORS, TIMELINE_GENERATORS
from ehr_pipeline.generators.train import train
from ehr_pipeline.ingest import known_sources
from ehr_pipeline.prepare import prepare_cohort
from ehr_pipeline.sanity.real import check_prepared
from ehr_pipeline.sanity.sample import sample_cohort
from ehr_pipeline.storage import read_json

from .conftest import MARKER

DAGSTER_YAML = Path(ehr_pipeline.defs.__file__).with_name("dagster.yaml")
EMPTY_COHORT = """
title: Nobody
index: admission
window: {until: admission}
population: {age_years: {minimum: 120}}
features: {age: {fact: age}}
"""


LONG_TO_TRAIN = ("timeline_transformer", "ehr_safe")


def run_cohort(data, cohort, instance, *, config=None, folders=()):
    """Every generator but those of timelines that train for minutes."""
    pipeline = PipelineData(root=str(data.root), cohort_folders=[str(folder) for folder in folders])
    defs = build_defs(pipeline=pipeline)
    job = defs.resolve_implicit_global_asset_job_def()
    unasked = {"raw", "release_bundle"}
    chosen = [
        key
        for key in job.asset_layer.executable_asset_keys
        if key.path[0] not in unasked and key.path[-1] not in LONG_TO_TRAIN
    ]
    return job.execute_in_process(
        partition_key=cohort,
        instance=instance,
        asset_selection=chosen,
        raise_on_error=False,
        run_config=config or {},
    )


@pytest.fixture
def instance(tmp_path):
    """The shipped instance: what it keeps is what is looked through."""
    (tmp_path / "home").mkdir()
    shutil.copyfile(DAGSTER_YAML, tmp_path / "home" / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        yield instance


def quick(**ops):
    """Run config that keeps training short."""
    trained = [name for name, entry in GENERATORS.items() if "updates" in entry.config_type.model_fields]
    return {"ops": {f"model__{name}": {"config": {"updates": 40}} for name in trained} | ops}


@pytest.mark.slow
def test_one_run_holds_the_whole_chain_and_no_patient(data, instance, tmp_path):
    result = run_cohort(data, "emergency", instance, config=quick())
    assert result.success, [event.message for event in result.all_events if event.is_failure]
    folder = data.cohort("emergency")
    scores = read_json(folder.report_scores)
    assert set(scores["generators"]) == {*GENERATORS, *TIMELINE_GENERATORS} - {*LONG_TO_TRAIN}
    assert folder.report_page.exists()
    assert read_json(folder.generator("tabular_vae").sanity)["drawn_with"]["seed"] == 0
    evaluations = result.get_asset_check_evaluations()
    assert {evaluation.partition for evaluation in evaluations} == {"emergency"}
    report = result.asset_materializations_for_node("validation_report")[0].metadata
    assert "data:image/png;base64," in report["picture"].value
    assert any(name.startswith("tabular_vae/") for name in report)
    assert_nowhere(MARKER, tmp_path / "home")


@pytest.mark.slow
def test_a_model_of_another_split_is_neither_sampled_nor_judged(data, tmp_path):
    """Else holdout patients who trained it would be attacked as if nobody had seen them."""
    definition = load_definitions()["emergency"]
    folder = data.cohort("emergency")
    for salt in ("one", "two"):
        salted = definition.model_copy(update={"split": definition.split.model_copy(update={"salt": salt})})
        build_cohort(salted, data)
        prepare_cohort(salted, data)
        check_prepared(folder)
        if salt == "one":
            train("independent", load_training_cohort(folder), None, folder.generator("independent"))
            sample_cohort(folder, "independent")
            evaluate_cohort(data, salted, "independent")
    with pytest.raises(NotReady, match="train it again"):
        sample_cohort(folder, "independent")
    with pytest.raises(NotReady, match="train it again"):
        evaluate_cohort(data, salted, "independent")


@pytest.mark.slow
def test_a_failing_cohort_is_a_failed_run_without_a_synthetic_table(data, instance, tmp_path):
    (tmp_path / "nobody.yaml").write_text(EMPTY_COHORT)
    result = run_cohort(data, "nobody", instance, folders=[tmp_path])
    assert not result.success
    assert not list(data.cohort("nobody").root.rglob("synthetic.parquet"))
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "no patient" in failure.step_failure_data.user_failure_data.description.lower()


def test_without_a_source_the_one_before_is_read_again(data, hospital, instance):
    """Else a run that names a cohort alone would put a simulated hospital in the place of a real one."""
    defs = build_defs(pipeline=PipelineData(root=str(data.root)))
    assert defs.resolve_job_def("ingest").execute_in_process(instance=instance, raise_on_error=False).success
    assert known_sources(data) == [hospital]
    assert not data.simulated_source.exists()


@pytest.mark.parametrize("debug", ["", "1"])
def test_an_unexpected_error_passes_the_wall_without_its_text(instance, tmp_path, monkeypatch, debug):
    from ehr_pipeline.defs.boundary import patient_safe

    monkeypatch.setenv("EHR_PIPELINE_DEBUG", debug)

    @dg.asset
    def leaks():
        with patient_safe("cohort"):
            raise ValueError(f"could not convert {MARKER}")

    result = dg.materialize([leaks], instance=instance, raise_on_error=False)
    assert not result.success
    assert_nowhere(MARKER, tmp_path / "home")
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "unexpected ValueError at test_chain.py" in failure.step_failure_data.user_failure_data.description


def assert_nowhere(text, folder):
    """No file below `folder` holds the text, in UTF-8 or UTF-16."""
    found = [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(text.encode(coding) in path.read_bytes() for coding in ("utf-8", "utf-16-le"))
    ]
    assert not found
