"""Ingest of good sources: what is read, in which layouts, and when it is read again."""

import gzip
import json
import os
from pathlib import Path

import duckdb
import pytest

from ehr_pipeline.errors import NotReady, OptionError
from ehr_pipeline.ingest import connect, ingest
from ehr_pipeline.mimic import tables
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.ingest.hospital import HOSPITAL, path_of, rewrite, write_hospital, write_table


def n_rows(data: DataFolder, table: str) -> int:
    with connect(data) as con:
        return con.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_every_table_is_there_with_its_declared_columns_also_the_absent_ones(ingested):
    with connect(ingested) as con:
        found = con.execute(
            "SELECT schema_name || '.' || table_name, list((column_name, data_type) ORDER BY column_index) "
            "FROM duckdb_columns() WHERE database_name = 'warehouse' GROUP BY ALL"
        ).fetchall()
    declared = {name: [(column.name, column.type) for column in table.columns] for name, table in tables().items()}
    assert dict(found) == declared


def test_values_arrive_as_they_stand(ingested):
    with connect(ingested) as con:
        codes = con.execute("SELECT icd_code FROM mimiciv_hosp.diagnoses_icd ORDER BY seq_num").fetchall()
        (comment,) = con.execute("SELECT comments FROM mimiciv_hosp.labevents WHERE labevent_id = 2").fetchone()
        (missing,) = con.execute("SELECT hadm_id FROM mimiciv_hosp.labevents WHERE labevent_id = 4").fetchone()
    assert codes == [("0389",), ("E119",)]  # the zero in front is part of the code
    assert comment == 'HEMOLYZED, "twice"\nsecond line'
    assert missing is None


def test_the_summary_counts_rows_and_names_what_is_absent_in_one_line(tmp_path, data):
    summary = ingest([write_hospital(tmp_path / "source")], data)
    assert {name.split(".")[1]: table.n_rows for name, table in summary.tables.items() if table.n_rows} == {
        name: len(rows) for name, rows in HOSPITAL.items()
    }
    absent = [note for note in summary.notes if note.startswith("tables not in the source")]
    assert len(absent) == 1
    assert all(name in absent[0] for name in ("d_items", "emar_detail", "provider"))
    assert summary.events.n_subjects == 3
    assert str(summary).startswith("source read: 30 tables")


def to_gzip(path: Path) -> None:
    Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def to_parquet(path: Path) -> None:
    # as text, for a guess of types would lose the zeros in front of codes
    target = path.with_suffix(".parquet")
    duckdb.execute(f"COPY (FROM read_csv('{path}', all_varchar = true)) TO '{target}'")
    path.unlink()


def to_capitals(path: Path) -> None:
    header, _, rows = path.read_text().partition("\n")
    path.unlink()
    path.with_name(f"{path.stem.upper()}.CSV").write_text(f"{header.upper()}\n{rows}")


def to_windows(path: Path) -> None:
    if path.stem != "labevents":  # which has a line break inside a cell
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))


@pytest.mark.parametrize(
    "change", [to_gzip, to_parquet, to_capitals, to_windows, lambda path: path.rename(path.parents[1] / path.name)]
)
def test_every_form_and_layout_gives_the_same_tables_and_events(change, source, data, ingested):
    for path in sorted(source.glob("*/*.csv")):
        change(path)
    ingest([source], data)
    assert events_of(data) == events_of(ingested)
    with connect(data) as con:
        con.execute(f"ATTACH '{ingested.warehouse}' AS other (READ_ONLY)")
        for name in tables():
            missing = f"SELECT count(*) FROM (FROM other.{name} EXCEPT ALL FROM warehouse.{name})"
            assert con.execute(missing).fetchone() == (0,), name


def test_two_downloads_are_read_together(source, data, ingested, tmp_path):
    (source / "ed").rename(tmp_path / "ed")
    ingest([source, tmp_path / "ed"], data)
    assert events_of(data) == events_of(ingested)


def events_of(data: DataFolder) -> list[bytes]:
    return [path.read_bytes() for path in sorted(data.events.iterdir())]


def test_columns_in_another_order_and_columns_of_their_own_are_fine(source, data):
    path = path_of(source, "services")
    path.write_text("curr_service,ward,hadm_id,transfertime,prev_service,subject_id\nCMED,W1,11,2150-03-01,,1\n")
    summary = ingest([source], data)
    assert "columns that MIMIC-IV doesn't have, left out: services.ward" in summary.notes
    with connect(data) as con:
        assert con.execute("SELECT subject_id, hadm_id, curr_service FROM mimiciv_hosp.services").fetchall() == [
            (1, 11, "CMED")
        ]


def test_a_table_without_rows_is_noted(tmp_path, data):
    summary = ingest([write_hospital(tmp_path / "source", pharmacy=[])], data)
    assert "tables with a header and no rows: pharmacy" in summary.notes


def test_rows_without_a_time_are_counted(tmp_path, data):
    rows = [*HOSPITAL["pharmacy"], {"subject_id": 1, "hadm_id": 11, "pharmacy_id": 6}]
    summary = ingest([write_hospital(tmp_path / "source", pharmacy=rows)], data)
    assert summary.events.undated == {"mimiciv_hosp.pharmacy": 1}
    assert "rows without a time, not in the event stream: pharmacy 1" in summary.notes


def test_references_that_mimic_leaves_open_are_a_warning_with_counts(ingested):
    notes = json.loads(ingested.ingest_manifest.read_text())["summary"]["notes"]
    assert any("mimiciv_hosp.emar: poe_id is not in mimiciv_hosp.poe: 1 of 2 rows" in note for note in notes)


def test_an_unchanged_source_is_not_read_again(source, data, monkeypatch):
    first = ingest([source], data)
    before = {path: path.stat().st_mtime_ns for path in (data.warehouse, *data.events.iterdir())}
    os.utime(path_of(source, "patients"))  # touched, not changed: small files are known by their hash
    second = ingest([source], data)
    assert second.unchanged
    assert not first.unchanged
    assert second == first.model_copy(update={"unchanged": True})
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_every_change_is_read(source, data):
    changes = {
        "a cell": lambda: rewrite(path_of(source, "labevents"), lambda text: text.replace("<0.5", "<0.4")),
        "a table added": lambda: write_table(source, "provider", [{"provider_id": "P1"}]),
        "a table gone": path_of(source, "omr").unlink,
        "the warehouse gone": data.warehouse.unlink,
        "an event file gone": lambda: next(data.events.iterdir()).unlink(),
    }
    ingest([source], data)
    for change, make in changes.items():
        make()
        assert not ingest([source], data).unchanged, change
    assert n_rows(data, "mimiciv_hosp.omr") == 0
    assert n_rows(data, "mimiciv_hosp.provider") == 1
    assert len(list(data.events.iterdir())) == 1


def test_known_truth_follows_its_source(source, data):
    (source / "truth.json").write_text('{"treatment_log_odds": -0.8}')
    ingest([source], data)
    assert json.loads(data.truth.read_text()) == {"treatment_log_odds": -0.8}
    (source / "truth.json").unlink()
    ingest([source], data)
    assert not data.truth.exists()


def test_all_that_is_written_is_the_owners_alone_and_nothing_is_left_over(source, data):
    ingest([source], data)
    assert {path.name for path in data.root.iterdir()} == {"warehouse.duckdb", "events", "ingest.json", ".ingest.lock"}
    for path in data.root.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_the_warehouse_is_read_only(ingested):
    with connect(ingested) as con, pytest.raises(duckdb.Error, match="read-only"):
        con.execute("DELETE FROM mimiciv_hosp.patients")


def test_published_sql_runs(ingested):
    with connect(ingested) as con:  # mimic-code, concepts/demographics/age.sql, less its target table
        ages = con.execute(
            "SELECT ad.hadm_id, pa.anchor_age + EXTRACT(YEAR FROM ad.admittime) - pa.anchor_year AS age "
            "FROM mimiciv_hosp.admissions ad INNER JOIN mimiciv_hosp.patients pa ON ad.subject_id = pa.subject_id "
            "ORDER BY ad.hadm_id"
        ).fetchall()
    assert ages == [(11, 60), (22, 91)]


def test_reading_before_any_ingest_says_what_to_do(data):
    with pytest.raises(NotReady, match="ehr-pipeline ingest"), connect(data):
        pass


def test_folder_names_may_be_hostile(tmp_path):
    source = write_hospital(tmp_path / 'it\'s [a] *weird* "source"; --')
    data = DataFolder(tmp_path / "the 'data' [folder] *")
    ingest([source], data)
    assert n_rows(data, "mimiciv_hosp.patients") == 3
    with pytest.raises(OptionError, match="question mark"):
        ingest([source], DataFolder(tmp_path / "data?"))


def test_progress_tells_tables_and_files(source, data):
    steps = []
    ingest([source], data, steps.append)
    assert [step.done for step in steps if step.task == "read"] == list(range(1, 31))
    assert [(step.done, step.total) for step in steps if step.task == "events"] == [(1, 1)]
