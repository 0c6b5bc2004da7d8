"""Folding and unfolding: what was folded comes back to the minute, and what contradicts is set right and counted."""

from __future__ import annotations

import datetime as dt

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ehr_pipeline.cohort import build_cohort
from ehr_pipeline.errors import NotReady
from ehr_pipeline.evaluate.timelines.rules import find_broken
from ehr_pipeline.prepare import prepare_cohort
from ehr_pipeline.prepare.fold import COLUMNS, timelines_sql
from ehr_pipeline.prepare.timelines import prepare_timelines
from ehr_pipeline.prepare.unfold import StayKind, unfold
from ehr_pipeline.record import EVENT_SCHEMA
from ehr_pipeline_tests.cohort.hospital import Hospital, definition_of

INDEX = pd.Timestamp("2150-03-01 10:00")
ICU = StayKind(
    index="ICU_ADMISSION", end="ICU_DISCHARGE", own_end="ICU_DISCHARGE", before=dt.timedelta(0), follows_death=False
)
UNIT = "Medical Intensive Care Unit (MICU)"


def minutes(n):
    return INDEX + pd.Timedelta(minutes=n)


def row(subject_id, time, code, number=None, text=None, *, stay=False):
    own = None if time is None or code == "MEDS_BIRTH" else 100 * subject_id + 1
    return (subject_id, time, code, number, text, own, own if stay else None)


@st.composite
def stays(draw, subject_id=1):
    """The events of one real-like ICU stay: nothing in it contradicts anything else."""
    length = draw(st.integers(60, 6_000))
    left = length + draw(st.integers(0, 3_000))
    died = draw(st.booleans())
    events = [
        row(subject_id, None, f"GENDER//{draw(st.sampled_from('FM'))}"),
        row(subject_id, pd.Timestamp(f"{2150 - draw(st.integers(18, 95))}-01-01"), "MEDS_BIRTH"),
        row(subject_id, INDEX, f"ICU_ADMISSION//{UNIT}", stay=True),
        row(subject_id, minutes(length), f"ICU_DISCHARGE//{UNIT}", stay=True),
        row(
            subject_id,
            minutes(left),
            "DISCHARGE//DIED" if died else f"DISCHARGE//{draw(st.sampled_from(['HOME', 'UNK']))}",
        ),
    ]
    begin = minutes(-draw(st.integers(-min(600, length - 1), 4_000)))
    place = draw(st.one_of(st.none(), st.just("EMERGENCY ROOM")))
    events.append(row(subject_id, begin, f"ADMISSION//{draw(st.sampled_from(['URGENT', 'EW EMER.']))}", text=place))
    events.append(row(subject_id, begin, "RACE//WHITE"))
    if died:
        events.append(row(subject_id, minutes(draw(st.integers(max(length, left - 1_440), left))), "MEDS_DEATH"))
    for rank, code in enumerate(draw(st.sets(st.sampled_from(["I10", "E119", "N179"])))):
        events.append(row(subject_id, minutes(left), f"DIAGNOSIS//ICD//10//{code}", rank + 1))
    for at in draw(st.lists(st.integers(1, min(length, 2_880)), max_size=12, unique=True)):
        events.append(row(subject_id, minutes(at), "VITAL//220045//bpm", draw(st.integers(40, 140)), stay=True))
    return events


def frame(events):
    return pd.DataFrame(events, columns=EVENT_SCHEMA.names)


def folded(events):
    """As `prepare_timelines` folds: what lies outside of the first 48 hours of the stay frames it."""
    table = frame(events)
    table["member"] = table["subject_id"] - 1
    ends = table[table["code"].str.startswith("ICU_DISCHARGE")].set_index("subject_id")["time"]
    end = table["subject_id"].map(ends).clip(upper=minutes(2_880))
    inside = table["time"].isna() | (table["code"] == "MEDS_BIRTH") | table["time"].between(INDEX, end)
    with duckdb.connect() as con:
        for name, part in (("inside", table[inside]), ("outside", table[~inside])):
            con.register(name, pa.Table.from_pandas(part, schema=EVENT_SCHEMA.append(pa.field("member", pa.int64()))))
        con.execute(
            "CREATE TABLE members AS SELECT DISTINCT subject_id - 1 AS member, 100 * subject_id + 1 AS hadm_id,"
            f" 100 * subject_id + 1 AS stay_id, TIMESTAMP '{INDEX}' AS index_time FROM inside"
        )
        query = timelines_sql("inside", "outside", "members", "ICU_ADMISSION")
        return con.sql(f"SELECT {', '.join(COLUMNS)} FROM ({query}) ORDER BY ALL").to_arrow_table()


def plain(table):
    """Events as a sorted list, so that two streams can be compared."""
    rows = table if isinstance(table, pd.DataFrame) else table.to_pandas()
    rows = rows[EVENT_SCHEMA.names].astype(object).where(rows[EVENT_SCHEMA.names].notna(), None)
    return sorted(map(tuple, rows.to_numpy()), key=repr)


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(stays(), min_size=1, max_size=8))
def test_unfolding_gives_back_what_was_folded(found):
    events = [(k + 1, *event[1:]) for k, stay in enumerate(found) for event in stay]
    events = [(*event[:5], *(None if one is None else 100 * event[0] + 1 for one in event[5:])) for event in events]
    back = unfold(folded(events), ICU)
    assert plain(back.events) == plain(pa.Table.from_pandas(frame(events), schema=EVENT_SCHEMA))
    assert not any(back.mended.values())


def test_a_folded_stay_has_no_time_outside_of_its_window():
    stay = [
        row(1, INDEX, f"ICU_ADMISSION//{UNIT}", stay=True),
        row(1, minutes(-90), "ADMISSION//URGENT", text="CLINIC"),
        row(1, minutes(-90), "RACE//WHITE"),
        row(1, minutes(6_000), "DISCHARGE//HOME"),
        row(1, minutes(6_000), "DIAGNOSIS//ICD//10//I10", 2),
        row(1, minutes(5_000), f"ICU_DISCHARGE//{UNIT}", stay=True),
    ]
    table = folded(stay).to_pandas()
    assert table.loc[table["time"].notna(), "code"].tolist() == [f"ICU_ADMISSION//{UNIT}"]
    facts = table[table["time"].isna()].set_index("code")["numeric_value"]
    assert set(facts.index) == {
        f"INDEX//ICU_ADMISSION//{UNIT}",
        "ADMISSION//URGENT",
        "ADMISSION_LOCATION//CLINIC",
        "RACE//WHITE",
        "DISCHARGE//HOME",
        "DIAGNOSIS//ICD//10//I10",
        f"ICU_DISCHARGE//{UNIT}",
        "HOURS//ADMISSION",
        "HOURS//DISCHARGE",
        "HOURS//ICU_DISCHARGE",
    }
    assert facts["HOURS//ADMISSION"] == -1.5
    assert facts["HOURS//DISCHARGE"] == 100
    assert facts["DIAGNOSIS//ICD//10//I10"] == 2


def drawn(*events, subject_id=1):
    """Events as a generator draws them: (minute or None, code, number)."""
    rows = [
        (subject_id, None if at is None else minutes(at), code, number)
        for at, code, *rest in events
        for number in [*rest, None][:1]
    ]
    columns = {"subject_id": pa.int64(), "time": pa.timestamp("us"), "code": pa.string(), "numeric_value": pa.float32()}
    table = pd.DataFrame(rows, columns=list(columns))
    table["text_value"] = None
    return pa.Table.from_pandas(table, schema=pa.schema({**columns, "text_value": pa.string()}), preserve_index=False)


BEGIN = (0, f"ICU_ADMISSION//{UNIT}")
NO_ADMISSION = "ADMISSION//UNK"
"""What every ICU stay has, even where no fact tells it."""


def codes_at(unfolded):
    """Minute since the index event by code."""
    table = unfolded.events.to_pandas()
    table = table[table["time"].notna()]
    return {
        code: (time - INDEX) / pd.Timedelta(minutes=1) for code, time in zip(table["code"], table["time"], strict=True)
    }


def test_nothing_of_the_bedside_comes_after_death_or_the_end():
    found = unfold(
        drawn(BEGIN, (10, "LAB//1//x", 1), (60, "MEDS_DEATH"), (61, "LAB//2//x", 1), (90, "ICU_DISCHARGE//A")), ICU
    )
    assert set(codes_at(found)) == {BEGIN[1], NO_ADMISSION, "LAB//1//x", "MEDS_DEATH", "ICU_DISCHARGE//A"}
    found = unfold(drawn(BEGIN, (60, "ICU_DISCHARGE//A"), (61, "LAB//2//x", 1)), ICU)
    assert set(codes_at(found)) == {BEGIN[1], NO_ADMISSION, "ICU_DISCHARGE//A"}
    assert found.mended["events after death or after the end of the stay"] == 1


def test_a_folded_fact_never_lies_before_the_last_event():
    facts = (None, "DISCHARGE//HOME"), (None, "HOURS//DISCHARGE", 1.0)
    found = unfold(drawn(BEGIN, (600, "LAB//1//x", 1), *facts), ICU)
    assert codes_at(found)["DISCHARGE//HOME"] == 600


def test_the_event_itself_counts_more_than_the_fact():
    facts = (None, "ICU_DISCHARGE//B"), (None, "HOURS//ICU_DISCHARGE", 70.0), (None, "HOURS//DEATH", 70.0)
    at = codes_at(unfold(drawn(BEGIN, (60, "ICU_DISCHARGE//A"), (60, "MEDS_DEATH"), *facts), ICU))
    assert at == {BEGIN[1]: 0, NO_ADMISSION: 0, "ICU_DISCHARGE//A": 60, "MEDS_DEATH": 60}


def test_who_left_alive_has_no_folded_death():
    facts = (None, "DISCHARGE//HOME"), (None, "HOURS//DISCHARGE", 90.0), (None, "HOURS//DEATH", 70.0)
    found = unfold(drawn(BEGIN, *facts), ICU)
    assert "MEDS_DEATH" not in codes_at(found)
    assert found.mended["facts of the stay that were left out, since they contradict others"] == 1


def test_who_died_in_the_window_is_discharged_as_dead_then():
    facts = (None, "DISCHARGE//HOME"), (None, "HOURS//DISCHARGE", 90.0)
    at = codes_at(unfold(drawn(BEGIN, (60, "MEDS_DEATH"), *facts), ICU))
    assert at == {BEGIN[1]: 0, NO_ADMISSION: 0, "MEDS_DEATH": 60, "DISCHARGE//DIED": 60}


DEAD = (None, "DISCHARGE//DIED")


@pytest.mark.parametrize(
    ("events", "death"),
    [
        ([DEAD, (None, "HOURS//DISCHARGE", 90.0)], 90 * 60),  # no fact tells the death
        ([DEAD, (None, "HOURS//DISCHARGE", 90.0), (None, "HOURS//DEATH", 89.0)], 89 * 60),
        ([DEAD, (None, "HOURS//DISCHARGE", 20.0), (None, "HOURS//DEATH", 90.0)], 90 * 60),
        ([DEAD, (None, "HOURS//DEATH", 90.0)], 90 * 60),  # no fact tells the hour of discharge
        ([(50, "DISCHARGE//DIED")], 50),
        ([(50, "DISCHARGE//DIED"), (None, "HOURS//DEATH", 90.0)], 50),
        ([(50, "DISCHARGE//DIED"), (70, "MEDS_DEATH")], 70),
        ([(50, "ICU_DISCHARGE//A"), (52, "DISCHARGE//DIED"), (55, "MEDS_DEATH")], 55),
        ([(50, "MEDS_DEATH"), DEAD], 50),
        ([(50, "MEDS_DEATH"), (60, "DISCHARGE//DIED"), (70, "DISCHARGE//HOME")], 50),
    ],
)
def test_who_is_discharged_as_dead_has_died_then(events, death):
    found = unfold(drawn(BEGIN, *events), ICU)
    at = codes_at(found)
    assert at["MEDS_DEATH"] == death
    assert [code for code in at if code.startswith("DISCHARGE//")] == [DEAD[1]]
    assert not find_broken(found.events.to_pandas())["E13"].broken.size


def test_a_discharge_as_dead_that_no_hour_places_is_left_out():
    assert set(codes_at(unfold(drawn(BEGIN, DEAD), ICU))) == {BEGIN[1], NO_ADMISSION}


def test_a_death_that_is_drawn_before_the_stay_hides_no_later_one():
    before = StayKind(**{**vars(ICU), "before": dt.timedelta(hours=2)})
    found = unfold(drawn((-60, "MEDS_DEATH"), (-90, "LAB//1//x", 1), BEGIN, (40, "MEDS_DEATH")), before)
    assert codes_at(found)["MEDS_DEATH"] == 40


def test_the_stay_ends_no_later_than_its_admission():
    facts = (None, "DISCHARGE//HOME"), (None, "HOURS//DISCHARGE", 90.0), (None, "ICU_DISCHARGE//A")
    at = codes_at(unfold(drawn(BEGIN, *facts, (None, "HOURS//ICU_DISCHARGE", 900.0)), ICU))
    assert at["ICU_DISCHARGE//A"] == at["DISCHARGE//HOME"] == 90 * 60


def test_a_forgotten_or_late_index_event_is_put_where_the_timeline_begins():
    fact = (None, f"INDEX//ICU_ADMISSION//{UNIT}")
    for timeline in [((5, "LAB//1//x", 1),), ((5, "LAB//1//x", 1), (90, "ICU_ADMISSION//Other"))]:
        found = unfold(drawn(fact, *timeline), ICU)
        assert codes_at(found) == {f"ICU_ADMISSION//{UNIT}": 5, NO_ADMISSION: 5, "LAB//1//x": 5}
    assert unfold(drawn((None, "GENDER//F")), ICU).events.num_rows == 1


def test_codes_of_the_other_sex_or_age_are_left_out():
    birth = (-40 * 525_960, "MEDS_BIRTH")
    coded = [(None, f"DIAGNOSIS//ICD//10//{code}") for code in ("O80", "N40", "I10")]
    for sex, kept in (("F", {"O80", "I10"}), ("M", {"N40", "I10"})):
        found = unfold(drawn(BEGIN, birth, (None, f"GENDER//{sex}"), *coded), ICU)
        assert {code.rsplit("//", 1)[1] for code in codes_at(found) if code.startswith("DIAG")} == kept
    old = (-75 * 525_960, "MEDS_BIRTH")
    found = unfold(drawn(BEGIN, old, (None, "GENDER//F"), *coded), ICU)
    assert "DIAGNOSIS//ICD//10//O80" not in codes_at(found)


@pytest.mark.parametrize(("days", "years"), [(0, 0), (364, 0), (366, 1), (20_000, 54)])
def test_a_birth_keeps_the_age_in_whole_years(days, years):
    found = unfold(drawn(BEGIN, (-days * 1_440, "MEDS_BIRTH")), ICU).events.to_pandas()
    (birth,) = found.loc[found["code"] == "MEDS_BIRTH", "time"]
    assert (birth.month, birth.day, INDEX.year - birth.year) == (1, 1, years)


def test_of_codes_that_exclude_each_other_one_is_kept():
    facts = [(None, f"DISCHARGE//{where}") for where in ("HOME", "REHAB")]
    at = codes_at(unfold(drawn(BEGIN, *facts, (None, "HOURS//DISCHARGE", 90.0)), ICU))
    assert sum(code.startswith("DISCHARGE") for code in at) == 1


def test_a_readmission_is_an_admission_of_its_own():
    facts = (None, "ADMISSION//URGENT"), (None, "HOURS//ADMISSION", -2.0), (None, "DISCHARGE//HOME")
    again = (None, "READMISSION//EW EMER."), (None, "HOURS//READMISSION", 300.0)
    found = unfold(drawn(BEGIN, *facts, (None, "HOURS//DISCHARGE", 90.0), *again), ICU).events.to_pandas()
    admissions = found[found["code"].str.startswith("ADMISSION//")].sort_values("time")
    assert admissions["code"].tolist() == ["ADMISSION//URGENT", "ADMISSION//EW EMER."]
    assert admissions["hadm_id"].nunique() == 2
    early = unfold(drawn(BEGIN, *facts, (None, "HOURS//DISCHARGE", 400.0), *again), ICU).events.to_pandas()
    assert early["code"].str.startswith("ADMISSION//").sum() == 1


def test_openings_of_one_minute_are_one_stay_whatever_the_order():
    ward = StayKind(**{**vars(ICU), "index": "ADMISSION", "end": "DISCHARGE", "own_end": "DISCHARGE"})
    events = [(0, "ADMISSION//URGENT"), (5, "ICU_ADMISSION//B"), (5, "ICU_ADMISSION//A"), (9, "VITAL//1//x", 1),
              (9, "ICU_DISCHARGE//A"), (40, "DISCHARGE//HOME")]  # fmt: skip
    found = [unfold(drawn(*order), ward).events for order in (events, events[::-1])]
    assert found[0].equals(found[1])
    assert found[0].to_pandas()["stay_id"].dropna().unique().tolist() == [101]


def icu_patient(discharge="2150-03-09 10:00"):
    hospital = Hospital().patient(1).admission(1, 10, "2150-02-28 10:00", discharge)
    hospital.event(1, discharge, "DIAGNOSIS//ICD//10//I10", 1, hadm_id=10)
    hospital.icu_stay(1, 10, 100, str(INDEX), "2150-03-05 10:00")
    for _ in range(2):
        hospital.event(1, "2150-03-01 11:00", "VITAL//220045//bpm", 80, hadm_id=10, stay_id=100)
    return hospital.event(1, "2150-03-01 12:00", "VITAL//220045//bpm", 8_000, hadm_id=10, stay_id=100)


def prepared(tmp_path, hospital, **changes):
    asked = {
        "index": "icu_admission",
        "window": {"hours_after": 48, "until": "stay"},
        "features": {"age": {"fact": "age"}},
    }
    data, definition = hospital.write(tmp_path / "data"), definition_of(tmp_path, **(asked | changes))
    build_cohort(definition, data)
    prepare_cohort(definition, data)
    return data, definition


def test_timelines_hold_the_window_the_frame_and_no_double(tmp_path):
    data, definition = prepared(tmp_path, icu_patient())
    summary = prepare_timelines(definition, data)
    table = pd.read_parquet(data.cohort("made").prepared_timelines)
    assert list(table.columns) == [*EVENT_SCHEMA.names, "member"]
    assert summary.n_doubles == 1
    assert len(table) == summary.n_events
    values = table[table["code"] == "VITAL//220045//bpm"]["numeric_value"]
    assert values.isna().sum() == 1  # impossible
    assert (values == 80).sum() == 1  # the double is gone
    assert table["time"].is_monotonic_increasing or table["time"].isna().any()
    assert (table["code"] == "MEDS_BIRTH").sum() == 1
    hours = table.set_index("code")["numeric_value"]
    assert hours["HOURS//DISCHARGE"] == 192
    assert hours["HOURS//ICU_DISCHARGE"] == 96
    assert table.loc[table["code"] == "DIAGNOSIS//ICD//10//I10", "time"].isna().all()


def test_timelines_of_another_definition_are_refused(tmp_path):
    data, definition = prepared(tmp_path, icu_patient())
    other = definition.model_copy(update={"title": "Another"})
    with pytest.raises(NotReady, match="build it again"):
        prepare_timelines(other, data)
    data.cohort("made").stay_events.unlink()
    with pytest.raises(NotReady, match="stay_events"):
        prepare_timelines(definition, data)


def test_the_next_admission_is_folded_where_the_definition_asks_for_readmissions(tmp_path):
    hospital = icu_patient().admission(1, 11, "2150-03-19 10:00", "2150-03-20 10:00")
    features = {"age": {"fact": "age"}, "again": {"follow_up": "readmission", "days": 30}}
    data, definition = prepared(tmp_path, hospital, features=features)
    prepare_timelines(definition, data)
    codes = set(pd.read_parquet(data.cohort("made").prepared_timelines)["code"])
    assert {"READMISSION//URGENT", "HOURS//READMISSION"} <= codes
    data, definition = prepared(tmp_path / "plain", hospital)
    prepare_timelines(definition, data)
    assert "READMISSION//URGENT" not in set(pd.read_parquet(data.cohort("made").prepared_timelines)["code"])
