"""The checks of the warehouse: one verdict per table and check, always, and never a good one for what did not run."""

import shutil

import duckdb
import pytest

from ehr_pipeline.errors import NotReady
from ehr_pipeline.ingest import CheckResult, check_tables
from ehr_pipeline.ingest.checks import CHECKS
from ehr_pipeline.mimic import tables
from ehr_pipeline.storage import DataFolder


@pytest.fixture
def spoilt(ingested, data) -> DataFolder:
    """A copy of the ingested hospital, to be spoilt behind ingest's back."""
    shutil.copytree(ingested.root, data.root)
    return data


def spoil(data: DataFolder, sql: str) -> None:
    with duckdb.connect(data.warehouse) as con:
        con.execute(sql)


def verdict(data: DataFolder, table: str, check: str) -> CheckResult:
    return next(result for result in check_tables(data)[table] if result.check == check)


def test_each_table_has_one_verdict_per_check_and_a_sound_warehouse_passes(ingested):
    results = check_tables(ingested)
    assert set(results) == set(tables())
    for name, of_table in results.items():
        assert [result.check for result in of_table] == list(CHECKS), name
        assert not any(result.blocks for result in of_table), name
        assert all(result.could_run for result in of_table), name


def test_a_link_that_mimic_leaves_open_warns_and_does_not_block(ingested):
    result = verdict(ingested, "mimiciv_hosp.emar", "references")
    assert not result.passed
    assert not result.blocks
    assert result.severity == "warning"
    # subject_id and hadm_id of 2 rows, poe_id of 2, pharmacy_id of none
    assert (result.n_checked, result.n_failed) == (6, 1)
    assert result.details == ("poe_id is not in mimiciv_hosp.poe: 1 of 2",)


@pytest.mark.parametrize(
    ("sql", "table", "check", "detail"),
    [
        ("DELETE FROM mimiciv_hosp.patients", "mimiciv_hosp.patients", "rows", "of 3 rows read there are 0: 3 of 0"),
        ("DELETE FROM mimiciv_hosp.omr", "mimiciv_hosp.omr", "rows", "of 2 rows read there are 0: 2 of 0"),
        (
            "INSERT INTO mimiciv_hosp.patients FROM mimiciv_hosp.patients WHERE subject_id = 1",
            "mimiciv_hosp.patients",
            "keys",
            "subject_id (the primary key) is there more than once: 1 of 3",
        ),
        (
            "UPDATE mimiciv_hosp.labevents SET subject_id = 77",
            "mimiciv_hosp.labevents",
            "references",
            "subject_id is not in mimiciv_hosp.patients: 5 of 5",
        ),
        (
            "UPDATE mimiciv_hosp.labevents SET itemid = NULL",
            "mimiciv_hosp.labevents",
            "columns",
            "itemid is empty: 5 of 5",
        ),
        (
            "ALTER TABLE mimiciv_hosp.labevents ALTER valuenum TYPE VARCHAR",
            "mimiciv_hosp.labevents",
            "columns",
            "column valuenum is absent or of another type: 1 of 16",
        ),
        (
            "ALTER TABLE mimiciv_hosp.omr DROP COLUMN result_value",
            "mimiciv_hosp.omr",
            "columns",
            "column result_value is absent or of another type: 1 of 5",
        ),
    ],
)
def test_what_is_wrong_blocks_and_is_counted(sql, table, check, detail, spoilt):
    spoil(spoilt, sql)
    result = verdict(spoilt, table, check)
    assert result.blocks
    assert result.severity == "critical"
    assert detail in result.details


def test_a_check_that_cannot_run_blocks(spoilt):
    spoil(spoilt, "DROP TABLE mimiciv_hosp.omr")
    results = check_tables(spoilt)
    assert [(result.check, result.blocks) for result in results["mimiciv_hosp.omr"]] == [
        ("columns", True),
        ("keys", False),  # it has none
        ("references", True),
        ("rows", True),
    ]
    assert not verdict(spoilt, "mimiciv_hosp.omr", "rows").could_run
    assert not any(result.blocks for result in results["mimiciv_hosp.patients"])


def test_without_a_warehouse_nothing_is_said(data):
    with pytest.raises(NotReady, match="ehr-pipeline ingest"):
        check_tables(data)
