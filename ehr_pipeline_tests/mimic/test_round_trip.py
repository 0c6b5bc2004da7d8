"""Tables -> events -> tables is the identity on mapped columns."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.ingest import connect, ingest
from ehr_pipeline.mimic import events_sql, mappings, tables, tables_sql
from ehr_pipeline.mimic.mapping import Mapping
from ehr_pipeline.mimic.tables import SCHEMAS
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.ingest.hospital import write_hospital


def empty_warehouse() -> duckdb.DuckDBPyConnection:
    """A warehouse in memory without a row."""
    con = duckdb.connect()
    for schema in SCHEMAS.values():
        con.execute(f"CREATE SCHEMA {schema}")
    for table in tables().values():
        con.execute(table.create_sql())
    return con


def comparable(mapping: Mapping, relation: str) -> str:
    """The mapped columns as they are promised to come back: numbers as float32, a written number as the number."""
    written = {kind.written for kind in mapping.kinds}
    columns = []
    for name in mapping.columns:
        if mapping.table[name].type in ("DOUBLE", "FLOAT"):
            columns.append(f"{name}::FLOAT AS {name}")
        elif name in written:
            columns += [f"TRY_CAST({name} AS FLOAT) AS {name}", f"if(TRY_CAST({name} AS FLOAT) IS NULL, {name}, NULL)"]
        else:
            columns.append(name)
    return f"SELECT {', '.join(columns)} FROM {relation}"


def assert_identity(con: duckdb.DuckDBPyConnection, events: str, n_silent: dict[str, int] | None = None) -> None:
    """Each mapped table comes back with all its rows but the `n_silent` that carry nothing."""
    for name, sql in tables_sql(events).items():
        mapping = mappings()[name]
        before, after = comparable(mapping, name), comparable(mapping, f"({sql})")
        (n_lost,) = con.execute(f"SELECT count(*) FROM ({before} EXCEPT ALL {after})").fetchone()
        (n_new,) = con.execute(f"SELECT count(*) FROM ({after} EXCEPT ALL {before})").fetchone()
        assert (n_lost, n_new) == ((n_silent or {}).get(name, 0), 0), name


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    root = tmp_path_factory.mktemp("round_trip")
    data = DataFolder(root / "data")
    ingest([write_hospital(root / "source")], data)
    return data


def test_every_mapped_table_of_a_made_up_hospital_comes_back(hospital):
    with connect(hospital) as con:
        for name in mappings():
            (n_rows,) = con.execute(f"SELECT count(*) FROM {name}").fetchone()
            assert n_rows > 0, f"{name} would prove nothing"
        assert_identity(con, f"read_parquet('{hospital.events}/*.parquet')")


def test_events_say_what_the_contract_says(hospital):
    with connect(hospital) as con:
        events = con.execute(
            f"SELECT subject_id, time::VARCHAR, code, numeric_value, text_value, hadm_id, stay_id "
            f"FROM read_parquet('{hospital.events}/*.parquet')"
        ).fetchall()
    for event in [
        (1, None, "GENDER//F", None, None, None, None),
        (1, None, "ANCHOR_YEAR", 2150.0, None, None, None),
        (1, None, "SITE//001", None, None, None, None),
        (1, "2090-01-01 00:00:00", "MEDS_BIRTH", None, None, None, None),  # 60 years old in 2150
        (2, "2160-05-03 10:00:00", "MEDS_DEATH", None, None, 22, None),  # the hour, not the day
        (3, "2171-01-01 00:00:00", "MEDS_DEATH", None, None, None, None),
        (1, "2150-03-01 08:00:00", "ADMISSION//EW EMER.", None, "EMERGENCY ROOM", 11, None),
        (1, "2150-03-05 12:00:00", "DISCHARGE//HOME", None, None, 11, None),
        (1, "2150-03-01 08:00:00", "INSURANCE//\\UNK", None, None, 11, None),
        (1, "2150-03-05 12:00:00", "DIAGNOSIS//ICD//9//0389", 1.0, None, 11, None),
        (1, "2150-03-05 12:00:00", "DIAGNOSIS//ICD//10//E119", 2.0, None, 11, None),
        (1, "2150-03-02 00:00:00", "PROCEDURE//ICD//9//0040", 1.0, None, 11, None),
        (1, "2150-03-01 10:00:00", "LAB//50912//mg/dL", pytest.approx(1.1), None, 11, None),
        (1, "2150-03-01 10:00:00", "LAB//50912//per \\s", 0.5, "<0.5", 11, None),
        (1, "2150-03-01 09:30:00", "VITAL//220045//bpm", 88.0, None, 11, 111),
        (1, "2150-03-01 09:30:00", "VITAL//220048//UNK", None, "SR (Sinus Rhythm)", 11, 111),
        (1, "2150-03-01 12:00:00", "MEDICATION//Lisinopril", 10.0, "mg//PO/NG//MAIN//UNK", 11, None),
        (1, "2150-03-01 06:00:00", "TRIAGE//temperature//°F", pytest.approx(98.6), None, None, 900),
        (1, "2150-03-01 06:00:00", "TRIAGE//pain", None, "unable", None, 900),
        (1, "2150-03-01 06:10:00", "ED_VITAL//pain", 7.0, None, None, 900),
        (1, "2150-03-01 06:00:00", "TRIAGE//chiefcomplaint", None, "Chest pain, N/V", None, 900),
        (1, "2150-03-01 08:30:00", "ED_DIAGNOSIS//ICD//10//R079", 1.0, "Chest pain, unspecified", None, 900),
    ]:
        assert event in events, event[2]
    assert sum(event[2] == "MEDS_DEATH" for event in events) == 2


def test_any_laboratory_value_comes_back():
    con = empty_warehouse()
    name = "mimiciv_hosp.labevents"
    texts = st.none() | st.text(alphabet="0123456789.<>- /\\UNK", max_size=6)
    numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32)

    @given(value=texts, valuenum=numbers, valueuom=texts)
    @settings(max_examples=60, deadline=None)
    def comes_back(value, valuenum, valueuom):
        con.execute(f"DELETE FROM {name}")
        con.execute(
            f"INSERT INTO {name} (subject_id, itemid, charttime, value, valuenum, valueuom) "
            "VALUES (1, 2, '2150-01-01', ?, ?, ?)",
            [value, valuenum, valueuom],
        )
        con.execute(f"CREATE OR REPLACE TEMP TABLE events AS {events_sql([name])}")
        back = con.execute(f"SELECT value, valuenum, valueuom FROM ({tables_sql()[name]})").fetchone()
        assert back[1:] == (valuenum, valueuom)
        if value is not None and (valuenum is None or value == back[0]):
            assert back[0] == value
        elif value is not None:  # only how the number was written may be lost
            assert con.execute("SELECT ?::FLOAT = ?::FLOAT", [value, back[0]]).fetchone() == (True,)

    comes_back()


def test_a_row_without_a_time_is_no_event():
    con = empty_warehouse()
    con.execute("INSERT INTO mimiciv_hosp.pharmacy (subject_id, hadm_id, medication) VALUES (1, 2, 'Lisinopril')")
    assert con.execute(events_sql()).fetchall() == []
