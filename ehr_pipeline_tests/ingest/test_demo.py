"""The real demos of MIMIC-IV and MIMIC-IV-ED, read together."""

import time
from pathlib import Path

import duckdb
import meds
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.export.meds_folder import export_meds
from ehr_pipeline.ingest import IngestSummary, check_tables, connect, ingest
from ehr_pipeline.mimic import mappings
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.mimic.test_round_trip import assert_identity

SHARED = Path(__file__).parents[3] / "shared/data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.exists(), reason="the shared data folder is absent"),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[DataFolder, IngestSummary]:
    data = DataFolder(tmp_path_factory.mktemp("demo"))
    return data, ingest([SHARED / "mimic-iv-demo", SHARED / "mimic-iv-ed-demo"], data)


def test_every_published_count_is_met(demo):
    data, summary = demo
    # PhysioNet's counts of MIMIC-IV demo 2.2 and MIMIC-IV-ED demo 2.2
    published = {
        "mimiciv_hosp.patients": 100,
        "mimiciv_hosp.admissions": 275,
        "mimiciv_hosp.labevents": 107_727,
        "mimiciv_hosp.prescriptions": 18_087,
        "mimiciv_hosp.emar": 35_835,
        "mimiciv_hosp.emar_detail": 72_018,
        "mimiciv_hosp.diagnoses_icd": 4_506,
        "mimiciv_hosp.poe": 45_154,
        "mimiciv_hosp.d_icd_diagnoses": 109_775,
        "mimiciv_icu.icustays": 140,
        "mimiciv_icu.chartevents": 668_862,
        "mimiciv_icu.inputevents": 20_404,
        "mimiciv_ed.edstays": 222,
        "mimiciv_ed.triage": 222,
    }
    assert {name: summary.tables[name].n_rows for name in published} == published
    with connect(data) as con:
        for name, table in summary.tables.items():
            assert con.execute(f"SELECT count(*) FROM {name}").fetchone() == (table.n_rows,), name


def test_the_stream_is_valid_and_covers_everyone(demo):
    data, summary = demo
    assert summary.events.n_subjects == 100
    assert summary.events.n_events > 800_000
    for path in data.events.iterdir():
        meds.DataSchema.validate(pq.read_table(path))


def test_only_the_links_known_to_be_open_are_open(demo):
    data, _ = demo
    start = time.monotonic()
    results = check_tables(data)
    elapsed_s = time.monotonic() - start
    assert not [name for name, of_table in results.items() if any(result.blocks for result in of_table)]
    details = {name: result.details for name, of_table in results.items() for result in of_table if not result.passed}
    assert details == {
        "mimiciv_hosp.prescriptions": ("poe_id is not in mimiciv_hosp.poe: 19 of 17,969",),
        "mimiciv_hosp.pharmacy": ("poe_id is not in mimiciv_hosp.poe: 19 of 15,220",),
        "mimiciv_hosp.emar": (
            "poe_id is not in mimiciv_hosp.poe: 1,063 of 35,835",
            "pharmacy_id is not in mimiciv_hosp.pharmacy: 559 of 29,372",
        ),
    }
    assert elapsed_s < 60  # some 3 s on a free core, after Great Expectations has been imported


def test_its_tables_come_back_from_its_events(demo):
    data, _ = demo
    with connect(data) as con:
        # one row of emergency vital signs has a time and nothing else
        assert_identity(con, f"read_parquet('{data.events}/*.parquet')", {"mimiciv_ed.vitalsign": 1})


def test_events_that_stand_twice_are_rows_that_stand_twice_or_differ_in_what_is_not_mapped(demo):
    data, _ = demo
    with connect(data) as con:
        events = f"read_parquet('{data.events}/*.parquet')"
        ((n_events, n_double_events),) = con.execute(
            f"SELECT count(*), count(*) - (SELECT count(*) FROM (SELECT DISTINCT * FROM {events})) FROM {events}"
        ).fetchall()
        double_rows = {}
        for name in mappings():
            ((n_rows,),) = con.execute(
                f"SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT * FROM {name})) FROM {name}"
            ).fetchall()
            double_rows |= {name: n_rows} if n_rows else {}
    assert (n_events, n_double_events) == (991_463, 97_390)
    # The demo's chartevents lost their texts before they came here, and with them what told rows apart. All other
    # doubles differ in identifiers of orders, store and stop times or package codes (test_mapping lists the columns).
    assert double_rows == {"mimiciv_icu.chartevents": 79_803}
    assert n_double_events - 79_803 < 0.02 * n_events


def test_it_comes_back_by_way_of_meds(demo, tmp_path):
    data, _ = demo
    (tmp_path / "meds").mkdir()
    export_meds(sorted(data.events.iterdir()), data.warehouse, tmp_path / "meds", name="the demo's own events")
    again = DataFolder(tmp_path / "again")
    ingest([tmp_path / "meds"], again)
    with duckdb.connect() as con:
        for one, other in ((data, again), (again, data)):
            lost = f"FROM '{one.events}/*.parquet' EXCEPT ALL FROM '{other.events}/*.parquet'"
            assert con.execute(f"SELECT count(*) FROM ({lost})").fetchall() == [(0,)]


def test_it_is_not_read_twice(demo):
    data, summary = demo
    again = ingest([SHARED / "mimic-iv-demo", SHARED / "mimic-iv-ed-demo"], data)
    assert again == summary.model_copy(update={"unchanged": True})
