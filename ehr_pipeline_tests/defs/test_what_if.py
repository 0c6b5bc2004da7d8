"""What the job of what-if cohorts promises: one run per cohort, typed, launched with its defaults, no patient told."""

import dagster as dg
import pandas as pd
import pytest

from ehr_pipeline.cohort import build_cohort, load_definitions
from ehr_pipeline.definitions import build_defs
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.generators.cohort_data import load_training_cohort
from ehr_pipeline.generators.train import train
from ehr_pipeline.prepare import prepare_cohort
from ehr_pipeline.sanity.real import check_prepared
from ehr_pipeline.storage import read_json


def run(data, **config):
    job = build_defs(pipeline=PipelineData(root=str(data.root))).resolve_job_def("what_if")
    return job.execute_in_process(
        partition_key="medicore",
        raise_on_error=False,
        run_config={"ops": {"what_if_cohort": {"config": config}}},
    )


def failure_of(result):
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.user_failure_data.description


@pytest.fixture
def trained(data):
    definition = load_definitions()["medicore"]
    build_cohort(definition, data)
    prepare_cohort(definition, data)
    folder = data.cohort("medicore")
    check_prepared(folder)
    train("independent", load_training_cohort(folder), None, folder.generator("independent"))
    return data


def test_a_what_if_cohort_is_a_run_with_a_typed_config(trained):
    config = {"generator": "independent", "name": "rare", "conditions": {"diabetes": "1"}, "rows": 80, "seed": 3}
    result = run(trained, **config, balance={"sex": {"F": 0.25, "M": 0.75}, "cvd": {}})
    assert result.success, failure_of(result)
    files = trained.cohort("medicore").generator("independent").what_if("rare")
    table = pd.read_parquet(files.table)
    assert (len(table), (table["sex"] == "F").sum(), (table["cvd"] == 1).sum()) == (80, 20, 40)
    assert (table["diabetes"] == 1).all()
    assert read_json(files.record)["balance"] == {"sex": {"F": 0.25, "M": 0.75}, "cvd": {}}
    (output,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    assert output.event_specific_data.metadata["dagster/row_count"].value == 80
    assert not trained.cohort("medicore").generator("independent").synthetic.exists()


def test_the_default_config_needs_no_more_than_the_model(trained):
    assert "train tabular_vae first" in failure_of(run(trained))
    assert run(trained, generator="independent").success
    table = pd.read_parquet(trained.cohort("medicore").generator("independent").what_if("example").table)
    assert len(table) == 1000


@pytest.mark.parametrize(
    ("config", "names"),
    [({"conditions": {"sex": "QQMARKERQQ"}}, "sex"), ({"name": "../up"}, "name"), ({"balance": {"age": {}}}, "age")],
)
def test_what_cannot_be_asked_fails_in_one_line_that_names_it(trained, config, names):
    message = failure_of(run(trained, generator="independent", **config))
    assert names in message and "QQMARKERQQ" not in message


def test_a_config_of_another_type_is_refused_before_the_run(trained):
    with pytest.raises(dg.DagsterInvalidConfigError):
        run(trained, rows="many")
