"""MEDS events as a source: taken over as they are, and what cannot be is told with its count."""

import datetime

import duckdb
import meds
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.cohort import build_cohort, load_definitions
from ehr_pipeline.errors import EhrPipelineError, SourceError
from ehr_pipeline.export.meds_folder import export_meds
from ehr_pipeline.ingest import ingest
from ehr_pipeline.record import EVENT_SCHEMA
from ehr_pipeline.simulate import simulate_hospital
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.ingest.foreign import read

UGLY = [
    (2, "2000-01-02", "A//b//c,d", 1.5, None),
    (1, "2000-01-03", 'quote " and\nnewline', None, "x"),
    (1, "2000-01-01", "A", np.inf, None),
    (1, None, "GENDER//F", None, None),
    (1, "2000-01-01", "A", 2.0, None),
    (1, "2000-01-01", "A", 2.0, None),
]


def frame(rows=UGLY) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=["subject_id", "time", "code", "numeric_value", "text_value"])
    return made.astype({"time": "datetime64[us]", "numeric_value": "float32"})


def write(path, table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)


@pytest.mark.parametrize("place", ["data/0.parquet", "data/train/0.parquet", "0.parquet"])
def test_events_are_taken_over_as_they_are_sorted_and_told(place, tmp_path, data):
    folder = tmp_path / "source"
    write(folder / place, frame().assign(hadm_id=[7.0, np.nan, 8.0, np.nan, 8.0, 8.0], site="x"))
    if "data" in place:
        write(folder / "metadata" / "codes.parquet", pd.DataFrame({"code": ["A"]}))
    summary, events = read(folder, data)
    assert summary.form == "meds"
    assert summary.notes == (
        f"{folder}: 6 rows, 6 events; 1 values that are no finite number, set to missing; columns not read: site",
        "1 events say to the letter what another one says: kept",
    )
    assert events == [
        (1, None, "GENDER//F", None, None, None, None),
        (1, "2000-01-01 00:00:00", "A", None, None, 8, None),
        (1, "2000-01-01 00:00:00", "A", 2.0, None, 8, None),
        (1, "2000-01-01 00:00:00", "A", 2.0, None, 8, None),
        (1, "2000-01-03 00:00:00", 'quote " and\nnewline', None, "x", None, None),
        (2, "2000-01-02 00:00:00", "A//b//c,d", 1.5, None, 7, None),
    ]
    for path in data.events.iterdir():
        table = pq.read_table(path)
        meds.DataSchema.validate(table)
        assert table.schema.equals(EVENT_SCHEMA)
        keys = [(row["subject_id"], row["time"] or datetime.datetime.min) for row in table.to_pylist()]
        assert keys == sorted(keys)


def test_times_with_a_zone_are_told_in_utc_and_whole_floats_are_whole(tmp_path, data):
    table = frame([(1, "2000-01-01 12:00", "A", 1.0, None)]).astype({"subject_id": "float64"})
    table["time"] = table["time"].dt.tz_localize("America/New_York")
    write(tmp_path / "source" / "0.parquet", table.drop(columns="text_value"))
    assert read(tmp_path / "source", data)[1] == [(1, "2000-01-01 17:00:00", "A", 1.0, None, None, None)]


def test_what_names_no_patient_or_code_is_counted(tmp_path, data):
    rows = [*UGLY, (None, "2000-01-01", "A", 1, None), (1, "2000-01-01", None, 1, None), (1, "2000-01-01", "", 1, None)]
    table = pa.Table.from_pandas(frame([*rows, (1, "2000-01-01", "A", 1, None)]).astype({"subject_id": "Int64"}))
    before_christ = -(10**17)  # microseconds since 1970
    times = pa.array([*table["time"].cast(pa.int64()).to_pylist()[:-1], before_christ], pa.int64())
    (tmp_path / "source").mkdir()
    pq.write_table(table.set_column(1, "time", times.cast(pa.timestamp("us"))), tmp_path / "source" / "0.parquet")
    (file,) = ingest([tmp_path / "source"], data).files
    assert (file.n_rows, file.n_events) == (10, 6)
    assert file.aside == {
        "without a subject": 1, "without a code": 2, "with a time outside the years 1 to 9999": 1,
    }  # fmt: skip


def test_admissions_that_cohorts_cannot_find_are_told(tmp_path, data):
    rows = [(1, "2000-01-01", code, None, None) for code in ("ADMISSION//URGENT", "ICU_ADMISSION//MICU", "A")]
    write(tmp_path / "source" / "0.parquet", frame(rows).assign(hadm_id=5))
    assert read(tmp_path / "source", data)[0].notes[-1].startswith("1 admissions and stays have no hadm_id or stay_id")


def test_files_with_and_without_an_optional_column_are_one_source(tmp_path, data):
    write(tmp_path / "source" / "0.parquet", frame(UGLY[:1]).drop(columns=["text_value", "numeric_value"]))
    write(tmp_path / "source" / "1.parquet", frame(UGLY[1:2]))
    assert [event[3:5] for event in read(tmp_path / "source", data)[1]] == [(None, "x"), (None, None)]
    (tmp_path / "source" / "1.parquet").unlink()
    assert read(tmp_path / "source", data)[1] == [(2, "2000-01-02 00:00:00", "A//b//c,d", None, None, None, None)]


FAULTS = {
    "no event": (frame([]), "holds no event"),
    "nobody's events": (frame([(None, "2000-01-01", "A", 1, None)]).astype({"subject_id": "Int64"}), "holds no event"),
    "subjects that are texts": (frame().astype({"subject_id": str}), "column subject_id"),
    "subjects that are not whole": (frame().assign(subject_id=1.5), "6 numbers that are not whole"),
    "times that are texts": (frame().astype({"time": str}), "column time"),
    "values that are texts": (frame().astype({"numeric_value": str}), "column numeric_value"),
    "codes that are numbers": (frame().assign(code=1), "column code"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_loses_nothing(fault, tmp_path, data):
    table, words = FAULTS[fault]
    write(tmp_path / "source" / "data" / "0.parquet", table)
    with pytest.raises(SourceError) as caught:
        ingest([tmp_path / "source"], data)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not data.ingest_manifest.exists()


def test_a_file_that_is_no_events_among_events_is_refused(tmp_path, data):
    write(tmp_path / "source" / "data" / "0.parquet", frame())
    write(tmp_path / "source" / "data" / "1.parquet", frame().drop(columns="code"))
    with pytest.raises(SourceError, match=r"1.parquet lacks the column code"):
        ingest([tmp_path / "source"], data)


def test_a_truncated_file_is_refused(tmp_path, data):
    path = tmp_path / "source" / "data" / "0.parquet"
    write(path, frame())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(EhrPipelineError, match="truncated"):
        ingest([tmp_path / "source"], data)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> tuple[DataFolder, DataFolder]:
    """A simulated hospital, and the same by way of MEDS: events -> `export_meds` -> ingest."""
    root = tmp_path_factory.mktemp("by_way_of_meds")
    simulate_hospital(60, root / "hospital", seed=7)
    data, again = DataFolder(root / "data"), DataFolder(root / "again")
    ingest([root / "hospital"], data)
    (root / "meds").mkdir()
    export_meds(sorted(data.events.iterdir()), data.warehouse, root / "meds", name="the hospital's own events")
    assert ingest([root / "meds"], again).form == "meds"
    return data, again


def test_our_own_export_comes_back_as_the_same_events(hospital):
    data, again = hospital
    for one, other in ((data, again), (again, data)):
        lost = f"FROM '{one.events}/*.parquet' EXCEPT ALL FROM '{other.events}/*.parquet'"
        assert duckdb.connect().execute(f"SELECT count(*) FROM ({lost})").fetchone() == (0,)


@pytest.mark.parametrize("cohort", ["icu_48h", "emergency", "heart_failure"])
def test_the_shipped_cohorts_find_in_it_what_they_find_in_the_tables(cohort, hospital):
    definition = load_definitions()[cohort]
    data, again = hospital
    assert build_cohort(definition, data) == build_cohort(definition, again)
    for name in ("members", "table", "split"):
        one, other = (pd.read_parquet(getattr(folder.cohort(cohort), name)) for folder in hospital)
        pd.testing.assert_frame_equal(one, other)
