"""The checks of the warehouse: one verdict per table and check, always, and never a good one for what did not run."""

import shutil

import duckdb
import pytest

from ehr_pipeline.errors import NotReady
from ehr_pipeline.ingest import CheckResult, check_tables
from ehr_pipeline.ingest.checks import CHECKS
from ehr_pipeline.mimic import tables
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.ingest.hospital import table_of

# What is done behind ingest's back, each to a table of its own -> the check that must see it, and what it says.
FAULTS = {
    "DELETE FROM mimiciv_hosp.patients": ("patients", "rows", "of 3 rows read there are 0: 3 of 0"),
    "DELETE FROM mimiciv_hosp.pharmacy": ("pharmacy", "rows", "of 1 rows read there are 0: 1 of 0"),
    "INSERT INTO mimiciv_ed.triage FROM mimiciv_ed.triage": (
        "triage",
        "keys",
        "stay_id (the primary key) is there more than once: 1 of 1",
    ),
    "UPDATE mimiciv_hosp.diagnoses_icd SET hadm_id = 77": (
        "diagnoses_icd",
        "references",
        "hadm_id is not in mimiciv_hosp.admissions: 2 of 2",
    ),
    "UPDATE mimiciv_hosp.labevents SET itemid = NULL": ("labevents", "columns", "itemid is empty: 5 of 5"),
    "UPDATE mimiciv_icu.inputevents SET amount = 'nan'": ("inputevents", "columns", "amount is not finite: 1 of 1"),
    "ALTER TABLE mimiciv_icu.outputevents ALTER value TYPE VARCHAR": (
        "outputevents",
        "columns",
        "column value is absent or of another type: 1 of 9",
    ),
    "ALTER TABLE mimiciv_hosp.omr DROP COLUMN result_value": (
        "omr",
        "columns",
        "column result_value is absent or of another type: 1 of 5",
    ),
}


@pytest.fixture(scope="module")
def sound(ingested) -> dict[str, tuple[CheckResult, ...]]:
    """What is said of the hospital as it was ingested."""
    return check_tables(ingested)


@pytest.fixture(scope="module")
def spoilt(ingested, tmp_path_factory) -> dict[str, tuple[CheckResult, ...]]:
    """What is said of a copy of it in which every fault was made and a table dropped."""
    data = DataFolder(tmp_path_factory.mktemp("spoilt") / "data")
    shutil.copytree(ingested.root, data.root)
    with duckdb.connect(data.warehouse) as con:
        con.execute("; ".join([*FAULTS, "DROP TABLE mimiciv_icu.datetimeevents"]))
    return check_tables(data)


def verdict(results: dict[str, tuple[CheckResult, ...]], short_name: str, check: str) -> CheckResult:
    return next(result for result in results[table_of(short_name).name] if result.check == check)


def test_each_table_has_one_verdict_per_check_and_a_sound_warehouse_passes(sound, spoilt):
    for results in (sound, spoilt):
        assert set(results) == set(tables())
        assert all([result.check for result in of_table] == list(CHECKS) for of_table in results.values())
    assert not any(result.blocks or not result.could_run for of_table in sound.values() for result in of_table)


def test_a_link_that_mimic_leaves_open_warns_and_does_not_block(sound):
    result = verdict(sound, "emar", "references")
    assert not result.passed
    assert not result.blocks
    assert result.severity == "warning"
    # subject_id, hadm_id and poe_id of 2 rows, pharmacy_id of none
    assert (result.n_checked, result.n_failed) == (6, 1)
    assert result.details == ("poe_id is not in mimiciv_hosp.poe: 1 of 2",)


@pytest.mark.parametrize(("table", "check", "detail"), FAULTS.values())
def test_what_is_wrong_blocks_and_is_counted(table, check, detail, spoilt):
    result = verdict(spoilt, table, check)
    assert result.blocks
    assert result.severity == "critical"
    assert detail in result.details


def test_what_is_right_still_passes_beside_it(spoilt):
    assert verdict(spoilt, "labevents", "keys").passed
    assert verdict(spoilt, "admissions", "columns").passed
    assert verdict(spoilt, "diagnoses_icd", "rows").passed


def test_a_check_that_cannot_run_blocks(spoilt):
    results = {check: verdict(spoilt, "datetimeevents", check) for check in CHECKS}
    assert all(result.blocks for result in results.values())
    assert not any(results[check].could_run for check in ("keys", "references", "rows"))


def test_without_a_warehouse_nothing_is_said(data):
    with pytest.raises(NotReady, match="ehr-pipeline ingest"):
        check_tables(data)
