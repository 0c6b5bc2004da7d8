"""What a person at the UI is promised, on a real `dagster dev`: over GraphQL, and by clicking in Chromium."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import MARKER
from .live import dagster_dev
from .test_chain import EMPTY_COHORT, assert_nowhere

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MATERIALIZATIONS = """
query Asset($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations { partition metadataEntries { label __typename
    ... on FloatMetadataEntry { floatValue } ... on MarkdownMetadataEntry { mdStr } ... on PathMetadataEntry { path }
  } } } } }"""
CHECKS = """
query Checks($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name
    executionForLatestMaterialization { status evaluation { partition success } } } } } } } }"""


@pytest.fixture(scope="module")
def server(hospital, tmp_path_factory):
    """`ehr-pipeline ui` over an empty data folder, with the hospital as source and a cohort that is nobody."""
    root = tmp_path_factory.mktemp("live")
    own = root / "data" / "cohort-definitions"
    own.mkdir(parents=True)
    (own / "nobody.yaml").write_text(EMPTY_COHORT)
    with dagster_dev(root / "data", root / "log.txt", EHR_PIPELINE_SOURCE=str(hospital)) as server:
        server.data = root / "data"
        server.log = root / "log.txt"
        yield server


@pytest.fixture(scope="module")
def ingested_live(server):
    """The server after its ingest job, launched as the launchpad does it."""
    assert server.wait(server.launch("ingest")) == "SUCCESS"
    return server


def test_ingest_shows_row_counts_and_checks(ingested_live):
    node = ingested_live.graphql(CHECKS, key={"path": ["raw", "patients"]})["assetNodeOrError"]
    checks = {check["name"]: check for check in node["assetChecksOrError"]["checks"]}
    assert set(checks) == {"columns", "keys", "references", "rows"}
    assert all(check["executionForLatestMaterialization"]["status"] == "SUCCEEDED" for check in checks.values())


def test_a_cohort_that_fails_is_a_failed_run_without_a_synthetic_table(ingested_live):
    run = ingested_live.launch("refresh_cohort", partition="nobody")
    assert ingested_live.wait(run) == "FAILURE"
    assert not list((ingested_live.data / "cohorts").rglob("synthetic.parquet"))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; .ci/run installs it")
def test_a_cohort_is_materialized_by_clicking_and_its_checks_and_picture_are_seen(ingested_live, tmp_path):
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        asked_outside = []
        page.on("request", lambda request: _note_outside(request.url, asked_outside))
        try:
            _click_through(page, ingested_live.url, "emergency")
            assert ingested_live.wait(ingested_live.run_of("emergency"), timeout_s=400) == "SUCCESS"
            _see_checks(page, ingested_live.url)
            _see_picture(page, ingested_live.url, "emergency")
        finally:
            page.screenshot(path=str(tmp_path / "last.png"))
            browser.close()
    assert asked_outside == []
    (seen,) = ingested_live.graphql(MATERIALIZATIONS, key={"path": ["validation_report"]})["assetOrError"][
        "assetMaterializations"
    ]
    entries = {entry["label"]: entry for entry in seen["metadataEntries"]}
    assert seen["partition"] == "emergency"
    assert Path(entries["report"]["path"]).exists()
    assert any(label.startswith("tabular_vae/") and "floatValue" in entry for label, entry in entries.items())


def test_no_patients_value_is_in_dagsters_storage_or_log(ingested_live):
    assert_nowhere(MARKER, ingested_live.data / "dagster")
    assert MARKER not in ingested_live.log.read_text()
    found = subprocess.run(
        [sys.executable, "-c", _COUNT_MARKED, str(ingested_live.data), MARKER], capture_output=True, check=True
    )
    assert int(found.stdout) > 0  # the marker did go in


_COUNT_MARKED = """
import duckdb, sys
with duckdb.connect(sys.argv[1] + "/warehouse.duckdb", read_only=True) as con:
    print(con.execute("SELECT count(*) FROM mimiciv_ed.triage WHERE chiefcomplaint = ?", [sys.argv[2]]).fetchone()[0])
"""


def _note_outside(url, found):
    if not re.match(r"(https?|wss?)://127\.0\.0\.1[:/]|data:|blob:", url):
        found.append(url)


def _click_through(page, url, cohort):
    """Materialize one partition of the job, as a person does it."""
    page.goto(f"{url}/locations/ehr_pipeline/jobs/refresh_cohort")
    page.get_by_role("button", name=re.compile("Materialize all")).locator("visible=true").first.click(timeout=60_000)
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Confirm").click()  # the report is also of generators this job does not train
    dialog.get_by_text(re.compile("Select a partition")).locator("visible=true").first.click()
    page.get_by_text(cohort, exact=True).locator("visible=true").first.click()
    page.keyboard.press("Escape")
    dialog.get_by_role("button", name="Launch 1 run").click()


def _see_checks(page, url):
    page.goto(f"{url}/assets/synthetic/tabular_vae?view=checks", wait_until="networkidle")
    page.get_by_text("laboratory").locator("visible=true").first.wait_for(timeout=20_000)


def _see_picture(page, url, cohort):
    page.goto(f"{url}/assets/validation_report?view=partitions&partition={cohort}", wait_until="networkidle")
    shown = page.get_by_text(re.compile("Show markdown|Show Markdown", re.I)).locator("visible=true")
    if shown.count():
        shown.first.click()
    picture = page.locator("img[src^='data:image/png']").first
    picture.wait_for(timeout=20_000)
    assert picture.evaluate("image => image.naturalWidth") > 100
