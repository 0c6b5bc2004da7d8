"""Every bad input gets one clear line without a value in it, and what was there before stands."""

import gzip
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from ehr_pipeline.errors import SourceError
from ehr_pipeline.ingest import ingest
from ehr_pipeline.storage import sha256
from ehr_pipeline_tests.ingest.hospital import HOSPITAL, path_of, rewrite, write_table

MARKER = "ZQXMARKER"


def spoil_cell(name: str, old: str, new: str = MARKER) -> Callable[[Path], None]:
    def spoil(source: Path) -> None:
        path = path_of(source, name)
        assert old in path.read_text()
        rewrite(path, lambda text: text.replace(old, new, 1))

    return spoil


def overwrite(name: str, content: bytes, suffix: str = ".csv") -> Callable[[Path], None]:
    def spoil(source: Path) -> None:
        path_of(source, name).unlink()
        path_of(source, name, suffix).write_bytes(content)

    return spoil


def with_row(name: str, row: dict) -> Callable[[Path], None]:
    return lambda source: write_table(source, name, [*HOSPITAL[name], row]) and None


def truncate(suffix: str) -> Callable[[Path], None]:
    def spoil(source: Path) -> None:
        path = path_of(source, "labevents")
        rows = [HOSPITAL["labevents"][0] | {"labevent_id": number, "specimen_id": number} for number in range(200_000)]
        whole = write_table(source, "labevents", rows, ".csv.gz") if suffix == ".csv.gz" else path.with_suffix(suffix)
        if suffix == ".parquet":
            duckdb.execute(f"COPY (FROM read_csv('{path}')) TO '{whole}'")
        path.unlink()
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])

    return spoil


def as_parquet(name: str, column: str) -> Callable[[Path], None]:
    def spoil(source: Path) -> None:
        path = path_of(source, name)
        spoilt = f"SELECT * REPLACE ('{MARKER}' AS {column}) FROM read_csv('{path}')"
        duckdb.execute(f"COPY ({spoilt}) TO '{path.with_suffix('.parquet')}'")
        path.unlink()

    return spoil


LAB = HOSPITAL["labevents"][0] | {"labevent_id": 9}
ZIP = b"PK\x03\x04" + MARKER.encode()

# What is wrong -> how to make it, and words that the message must have.
FAULTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a word for a number": (spoil_cell("labevents", ",50912,", f",{MARKER},"), ["row 2", "no whole number", "itemid"]),
    "a required table is missing": (lambda source: path_of(source, "admissions").unlink(), ["admissions", "required"]),
    "a required table under another suffix": (
        lambda source: path_of(source, "patients").rename(path_of(source, "patients", ".xlsx")),
        ["patients is missing", "patients.xlsx is not read"],
    ),
    "a column is misspelt": (
        spoil_cell("patients", "anchor_age", "anchr_age"),
        ["patients.csv", "anchor_age", "anchr_age"],
    ),
    "columns are missing": (spoil_cell("poe", ",order_subtype,transaction_type", ",a,b"), ["order_subtype and 1 more"]),
    "a column is there twice": (spoil_cell("omr", "seq_num", "chartdate"), ["omr.csv", "chartdate twice"]),
    "there is no header": (
        lambda source: rewrite(path_of(source, "services"), lambda text: f"1,{MARKER},2150-01-01,,\n"),
        ["services.csv has no header"],
    ),
    "semicolons for commas": (
        lambda source: rewrite(path_of(source, "patients"), lambda text: text.replace(",", ";")),
        ["patients.csv is not separated by commas"],
    ),
    "a time is unreadable": (
        spoil_cell("transfers", "2150-03-05 12:00:00"),
        ["transfers.csv", "row 3", "no readable time", "intime"],
    ),
    "a date is unreadable": (spoil_cell("patients", "2160-05-03"), ["row 3", "no readable date", "dod"]),
    "a number has a comma": (spoil_cell("labevents", "1.1,1.1", '1.1,"1,100"'), ["row 2", "no number", "valuenum"]),
    "a number is NaN": (spoil_cell("labevents", "1.1,1.1", "1.1,nan"), ["valuenum is not finite: 1 of 5"]),
    "a number is too large": (spoil_cell("diagnoses_icd", ",10\n", ",99999\n"), ["row 3", "icd_version"]),
    "a row is too short": (
        lambda source: rewrite(path_of(source, "services"), lambda text: f"{text}1,{MARKER}\n"),
        ["services.csv", "row 3 has fewer cells"],
    ),
    "a row is too long": (
        lambda source: rewrite(path_of(source, "services"), lambda text: f"{text}1,11,2150-01-01,,CMED,{MARKER}\n"),
        ["services.csv", "row 3 has more cells"],
    ),
    "a quote is not closed": (
        lambda source: rewrite(path_of(source, "services"), lambda text: f'{text}1,11,2150-01-01,,"{MARKER}\n'),
        ["services.csv", "row 3", "quote"],
    ),
    "encodings are mixed": (
        lambda source: path_of(source, "omr").write_bytes(
            path_of(source, "omr").read_bytes() + f"1,2150-03-01,1,Größe {MARKER},180\n".encode("latin-1")
        ),
        ["omr.csv", "row 4", "UTF-8"],
    ),
    "a truncated gzip": (truncate(".csv.gz"), ["labevents.csv.gz", "truncated"]),
    "a gzip cut in its first bytes": (
        overwrite("omr", gzip.compress(b"subject_id,chartdate\n" * 20)[:30], ".csv.gz"),
        ["omr.csv.gz", "truncated gzip"],
    ),
    "a damaged gzip": (overwrite("omr", b"\x1f\x8b" + ZIP * 9, ".csv.gz"), ["omr.csv.gz", "damaged gzip"]),
    "a truncated Parquet": (truncate(".parquet"), ["labevents.parquet", "truncated Parquet"]),
    "a word for a number in Parquet": (as_parquet("services", "hadm_id"), ["services.parquet", "record 1", "hadm_id"]),
    "an empty cell where none may be": (with_row("labevents", LAB | {"itemid": None}), ["itemid is empty: 1 of 6"]),
    "a key is there twice": (
        with_row("patients", HOSPITAL["patients"][1]),
        ["patients.csv", "subject_id (the primary key) is there more than once: 1 of 3"],
    ),
    "a composite key is there twice": (
        with_row("diagnoses_icd", HOSPITAL["diagnoses_icd"][0]),
        ["diagnoses_icd.csv", "hadm_id, seq_num, icd_code, icd_version", "1 of 2"],
    ),
    "an orphan": (
        with_row("labevents", LAB | {"subject_id": 77}),
        ["mimiciv_hosp.labevents", "subject_id is not in mimiciv_hosp.patients: 1 of 6 rows"],
    ),
    "a required table without rows": (
        lambda source: write_table(source, "admissions", []),
        ["admissions.csv has a header but no rows"],
    ),
    "an empty file": (overwrite("patients", b""), ["patients.csv is empty"]),
    "a zip named gzip": (overwrite("labevents", ZIP, ".csv.gz"), ["labevents.csv.gz is a zip archive", "not a gzip"]),
    "a workbook named CSV": (overwrite("labevents", ZIP), ["labevents.csv is a zip archive or Excel workbook"]),
    "a gzip named CSV": (overwrite("labevents", gzip.compress(ZIP)), ["labevents.csv is a gzip file"]),
    "a zip in a gzip": (overwrite("labevents", gzip.compress(ZIP), ".csv.gz"), ["holds, unzipped, a zip archive"]),
    "a text named Parquet": (overwrite("labevents", b"a,b\n", ".parquet"), ["plain text, not a Parquet file"]),
    "a web page": (overwrite("labevents", b"\n<!DOCTYPE html><p>" + ZIP), ["labevents.csv is a web page"]),
    "UTF-16": (overwrite("omr", f"subject_id,{MARKER}".encode("utf-16")), ["omr.csv is UTF-16 text"]),
    "binary data": (overwrite("omr", b"subject_id\x00\x01" + ZIP), ["omr.csv is binary data"]),
    "a table twice": (
        lambda source: write_table(source, "omr", HOSPITAL["omr"], ".csv.gz"),
        ["omr is there twice", "omr.csv.gz"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_line_without_a_value_and_loses_nothing(fault, source, data, ingested):
    shutil.copytree(ingested.root, data.root)
    before = {path: sha256(path) for path in data.root.rglob("*") if path.is_file()}
    spoil, words = FAULTS[fault]
    spoil(source)
    with pytest.raises(SourceError) as caught:
        ingest([source], data)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []
    assert MARKER not in "".join(traceback.format_exception(caught.value))
    assert caught.value.exit_code == 2
    assert {path: sha256(path) for path in data.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("folder", "words"),
    [("nowhere", "does not exist"), ("empty", "holds no MIMIC-IV table"), ("file", "is a file, not a folder")],
)
def test_a_folder_that_is_none_is_refused(folder, words, tmp_path, data):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("subject_id\n")
    with pytest.raises(SourceError, match=words):
        ingest([tmp_path / folder], data)
    assert not data.warehouse.exists()


def test_the_second_of_two_folders_must_hold_something_too(source, data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty holds no MIMIC-IV table"):
        ingest([source, tmp_path / "empty"], data)


def test_many_bad_rows_are_counted(source, data):
    rows = [HOSPITAL["labevents"][0] | {"labevent_id": number, "itemid": "none"} for number in range(12)]
    write_table(source, "labevents", rows)
    with pytest.raises(SourceError, match=r"row 2 .* \(12 rows have faults\)"):
        ingest([source], data)


def test_a_row_is_counted_as_the_reader_counts_it_after_a_cell_of_two_lines(source, data):
    # rows 2 to 6 are good, the comment of row 3 has a line break in it
    write_table(source, "labevents", [*HOSPITAL["labevents"], LAB | {"itemid": MARKER}])
    with pytest.raises(SourceError, match="row 7 "):
        ingest([source], data)
