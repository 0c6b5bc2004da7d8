"""What the code location promises: it loads, reads as the flow, and is partitioned by cohort alone."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

import ehr_pipeline.defs
from ehr_pipeline.cohort import load_definitions
from ehr_pipeline.cohort.definition import Privacy
from ehr_pipeline.cohort.loading import load_definition
from ehr_pipeline.definitions import build_defs, defs
from ehr_pipeline.defs.launchpad import budget_from, config_from, form_of
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.defs.train import refuse_retry
from ehr_pipeline.errors import CheckFailed, DefinitionError, OptionError
from ehr_pipeline.generators.registry import GENERATORS, TIMELINE_GENERATORS, default_generators, entry_of
from ehr_pipeline.privacy.budget import Budget

DAGSTER_YAML = Path(ehr_pipeline.defs.__file__).with_name("dagster.yaml")

EVERY_GENERATOR = [*GENERATORS, *TIMELINE_GENERATORS]
COHORTS = {"medicore", "icu_48h", "heart_failure", "diabetes", "emergency"}
STAGES = ["ingest", "cohort", "prepare", "train", "sample", "evaluate", "report", "release"]


@pytest.fixture(scope="module")
def graph():
    return defs.resolve_asset_graph()


def test_the_definitions_load():
    dg.Definitions.validate_loadable(defs)


def test_every_stage_is_a_group_and_the_graph_follows_their_order(graph):
    order = {stage: place for place, stage in enumerate(STAGES)}
    groups = {key: graph.get(key).group_name for key in graph.get_all_asset_keys()}
    assert set(groups.values()) == set(STAGES)
    for key, group in groups.items():
        for parent in graph.get(key).parent_keys:
            assert order[groups[parent]] <= order[group], (parent, key)


def test_partitions_are_the_cohorts_and_nothing_else(graph):
    for key in graph.get_all_asset_keys():
        partitions = graph.get(key).partitions_def
        if key.path[0] == "raw":
            assert partitions is None
        else:
            assert set(partitions.get_partition_keys()) == COHORTS


def test_every_asset_says_who_owns_it_what_it_is_and_how_secret(graph):
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description and node.owners and node.kinds and "phi" in node.tags, key


def test_a_generator_in_the_registry_has_its_assets_and_checks(graph):
    for generator in EVERY_GENERATOR:
        for stage in ("model", "synthetic", "scores"):
            assert dg.AssetKey([stage, generator]) in graph.get_all_asset_keys()
        names = {check.name for check in graph.asset_check_keys if check.asset_key.path == ["synthetic", generator]}
        assert len(names) >= 3


INFORMING = {"enough_patients", "clinical_rules"}


def test_gates_block_and_what_only_informs_does_not(graph):
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        assert spec.blocking == (key.name not in INFORMING), key


def test_training_is_never_retried(graph):
    for generator in EVERY_GENERATOR:
        assert defs.get_assets_def(dg.AssetKey(["model", generator])).op.retry_policy is None


@pytest.mark.parametrize("generator", EVERY_GENERATOR)
def test_the_launchpad_form_means_the_generators_own_config(generator):
    config_type = entry_of(generator).config_type
    form = form_of(config_type)
    assert config_from(form(), config_type) == config_type()
    assert config_from(form(seed=7), config_type) == config_type(seed=7)
    for name, field in form.model_fields.items():
        assert field.description, name


def test_a_form_asks_for_a_budget_or_leaves_it_to_the_cohort():
    plain = load_definitions()["medicore"]
    private = plain.model_copy(update={"privacy": Privacy(epsilon=2.0)})
    form = form_of(GENERATORS["independent"].config_type)
    assert budget_from(form(), plain) is None
    assert budget_from(form(), private) == Budget(epsilon=2.0, delta=1e-6)
    assert budget_from(form(epsilon=0), private) is None
    assert budget_from(form(epsilon=1, delta=1e-5), private) == Budget(epsilon=1.0, delta=1e-5)
    for wrong in ({"epsilon": -1}, {"delta": 1e-5}, {"epsilon": 1, "delta": 0}, {"epsilon": float("nan")}):
        with pytest.raises(OptionError):
            budget_from(form(**wrong), private)


def test_a_cohorts_budget_changes_nothing_of_who_its_patients_are(tmp_path):
    lines = ["title: Mine", "index: admission", "window: {until: admission}", "features: {age: {fact: age}}"]
    fingerprints = set()
    for said in ("", "privacy: {epsilon: 1.0, delta: 1.0e-5}"):
        (tmp_path / "mine.yaml").write_text("\n".join([*lines, said]))
        fingerprints.add(load_definition(tmp_path / "mine.yaml").fingerprint)
    assert len(fingerprints) == 1
    (tmp_path / "mine.yaml").write_text("\n".join([*lines, "privacy: {epsilon: 0}"]))
    with pytest.raises(DefinitionError, match="epsilon"):
        load_definition(tmp_path / "mine.yaml")


@pytest.mark.parametrize(("retry_number", "tags"), [(1, {}), (0, {"dagster/retry_number": "1"})])
def test_dagster_itself_cannot_train_again_within_a_budget(retry_number, tags):
    step = SimpleNamespace(retry_number=retry_number)
    context = SimpleNamespace(op_execution_context=step, run=SimpleNamespace(tags=tags))
    with pytest.raises(CheckFailed, match="not retried"):
        refuse_retry(context)
    first = SimpleNamespace(retry_number=0)
    refuse_retry(SimpleNamespace(op_execution_context=first, run=SimpleNamespace(tags={})))


def test_no_run_is_started_again_by_itself(tmp_path):
    for text in (DAGSTER_YAML.read_text(), (DAGSTER_YAML.parents[2] / "dagster.yaml").read_text()):
        (tmp_path / "dagster.yaml").write_text(text)
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            assert not instance.run_retries_enabled


def test_the_schedule_asks_for_one_run_per_cohort():
    from datetime import datetime

    schedule = defs.get_schedule_def("weekly")
    repository = defs.get_repository_def()
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 11, 22, 3), repository_def=repository)
    requests = schedule.evaluate_tick(context).run_requests
    assert {request.partition_key for request in requests} == COHORTS
    assert schedule.job_name == "refresh_cohort"


def test_the_sensor_asks_once_per_change_when_the_source_has_come_to_rest(tmp_path, monkeypatch):
    sensor = defs.get_sensor_def("new_source_files")
    monkeypatch.setenv("EHR_PIPELINE_SOURCE", str(tmp_path))
    (tmp_path / "patients.csv").write_text("a")

    def tick(cursor):
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, repository_def=defs.get_repository_def()
            )
            answer = sensor.evaluate_tick(context)
        return len(answer.run_requests or []), answer.cursor

    asked, cursor = tick(None)
    assert asked == 0  # files may still be on their way
    asked, cursor = tick(cursor)
    assert asked == 1
    asked, cursor = tick(cursor)
    assert asked == 0
    (tmp_path / "patients.csv").write_text("ab")
    asked, cursor = tick(cursor)
    assert asked == 0
    asked, cursor = tick(cursor)
    assert asked == 1


def test_the_job_of_a_cohort_holds_the_default_generators_alone():
    keys = defs.resolve_job_def("refresh_cohort").asset_layer.executable_asset_keys
    trained = {key.path[1] for key in keys if key.path[0] == "model"}
    assert trained == set(default_generators()) == {"independent", "tabular_vae", "column_autoregressive"}
    assert dg.AssetKey(["validation_report"]) in keys and dg.AssetKey(["cohort", "table"]) in keys
    assert dg.AssetKey(["prepared", "timelines"]) not in keys  # what no default generator needs


def test_a_generator_of_timelines_learns_from_timelines_and_one_of_tables_from_the_table(graph):
    for generator in EVERY_GENERATOR:
        parents = {key.path[-1] for key in graph.get(dg.AssetKey(["model", generator])).parent_keys}
        assert parents == {"timelines" if generator in TIMELINE_GENERATORS else "table", "split"}


def test_a_users_own_file_becomes_a_partition(tmp_path):
    (tmp_path / "my_patients.yaml").write_text(
        "title: Mine\nindex: admission\nwindow: {until: admission}\nfeatures: {age: {fact: age}}\n"
    )
    own = build_defs(pipeline=PipelineData(cohort_folders=[str(tmp_path)]))
    partitions = own.resolve_job_def("refresh_cohort").partitions_def.get_partition_keys()
    assert set(partitions) == COHORTS | {"my_patients"}


@pytest.mark.slow
def test_dagster_itself_validates_the_workspace():
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
