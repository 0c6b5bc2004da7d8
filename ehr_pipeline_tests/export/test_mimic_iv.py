"""An exported database holds together whatever the stream says, and says what the stream says."""

import gzip
import json
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import SourceError
from ehr_pipeline.export import export_mimic_iv
from ehr_pipeline.export.complete import fill_tables
from ehr_pipeline.export.database import create_database
from ehr_pipeline.export.mimic_iv import DATABASE, SUMMARY
from ehr_pipeline.export.place import place
from ehr_pipeline.export.stream import stream_relation
from ehr_pipeline.mimic import tables
from ehr_pipeline_tests.export.streams import dictionaries, write_stream

VITAL, LAB = "VITAL//220045//bpm", "LAB//50912//mg/dL"


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Path:
    return dictionaries(tmp_path_factory.mktemp("known") / "known.duckdb")


@pytest.fixture
def exported(tmp_path, known):
    """Export a stream; returns a function that asks the database."""

    def export(events, seed=0):
        out = tmp_path / "out"
        export_mimic_iv([write_stream(tmp_path / "stream.parquet", events)], known, out, seed=seed)
        con = duckdb.connect(str(out / DATABASE), read_only=True)
        return lambda sql: con.execute(sql).fetchall()

    return export


def stay(subject=5, begin="2000-03-01", out="DISCHARGE//HOME"):
    """A patient, one admission of nine days with an ICU stay of two and a half."""
    year, month = begin[:4], begin[5:7]
    at = f"{year}-{month}"
    return [
        (subject, None, "GENDER//F"),
        (subject, f"{int(year) - 60}-01-01", "MEDS_BIRTH"),
        (subject, f"{at}-01 08:00", "ADMISSION//URGENT", None, "EMERGENCY ROOM"),
        (subject, f"{at}-02 09:00", "ICU_ADMISSION//MICU"),
        (subject, f"{at}-02 09:30", VITAL, 88.0),
        (subject, f"{at}-03 10:00", LAB, 2.5),
        (subject, f"{at}-03 10:00", LAB, None, "<0.1"),
        (subject, f"{at}-04 21:00", "ICU_DISCHARGE//MICU"),
        (subject, f"{at}-10 12:00", out),
        (subject, f"{at}-10 12:00", "DIAGNOSIS//ICD//10//I214", 7.0),
        (subject, f"{at}-10 12:00", "DIAGNOSIS//ICD//10//E119", 3.0),
    ]


def test_rows_are_numbered_and_written_alike_however_events_of_one_time_stand(tmp_path, known):
    events = [*stay(), *[(5, "2000-03-03 11:00", code, float(n)) for code in (LAB, VITAL) for n in range(40)]]
    events += [(5, "2000-03-03 11:00", "MEDICATION//Heparin", None, f"{n} mL") for n in range(9)]
    written = []
    for name, order in (("one", events), ("other", events[:9] + events[:8:-1])):
        export_mimic_iv([write_stream(tmp_path / f"{name}.parquet", order)], known, tmp_path / name)
        files = sorted((tmp_path / name).rglob("*.csv.gz"))
        written.append({path.name: gzip.decompress(path.read_bytes()) for path in files})
    assert written[0] == written[1]
    assert written[0]["labevents.csv.gz"].count(b"\n") == 43


def test_an_admission_and_its_stay_are_found_in_the_order_of_events(exported):
    ask = exported(stay())
    assert ask(
        "SELECT gender, anchor_age, anchor_year - year(admittime) FROM patients JOIN admissions USING (subject_id)"
    ) == [("F", 60, 0)]
    assert ask(
        "SELECT admission_type, admission_location, discharge_location, hospital_expire_flag FROM admissions"
    ) == [("URGENT", "EMERGENCY ROOM", "HOME", 0)]
    assert ask("SELECT date_diff('hour', admittime, dischtime) FROM admissions") == [(9 * 24 + 4,)]
    assert ask("SELECT los, first_careunit, last_careunit, hadm_id IS NOT NULL FROM icustays") == [
        (2.5, "MICU", "MICU", True)
    ]
    assert ask("SELECT value, valuenum, valueuom, c.stay_id = i.stay_id FROM chartevents c CROSS JOIN icustays i") == [
        ("88", 88.0, "bpm", True)
    ]
    assert ask("SELECT seq_num, icd_code FROM diagnoses_icd ORDER BY 1") == [(1, "E119"), (2, "I214")]


def test_laboratory_rows_have_ranges_flags_and_texts_that_fit(exported):
    rows = exported(stay())(
        "SELECT value, valuenum, ref_range_lower, ref_range_upper, flag, hadm_id > 0 FROM labevents ORDER BY 2"
    )
    assert rows == [("2.5", 2.5, 0.5, 1.3, "abnormal", True), ("<0.1", None, 0.5, 1.3, None, True)]


def test_dates_keep_their_weekday_and_distances_and_lie_in_the_anchor_year(exported):
    ask = exported([*stay(), *stay(9, "2004-05-01")], seed=4)
    for year, week_day in ask(
        "SELECT anchor_year, isodow(min(admittime)) FROM patients JOIN admissions USING (subject_id) GROUP BY ALL"
    ):
        assert 2109 <= year <= 2200
        assert week_day in (3, 6)  # 1 March 2000 was a Wednesday, 1 May 2004 a Saturday


def test_a_window_that_cuts_its_admission_off_still_has_one(exported):
    events = [(1, None, "GENDER//M"), (1, "2000-01-01 00:00", "ICU_ADMISSION//SICU")]
    events += [(1, f"2000-01-0{1 + hour // 24} {hour % 24:02}:30", VITAL, 70.0 + hour) for hour in range(0, 48, 6)]
    ask = exported(events)
    assert ask(
        "SELECT admission_type, discharge_location, anchor_age FROM admissions JOIN patients USING (subject_id)"
    ) == [("UNKNOWN", None, None)]
    assert ask("SELECT count(*), min(date_diff('minute', intime, outtime)) FROM icustays") == [(1, 42 * 60 + 30)]
    assert ask("SELECT count(DISTINCT stay_id) FROM chartevents") == [(1,)]


def test_an_icu_stay_that_ends_after_a_quiet_week_ends_in_its_own_admission(exported):
    events = [*stay()[:5], (5, "2000-03-12 21:00", "ICU_DISCHARGE//MICU")]  # no discharge from the hospital is told
    ask = exported(events)
    assert ask("SELECT date_diff('hour', admittime, dischtime) FROM admissions") == [(11 * 24 + 13,)]
    assert ask("SELECT date_diff('hour', intime, outtime) FROM icustays") == [(10 * 24 + 12,)]


@pytest.mark.parametrize(
    ("last", "died"),
    [
        ([("2000-03-10 11:00", "MEDS_DEATH")], True),  # inside, though the discharge says HOME
        ([("2000-03-20 00:00", "MEDS_DEATH")], False),  # ten days later, at home
        ([("2000-03-10 00:00", "MEDS_DEATH")], False),  # a day alone, on the day of the discharge
    ],
)
def test_death_discharge_and_flag_agree(exported, last, died):
    ask = exported([*stay(), *[(5, *event) for event in last]])
    assert ask(
        "SELECT hospital_expire_flag, deathtime IS NOT NULL, discharge_location = 'DIED', dod IS NOT NULL "
        "FROM admissions JOIN patients USING (subject_id)"
    ) == [(int(died), died, died, True)]


def test_a_discharge_that_says_died_is_a_death(exported):
    ask = exported(stay(out="DISCHARGE//DIED"))
    assert ask(
        "SELECT hospital_expire_flag, deathtime = dischtime, dod = dischtime::DATE "
        "FROM admissions JOIN patients USING (subject_id)"
    ) == [(1, True, True)]


def test_nothing_begins_after_death_and_what_is_left_out_is_counted(tmp_path, known):
    later = stay(begin="2003-03-01")[2:]
    events = [
        *stay(out="DISCHARGE//DIED"),
        *later,
        (5, "2000-03-02", "LAB//1//mg/dL", 1.0),
        (5, "2000-03-02", "SONG//9"),
    ]
    made = export_mimic_iv([write_stream(tmp_path / "s.parquet", events)], known, tmp_path / "out")
    assert made.n_rows["mimiciv_hosp.admissions"] == 1
    assert sorted(made.left_out.values()) == [2, len(later)]
    assert json.loads((tmp_path / "out" / SUMMARY).read_text())["events_left_out"] == made.left_out


def test_rows_that_a_key_allows_once_are_there_once_and_lengths_follow_from_values(exported):
    ask = exported(
        [
            *stay(),
            (5, "2000-03-02 10:00", "OUTPUT//226559//mL", 100.0),
            (5, "2000-03-02 10:00", "OUTPUT//226559//mL", 200.0),
            (5, "2000-03-02 10:00", "DATETIME//224275", None, "2000-03-01 10:00:00"),
            (5, "2000-03-02 10:00", "DATETIME//224275", None, "no time at all"),
            (5, "2000-03-02 10:00", "INPUT//225152//mL", 50.0, "25//mL/hour//FinishedRunning"),
            (5, "2000-03-02 11:00", "INPUT//225152//mL", 50.0, "nonsense"),
            (5, "2000-03-02 10:00", "PROCEDURE//225792//hour", 3.0, "UNK//Finished"),
            (5, "2000-03-02 10:00", "SERVICE//MED"),
            (5, "2000-03-02 10:00", "SERVICE//MED"),
            (5, "2000-03-03 10:00", "SERVICE//CMED", None, "SURG"),
        ]
    )
    assert ask("SELECT value FROM outputevents") == [(100.0,)]
    assert ask("SELECT date_diff('hour', value, charttime) FROM datetimeevents") == [(24,)]
    assert ask("SELECT date_diff('minute', starttime, endtime), rate FROM inputevents ORDER BY 1") == [
        (1, None),
        (120, 25.0),
    ]
    assert ask("SELECT date_diff('hour', starttime, endtime) FROM procedureevents") == [(3,)]
    assert ask("SELECT prev_service, curr_service FROM services ORDER BY transfertime") == [
        (None, "MED"),
        ("MED", "CMED"),
    ]


def test_keys_are_declared_and_enforced(tmp_path, known):
    out = tmp_path / "out"
    export_mimic_iv([write_stream(tmp_path / "s.parquet", stay())], known, out)
    with duckdb.connect(str(out / DATABASE)) as con:
        ((n_keys,),) = con.execute(
            "SELECT count(*) FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
        ).fetchall()
        assert n_keys == sum(bool(table.key) for table in tables().values())
        ((n_foreign,),) = con.execute(
            "SELECT count(*) FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY'"
        ).fetchall()
        assert n_foreign == sum(reference.strict for table in tables().values() for reference in table.references)
        with pytest.raises(duckdb.ConstraintException):
            con.execute("INSERT INTO diagnoses_icd VALUES (1, 2, 1, 'I214', 10)")
        with pytest.raises(duckdb.ConstraintException):
            con.execute("INSERT INTO patients SELECT * FROM patients")
        assert con.execute("SELECT count(*) FROM mimiciv_hosp.d_icd_diagnoses").fetchall() == [(1,)]
    for folder, suffix in (("hosp", "csv.gz"), ("parquet/hosp", "parquet")):
        ((n_rows,),) = duckdb.connect().sql(f"SELECT count(*) FROM '{out}/{folder}/labevents.{suffix}'").fetchall()
        assert n_rows == 2
    assert not [path for path in out.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]


CODES = (
    "ADMISSION//URGENT",
    "DISCHARGE//HOME",
    "DISCHARGE//DIED",
    "ICU_ADMISSION//MICU",
    "ICU_DISCHARGE//MICU",
    "MEDS_DEATH",
)
CODES += (
    "ED_ARRIVAL//WALK IN",
    "ED_DISPOSITION//HOME",
    VITAL,
    LAB,
    "DIAGNOSIS//ICD//10//I214",
    "TRIAGE//acuity",
    "RACE//WHITE",
)
IMPOSSIBLE = {
    "overlapping admissions": """SELECT count(*) FROM admissions a JOIN admissions b ON a.subject_id = b.subject_id
        AND a.hadm_id < b.hadm_id AND a.admittime < b.dischtime AND b.admittime < a.dischtime""",
    "overlapping stays": """SELECT count(*) FROM icustays a JOIN icustays b ON a.subject_id = b.subject_id
        AND a.stay_id < b.stay_id AND a.intime < b.outtime AND b.intime < a.outtime AND a.hadm_id = b.hadm_id""",
    "backwards": "SELECT count(*) FROM admissions WHERE dischtime < admittime",
    "negative stays": "SELECT count(*) FROM icustays WHERE outtime < intime OR los < 0",
    "a stay outside": """SELECT count(*) FROM icustays i JOIN admissions a USING (hadm_id)
        WHERE i.intime < a.admittime - INTERVAL 1 DAY OR i.outtime > a.dischtime + INTERVAL 1 DAY""",
    "charting long after death": """SELECT count(*) FROM chartevents c JOIN admissions a USING (hadm_id)
        WHERE c.charttime > a.deathtime + INTERVAL 1 DAY""",
    "admitted after death": """SELECT count(*) FROM admissions JOIN patients USING (subject_id)
        WHERE admittime::DATE > dod""",
    "two deaths": "SELECT count(*) FROM (SELECT 1 FROM admissions GROUP BY subject_id HAVING count(deathtime) > 1)",
    "flag": """SELECT count(*) FROM admissions
        WHERE (hospital_expire_flag = 1) <> (discharge_location IS NOT DISTINCT FROM 'DIED')""",
    "gaps": "SELECT count(*) FROM (SELECT 1 FROM diagnoses_icd GROUP BY hadm_id HAVING max(seq_num) <> count(*))",
}


def test_no_order_of_events_makes_an_impossible_record(tmp_path, known):
    hours = st.integers(0, 24 * 40)

    @given(st.lists(st.tuples(st.integers(1, 3), hours, st.sampled_from(CODES)), min_size=1, max_size=40))
    @settings(max_examples=15, deadline=None)
    def holds(drawn):
        events = [
            (s, f"2000-{1 + h // 480:02}-{1 + h % 480 // 24:02} {h % 24:02}:15", code, 1.0) for s, h, code in drawn
        ]
        with duckdb.connect() as con:  # the same steps as an export, without its files
            stream = stream_relation(con, [write_stream(tmp_path / "s.parquet", events)])
            order = create_database(con, known)
            place(con, stream, seed=0)
            fill_tables(con, order)
            found = {name: con.execute(sql).fetchall()[0][0] for name, sql in IMPOSSIBLE.items()}
        assert not any(found.values()), found

    holds()


def test_a_stream_that_is_none_is_refused_and_nothing_is_lost(tmp_path, known):
    out = tmp_path / "out"
    export_mimic_iv([write_stream(tmp_path / "s.parquet", stay())], known, out)
    before = sorted(path.name for path in out.rglob("*"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SourceError, match=r"bad\.parquet"):
        export_mimic_iv([tmp_path / "bad.parquet"], known, out)
    duckdb.connect().sql(f"COPY (SELECT 1 AS subject_id, 'A' AS code) TO '{tmp_path}/short.parquet' (FORMAT parquet)")
    with pytest.raises(SourceError, match="lacks the column time"):
        export_mimic_iv([tmp_path / "short.parquet"], known, out)
    with pytest.raises(SourceError, match="no patient"):
        export_mimic_iv([write_stream(tmp_path / "none.parquet", [])], known, out)
    assert sorted(path.name for path in out.rglob("*")) == before
