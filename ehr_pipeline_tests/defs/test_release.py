"""What the release asset promises: a human asks, the same gate answers, and links lead to the bundle."""

from pathlib import Path

import dagster as dg
import pytest

from ehr_pipeline.definitions import build_defs, defs
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.generators.registry import GENERATORS
from ehr_pipeline.release.verify import verify
from ehr_pipeline_tests.release.conftest import (  # noqa: F401  fixtures
    DEFINITION,
    _accounts_once,
    data,
    definition,
    releasable,
)

KEY = dg.AssetKey(["release_bundle", "independent"])


@pytest.fixture
def ask(data, tmp_path):  # noqa: F811
    """Materialise the asset for the cohort `small`."""
    (tmp_path / "small.yaml").write_text(DEFINITION)
    wired = build_defs(pipeline=PipelineData(root=str(data.root), cohort_folders=[str(tmp_path)]))

    def materialise(**config):
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                [wired.get_assets_def(KEY)],
                partition_key="small",
                instance=instance,
                resources={"pipeline": PipelineData(root=str(data.root))},
                raise_on_error=False,
                run_config={"ops": {"release_bundle__independent": {"config": config}}},
            )

    return materialise


def test_nothing_releases_by_itself():
    graph = defs.resolve_asset_graph()
    for generator in GENERATORS:
        node = graph.get(dg.AssetKey(["release_bundle", generator]))
        assert node.group_name == "release" and node.automation_condition is None
    keys = defs.resolve_job_def("refresh_cohort").asset_layer.executable_asset_keys
    assert not [key for key in keys if key.path[0] == "release_bundle"]


@pytest.mark.slow
def test_an_open_gate_leaves_a_bundle_with_links(ask, data):  # noqa: F811
    result = ask()
    assert result.success
    metadata = result.asset_materializations_for_node("release_bundle__independent")[0].metadata
    bundle = Path(metadata["bundle"].value)
    assert bundle.parent == data.releases("small") and verify(bundle).problems == ()
    assert metadata["verified"].value is True and metadata["tier"].value == "private"
    assert metadata["report"].value == (bundle / "index.html").as_uri()
    assert metadata["privacy_statement"].value == (bundle / "privacy-statement.html").as_uri()


@pytest.mark.slow
def test_a_shut_gate_is_a_failed_run_that_gives_every_reason(ask, data):  # noqa: F811
    files = data.cohort("small").generator("independent")
    files.synthetic.write_bytes(files.synthetic.read_bytes() + b"\0")
    result = ask()
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    description = failure.step_failure_data.user_failure_data.description
    assert "not the one that its sanity checks saw" in description and "not the one that was evaluated" in description
    assert not [path for path in data.releases("small").iterdir() if path.is_dir()]
