"""What a budget promises in Dagster: asked for in a form or a cohort's file, said first, spent once, kept to after."""

import dagster as dg
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.cohort import build_cohort, load_definitions
from ehr_pipeline.definitions import build_defs
from ehr_pipeline.defs.boundary import EXIT_CODE
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.defs.run import RunRequest, run_pipeline
from ehr_pipeline.prepare import prepare_cohort
from ehr_pipeline.privacy.ledger import Ledger
from ehr_pipeline.sanity.real import check_prepared
from ehr_pipeline.sanity.sample import sample_cohort
from ehr_pipeline.sanity.what_if import WhatIf, sample_what_if
from ehr_pipeline.storage import read_json

OWN = """
title: Own patients
index: admission
window: {until: admission}
features: {age: {fact: age}, sex: {fact: sex}, site: {fact: site}, died: {fact: died_in_hospital}}
sensitive: [sex]
privacy: {epsilon: 1.0, delta: 1.0e-5}
"""


@pytest.fixture
def own(data, tmp_path):
    """A cohort of one's own with a budget in its file, prepared."""
    folder = tmp_path / "cohorts"
    folder.mkdir()
    (folder / "own.yaml").write_text(OWN)
    definition = load_definitions([folder])["own"]
    build_cohort(definition, data)
    prepare_cohort(definition, data)
    check_prepared(data.cohort("own"))
    return PipelineData(root=str(data.root), cohort_folders=[str(folder)])


def train_one(pipeline, form, **how):
    key = dg.AssetKey(["model", "independent"])
    with dg.DagsterInstance.ephemeral() as instance:
        return build_defs(pipeline=pipeline).resolve_job_def("refresh_cohort").execute_in_process(
            partition_key="own", asset_selection=[key], raise_on_error=False, instance=instance,
            run_config={"ops": {"model__independent": {"config": form}}}, **how,
        )  # fmt: skip


@pytest.mark.slow
def test_a_cohorts_own_budget_is_kept_to_from_training_to_the_rows(own, data):
    result = train_one(own, {})
    assert result.success
    (made,) = result.asset_materializations_for_node("model__independent")
    told = {name: value.value for name, value in made.metadata.items()}
    folder = data.cohort("own").generator("independent")
    card = read_json(folder.model / "model.json")
    (row,) = Ledger(data.ledger).verify()
    assert (row.epsilon, row.delta, row.source) == (1.0, 1e-5, "own") and row.id == told["ledger_entry"]
    assert row.why == f"job refresh_cohort, run {result.run_id}"
    assert told["epsilon"] == pytest.approx(1.0, rel=1e-3) and "histogram of each column" in told["privacy"]
    assert told["training_patients"] == told["training_rows"] == card["n_patients"]
    assert told["columns_left_out"] == "site" and "loss_curve" not in told

    sample_cohort(data.cohort("own"), "independent")
    assert read_json(folder.sanity)["is_private"]
    assert pq.read_metadata(folder.synthetic).num_rows == card["n_patients"]
    what_if = sample_what_if(
        data.cohort("own"), "independent", WhatIf(conditions={"sex": "F"}), folder.what_if("women")
    )
    assert what_if.n_rows == card["n_patients"]


@pytest.mark.slow
def test_the_launchpads_budget_goes_before_the_cohorts_and_the_cap_before_both(own, data):
    data.policy.write_text("epsilon_cap: 0.75\n")
    assert train_one(own, {"epsilon": 0.5, "delta": 1e-6, "universe": "mine"}).success
    model = (data.cohort("own").generator("independent").model / "model.json").read_bytes()
    refused = train_one(own, {"epsilon": 0.5, "universe": "mine"})
    (failure,) = [event for event in refused.all_events if event.is_step_failure]
    said = failure.step_failure_data.user_failure_data
    assert "cap of 0.75" in said.description and said.metadata[EXIT_CODE].value == 1
    assert (data.cohort("own").generator("independent").model / "model.json").read_bytes() == model
    again = train_one(own, {"epsilon": 0.1}, tags={"dagster/retry_number": "1"})
    assert not again.success and len(Ledger(data.ledger).entries()) == 1
    assert train_one(own, {"epsilon": 0}).success
    spent, inside = Ledger(data.ledger).entries()
    assert (spent.kind, spent.universe, inside.kind) == ("spend", "mine", "internal")


@pytest.mark.parametrize(
    ("request_", "generators"),
    [
        ({"epsilon": 0.5}, ["marginals"]),
        ({"epsilon": 3.0}, ["column_autoregressive"]),
        ({"epsilon": 0.5, "generators": ("independent",)}, ["independent"]),
        ({"cohorts": ("own",)}, ["marginals"]),
    ],
)
def test_a_run_within_a_budget_trains_the_one_generator_that_suits_it(tmp_path, monkeypatch, request_, generators):
    from ehr_pipeline.storage import DataFolder

    chosen = []

    def note(self, job, config, cohort=None, selection=None):
        chosen.append([key.path[1] for key in selection or () if key.path[0] == "model"])
        return True

    (tmp_path / "own.yaml").write_text(OWN)
    monkeypatch.setattr("ehr_pipeline.defs.run._Runner.run", note)
    for name in ("EHR_PIPELINE_DATA", "EHR_PIPELINE_COHORTS", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")
    asked = {"cohorts": ("medicore",)} | request_
    run_pipeline(RunRequest(data=DataFolder(tmp_path / "data"), cohort_folders=(tmp_path,), **asked), say=print)
    assert chosen == [[], generators]
