"""The event stream: valid MEDS, sorted, each patient in one file, the same bytes each time."""

import itertools

import duckdb
import meds
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.ingest import ingest
from ehr_pipeline.ingest.stream import write_stream
from ehr_pipeline.progress import silent
from ehr_pipeline.record import EVENT_SCHEMA
from ehr_pipeline_tests.ingest.hospital import HOSPITAL, write_hospital


@pytest.fixture(scope="module")
def many_files(ingested, tmp_path_factory):
    """The stream of the hospital and its summary, with files as small as they can be."""
    folder = tmp_path_factory.mktemp("many")
    with duckdb.connect(ingested.warehouse, read_only=True) as con:
        return folder, write_stream(con, folder, silent, rows_per_file=1)


def test_every_file_is_valid_meds_in_the_records_schema(ingested):
    for path in ingested.events.iterdir():
        table = pq.read_table(path)
        meds.DataSchema.validate(table)
        assert table.schema.equals(EVENT_SCHEMA)


def test_a_patient_is_in_one_file_and_events_are_in_order(many_files):
    folder, summary = many_files
    tables = [pq.read_table(path).to_pylist() for path in sorted(folder.iterdir())]
    subjects = [{event["subject_id"] for event in events} for events in tables]
    assert sum(map(len, subjects)) == len(set().union(*subjects)) == summary.n_subjects == 3
    for events in tables:
        keys = [(event["subject_id"], event["time"] is not None, event["time"]) for event in events]
        assert all(one[:2] <= other[:2] for one, other in itertools.pairwise(keys))  # static first
        dated = [(subject, time) for subject, is_dated, time in keys if is_dated]
        assert dated == sorted(dated)


def test_many_files_hold_what_one_holds(many_files, ingested):
    folder, summary = many_files
    # with a patient to a file, three patients make three files with events, the other ranges are empty
    assert summary.n_files == len(list(folder.iterdir())) >= 3
    one, many = (f"read_parquet('{place}/*.parquet')" for place in (ingested.events, folder))
    for a, b in ((one, many), (many, one)):
        assert duckdb.sql(f"SELECT count(*) FROM (FROM {a} EXCEPT ALL FROM {b})").fetchall() == [(0,)]


def test_patients_that_are_in_no_range_do_not_exist(tmp_path, data):
    # emergency visits may name patients that the hospital's table lacks: they are in the stream all the same
    visits = [HOSPITAL["edstays"][0] | {"subject_id": subject, "stay_id": subject} for subject in (-5, 900)]
    unknown = write_hospital(
        tmp_path / "source", edstays=visits, triage=None, vitalsign=None, medrecon=None, pyxis=None, diagnosis=None
    )
    assert ingest([unknown], data).events.n_subjects == 5


def test_static_facts_come_first_and_without_time(ingested):
    (path,) = ingested.events.iterdir()
    codes = [event["code"] for event in pq.read_table(path).to_pylist() if event["time"] is None]
    assert {code.split("//")[0] for code in codes} == {"GENDER", "ANCHOR_YEAR", "ANCHOR_YEAR_GROUP", "SITE"}
