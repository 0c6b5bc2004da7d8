"""A source that a mapping describes: its rows become the events that it says, and every row is accounted for."""

import gzip
import json

import duckdb
import meds
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.errors import EhrPipelineError, OptionError, SourceError
from ehr_pipeline.ingest import check_tables, connect, ingest, known_mapping, mapped
from ehr_pipeline.ingest.checks import count_rows
from ehr_pipeline.ingest.mapping_sql import text_id_sql
from ehr_pipeline.mimic import tables
from ehr_pipeline.record import EVENT_SCHEMA
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.ingest.foreign import MAPPING, VALUES, mapping, read, write_source

MARKER = "ZQXMARKER"


def test_rows_become_the_events_that_the_mapping_says(tmp_path, data):
    summary, events = read(write_source(tmp_path / "source"), data)
    assert events == [
        (1, "2000-01-01 00:00:00", "OWN//HR//bpm", 80.0, None, None, None),
        (1, "2000-01-01 01:30:00", "OWN//HR//bpm", 81.5, None, None, None),
        (2, "2000-01-01 00:30:00", "OWN//rhythm//UNK", None, "sinus", None, None),
    ]
    assert (summary.form, summary.mapping, summary.events.n_events) == ("mapping", "A hospital", 3)
    assert str(summary.files[0]) == "values.csv: 3 rows, 3 events"
    for path in data.events.iterdir():
        table = pq.read_table(path)
        meds.DataSchema.validate(table)
        assert table.schema.equals(EVENT_SCHEMA)


def test_every_form_of_a_file_gives_the_same_events(tmp_path, data):
    folder = write_source(tmp_path / "source")
    _, expected = read(folder, data)
    (folder / "values.csv").unlink()
    (folder / "values.csv.gz").write_bytes(gzip.compress(VALUES.encode()))
    assert read(folder, data)[1] == expected
    duckdb.connect().execute(f"COPY (FROM read_csv('{folder}/values.csv.gz')) TO '{folder}/values.parquet'")
    with pytest.raises(SourceError, match="two formats"):
        read(folder, data)
    (folder / "values.csv.gz").unlink()
    assert read(folder, data)[1] == expected
    (folder / "values.parquet").unlink()
    (folder / "values.csv").write_text(VALUES.replace(",", ";"))
    (folder / "mapping.yaml").write_text(json.dumps(mapping(delimiter=";")))
    assert read(folder, data)[1] == expected


def test_wide_rows_static_facts_words_conditions_and_joins(tmp_path, data):
    content = {
        "title": "Wide",
        "subject_ids": "text",
        "visit_ids": "text",
        "files": [
            {
                "file": "people",
                "subject_id": "ID",
                "events": [
                    {"code": "MEDS_BIRTH", "time": {"column": "BORN", "format": "%d/%m/%Y"}},
                    {"code": "MEDS_DEATH", "time": {"column": "DIED", "format": "%d/%m/%Y"}},
                    {"code": "GENDER//{SEX}", "time": "static", "words": {"SEX": {1: "M", 2: "F", 9: None}}},
                    {"code": "HEIGHT", "unit": "cm", "time": "static", "numeric_value": "CM", "missing": {"CM": [-1]}},
                ],
            },
            {
                "file": "labs/*",
                "subject_id": "person",
                "hadm_id": "visit",
                "joins": [{"file": "visits", "by": {"visit": "VISIT"}, "columns": ["person", "begin"]}],
                "time": {"column": "hours", "unit": "hours", "since": "begin"},
                "codes": {"LAB//na//mmol/L": "LAB//50983//mEq/L"},
                "where": {"status": {"except": ["cancelled"]}},
                "events": [{"code": "LAB//{test}//{unit}", "value": "result", "where": {"test": ["na", "k"]}}],
            },
        ],
    }
    folder = write_source(
        tmp_path / "source",
        content,
        people="ID,BORN,DIED,SEX,CM\na-1,31/12/1950,,1,170\nb-2,01/02/1960,03/04/2001,9,-1\n",
        visits="VISIT,person,begin\nv1,a-1,2001-01-01T10:00\nv2,b-2,2001-02-01 00:00:00+02:00\n",
    )
    (folder / "labs").mkdir()
    header = "visit,hours,test,unit,result,status\n"
    (folder / "labs" / "a.csv").write_text(header + "v1,1.5,na,mmol/L,140,final\nv1,2,na,mmol/L,1,cancelled\n")
    (folder / "labs" / "b.csv").write_text(header + 'v2,-1,k,"a//b",<3,\nv2,0,mg,x,1,final\nv9,0,k,x,4,final\n')
    summary, events = read(folder, data)
    number = f"SELECT {text_id_sql('?')}"
    a, b, v1, v2 = (duckdb.connect().execute(number, [text]).fetchone()[0] for text in ("a-1", "b-2", "v1", "v2"))
    assert sorted(events, key=str) == sorted(
        [
            (a, "1950-12-31 00:00:00", "MEDS_BIRTH", None, None, None, None),
            (a, None, "GENDER//M", None, None, None, None),
            (a, None, "HEIGHT//cm", 170.0, None, None, None),
            (b, "1960-02-01 00:00:00", "MEDS_BIRTH", None, None, None, None),
            (b, "2001-04-03 00:00:00", "MEDS_DEATH", None, None, None, None),
            (a, "2001-01-01 11:30:00", "LAB//50983//mEq/L", 140.0, None, v1, None),
            (b, "2001-01-31 21:00:00", "LAB//k//a\\s\\sb", None, "<3", v2, None),
        ],
        key=str,
    )
    people, labs = summary.files
    assert people.aside == {"without a value": 2, "without a time": 1}
    assert (labs.n_rows, labs.n_events, labs.untaken, labs.aside) == (5, 2, 2, {"without a subject": 1})


def test_every_row_is_told_of(tmp_path, data):
    rows = [
        "1,0,A,,1",  # an event
        "1,0,A,,1",  # the same again: kept
        ",0,A,,1",  # nobody's
        "1,,A,,1",  # at no time
        "1,soon,A,,1",
        "1,4.5e9,A,,1",  # in the year 10,556
        "1,1,A,,",  # says nothing
        "1,1,,,1",  # of no kind: UNK
        "1,1,A,,NaN",  # no number: missing
        "1,2,A,,-inf",
        "1,1,A,,1e300",  # more than float32 holds: a text
        '1,1,A,,"x,""y""\n// z"',
    ]
    folder = write_source(tmp_path / "source", values="id,minute,name,unit,value\n" + "\n".join(rows) + "\n")
    summary, events = read(folder, data)
    (file,) = summary.files
    assert (file.n_rows, file.n_events, file.odd, file.untaken) == (12, 7, 2, 0)
    assert file.aside == {
        "without a subject": 1,
        "without a value": 1,
        "without a time": 1,
        "with a time that cannot be read": 1,
        "with a time outside the years 1 to 9999": 1,
    }
    assert file.n_rows == file.n_events + sum(file.aside.values())
    assert [event[2:5] for event in events if event[4]] == [
        ("OWN//A//UNK", None, "1e300"),
        ("OWN//A//UNK", None, 'x,"y"\n// z'),
    ]
    assert any("1 events say to the letter what another one says: kept" in note for note in summary.notes)
    assert any(event[2] == "OWN//UNK//UNK" for event in events)


def test_events_before_birth_and_second_births_are_kept_and_told(tmp_path, data):
    content = mapping(time="when", events=[{"code": "{name}"}])
    rows = "id,when,name\n1,2000-01-02,MEDS_BIRTH\n1,2000-01-03,MEDS_BIRTH\n1,2000-01-01,A\n1,2000-01-04,A\n"
    summary, events = read(write_source(tmp_path / "source", content, values=rows), data)
    assert len(events) == 4
    assert [event[1][:10] for event in events] == ["2000-01-01", "2000-01-02", "2000-01-03", "2000-01-04"]
    assert "1 events lie before their patient's birth" in summary.notes[-2]
    assert "1 patients have more than one MEDS_BIRTH" in summary.notes[-1]


def test_one_patient_with_half_a_million_events(tmp_path, data, monkeypatch):
    monkeypatch.setattr("ehr_pipeline.ingest.stream.write_events.__defaults__", (100_000,))
    rows = "\n".join(f"1,{minute},A,,{minute % 97}" for minute in range(500_000, 0, -1))
    folder = write_source(tmp_path / "source", values=f"id,minute,name,unit,value\n2,0,A,,1\n{rows}\n3,0,A,,1\n")
    summary = ingest([folder], data)
    assert summary.events.n_events == 500_002
    assert summary.events.n_files == 2  # a patient lies in one file, however long
    times = pq.read_table(sorted(data.events.iterdir())[0], columns=["time"])["time"].to_numpy()
    assert (times[1:] >= times[:-1]).all()


def test_the_warehouse_has_the_tables_of_mimic_without_rows(tmp_path, data):
    ingest([write_source(tmp_path / "source")], data)
    with connect(data) as con:
        assert con.execute("SELECT count(*) FROM mimiciv_hosp.patients").fetchone() == (0,)
        patients = tables()["mimiciv_hosp.patients"]
        assert [one.n_failed for one in count_rows(con, patients, 0, is_mimic=False)] == [0]
        assert [one.n_failed for one in count_rows(con, patients, 0)] == [0, 1]  # of MIMIC-IV they are required


@pytest.mark.slow
def test_no_check_of_tables_stops_a_source_that_has_none(good):
    results = check_tables(good)
    assert results and not any(one.blocks for of_table in results.values() for one in of_table)


def test_a_mapping_is_remembered_and_its_change_is_read(tmp_path, data):
    folder = write_source(tmp_path / "source")
    other = tmp_path / "other.yaml"
    (folder / "mapping.yaml").rename(other)
    assert not ingest([folder], data, mapping=str(other)).unchanged
    assert known_mapping(data) == str(other)
    assert ingest([folder], data, mapping=str(other)).unchanged
    other.write_text(json.dumps(mapping(codes={"OWN//HR//bpm": "VITAL//220045//bpm"})))
    assert not ingest([folder], data, mapping=str(other)).unchanged


def rows(*lines: str) -> str:
    return "\n".join(["id,minute,name,unit,value", *lines, ""])


FAULTS = {
    "a mapping that matches no file": (mapping(file="labs*"), {}, ["holds no file 'labs*'"]),
    "a path out of the folder": (mapping(file="../values"), {}, ["inside the source's folder"]),
    "a column that is not there": (
        mapping(subject_id="ident"),
        {"values": VALUES.replace("id,", "idents,", 1)},
        ["lacks the column ident", "is it idents?"],
    ),
    "a column twice": (None, {"values": VALUES.replace("value", "value,unit", 1)}, ["values.csv", "unit twice"]),
    "text for whole numbers": (
        None,
        {"values": rows(f"{MARKER},0,A,,1", "1,0,A,,1")},
        ["1 rows have no whole number in column id", "subject_ids: text"],
    ),
    "fractions for whole numbers": (None, {"values": rows("1.5,0,A,,1")}, ["no whole number in column id"]),
    "a number that no integer holds": (None, {"values": rows(f"{2**63},0,A,,1")}, ["no whole number in column id"]),
    "no time in any row": (
        None,
        {"values": rows(f"1,{MARKER},A,,1", f"1,{MARKER},B,,2")},
        ["no column minute can be read as a time (minutes)"],
    ),
    "a header and no rows": (None, {"values": rows()}, ["holds no event", "0 rows"]),
    "an empty file": (None, {"values": ""}, ["empty"]),
    "rows too short": (None, {"values": rows("1,0,A,,1", "1,0,A")}, ["row 3", "fewer cells"]),
    "rows too short in a column that is not read": (
        mapping(events=[{"code": "OWN//{name}"}]),
        {"values": rows("1,0,A,,1", "1,0,A")},
        ["row 3", "fewer cells"],
    ),
    "rows too long": (None, {"values": rows("1,0,A,,1,5,6")}, ["row 2", "more cells"]),
    "an open quote": (None, {"values": rows('1,0,"A,,1', "1,0,A,,1")}, ["quote"]),
    "no UTF-8": (None, {"values": rows("1,0,Ä,,1").encode("latin-1")}, ["UTF-8"]),
    "a truncated gzip": (None, {"values": b"cut"}, ["gzip"]),
    "a key that lends two rows": (
        mapping(joins=[{"file": "more", "by": "id", "columns": ["sex"]}]),
        {"values": VALUES, "more": "id,sex\n1,F\n1,M\n2,F\n"},
        ["more.csv", "column id", "1 of 2 values"],
    ),
    "a lender that is not there": (
        mapping(joins=[{"file": "more", "by": "id", "columns": ["sex"]}]),
        {"values": VALUES},
        ["'more'", "lends"],
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A data folder with a good source in it, which no bad one may change."""
    root = tmp_path_factory.mktemp("good")
    folder = DataFolder(root / "data")
    ingest([write_source(root / "source")], folder)
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_line_without_a_value_and_loses_nothing(fault, tmp_path, good):
    data = good
    before = {path: path.stat().st_mtime_ns for path in (data.warehouse, data.ingest_manifest, *data.events.iterdir())}
    content, files, words = FAULTS[fault]
    folder = write_source(tmp_path / "bad", content, **(files or {"values": VALUES}))
    if fault == "a truncated gzip":
        whole = gzip.compress(rows(*(f"{n},{n * 7919 % 1440},A,,{n % 89}" for n in range(200_000))).encode())
        (folder / "values.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EhrPipelineError) as caught:
        ingest([folder], data)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and MARKER not in message
    assert caught.value.exit_code == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_text_ids_that_share_a_number_are_refused(tmp_path, data, monkeypatch):
    monkeypatch.setattr(mapped, "id_sql", lambda text, kind: f"CASE WHEN {text} IS NOT NULL THEN 7 END")
    folder = write_source(tmp_path / "source", MAPPING | {"subject_ids": "text"})
    with pytest.raises(SourceError, match="1 text ids share a number"):
        ingest([folder], data)


def test_a_mapping_that_is_not_there_is_refused_with_those_that_are(tmp_path, data):
    with pytest.raises(OptionError, match="physionet-2012, synthea"):
        ingest([write_source(tmp_path / "source")], data, mapping="physionet")
    with pytest.raises(OptionError, match="one folder"):
        ingest([tmp_path, tmp_path], data, mapping="physionet-2012")
    with pytest.raises(SourceError, match="holds no file 'set_"):
        ingest([write_source(tmp_path / "source")], data, mapping="physionet-2012")
