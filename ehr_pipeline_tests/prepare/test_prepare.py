"""Prepared tables and events: one unit, nothing impossible, public levels, hours from the index event."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.clinical import load_vocabularies
from ehr_pipeline.cohort import build_cohort
from ehr_pipeline.errors import NotReady
from ehr_pipeline.prepare import load_schema, prepare_cohort
from ehr_pipeline.prepare.table import prepare_category, prepare_number, prepare_text
from ehr_pipeline.record import DTYPES, Column
from ehr_pipeline_tests.cohort.hospital import Hospital, columns, definition_of

BEGIN, END = "2150-03-01 10:00", "2150-03-05 10:00"


@pytest.fixture
def prepare(tmp_path):
    """A function that builds and prepares a cohort: (summary, table, events), with the folder as `prepare.folder`."""

    def prepare_one(hospital, **changes):
        data = hospital.write(tmp_path / "data")
        definition = definition_of(tmp_path, **changes)
        build_cohort(definition, data)
        summary = prepare_cohort(definition, data)
        prepare_one.data, prepare_one.definition, prepare_one.folder = data, definition, data.cohort("made")
        return (
            summary,
            pd.read_parquet(prepare_one.folder.prepared_table),
            pd.read_parquet(prepare_one.folder.prepared_events),
        )

    return prepare_one


@pytest.fixture
def admitted():
    """One patient with one admission."""
    return Hospital().patient(1).admission(1, 10, BEGIN, END)


def test_table_conforms_to_its_schema(admitted, prepare):
    features = {
        "age": {"fact": "age"},
        "race": {"fact": "race"},
        "sodium": {"item": "sodium", "statistic": "first"},
        "eyes": {"item": "gcs_eye", "statistic": "min"},
        "statin": {"drugs": "statins"},
        "site": {"fact": "site"},
    }
    summary, table, _ = prepare(admitted, features=features)
    schema = load_schema(prepare.data, "made")
    assert list(table.columns) == ["subject_id", *schema.names]
    assert {column.name: DTYPES[column.kind] for column in schema.columns} == {
        name: str(table[name].dtype) for name in schema.names
    }
    assert columns(table, schema.names) == [[50, "white", None, None, 0, None]]
    assert summary.missing_values == {"sodium": 1, "eyes": 1, "site": 1}
    assert (summary.n_rows, summary.n_columns) == (1, 6)


def test_impossible_derived_value_becomes_missing_and_is_counted(admitted, prepare):
    """30 kg and 230 cm are possible each, their index of 5.7 is not."""
    admitted.event(1, BEGIN, "VITAL//226512//kg", 30, hadm_id=10).event(1, BEGIN, "VITAL//226730//cm", 230, hadm_id=10)
    summary, table, _ = prepare(admitted, features={"bmi": {"fact": "bmi"}})
    assert table["bmi"].isna().all()
    assert summary.impossible_values == {"bmi": 1}


def test_unknown_wording_becomes_other_and_no_wording_unknown(prepare):
    hospital = Hospital().patient(1).admission(1, 10, BEGIN, END, race="Klingon")
    hospital.patient(2).admission(2, 20, BEGIN, END, race="UNK")
    summary, table, _ = prepare(hospital, features={"race": {"fact": "race"}})
    assert table["race"].tolist() == ["other", "unknown"]
    assert summary.unknown_levels == {"race": 1}


def test_text_keeps_its_words(prepare):
    hospital = Hospital().patient(1).visit(1, 100, "2150-03-01 04:30", BEGIN)
    features = {"words": {"fact": "chief_complaint"}}
    _, table, _ = prepare(hospital, features=features, index="ed_arrival", window={"until": "visit"})
    assert table["words"].tolist() == ["CHEST PAIN, Dyspnea"]


def test_events_have_one_unit_per_code_and_hours_from_the_index(admitted, prepare):
    admitted.event(1, "2150-03-01 11:30", "LAB//50912//UNK", 1.25, text="as it stands", hadm_id=10)
    admitted.event(1, "2150-03-02 10:00", "LAB//50912//mg/dL", 1.5, hadm_id=10)
    admitted.event(1, "2150-03-02 11:00", "VITAL//223761//°F", 98.6, hadm_id=10)
    admitted.event(1, "2150-03-02 12:00", "VITAL//223835//UNK", 0.5, hadm_id=10)
    admitted.event(1, "2150-03-02 13:00", "VITAL//220045//bpm", 9000, hadm_id=10)
    admitted.event(1, "2150-03-02 14:00", "INPUT//221906//mg", 0.001, hadm_id=10)
    summary, _, events = prepare(admitted)
    rows = events[events["code"].str.contains("LAB|VITAL|INPUT")].reset_index(drop=True)
    assert columns(rows, ["hours", "code", "item"]) == [
        [1.5, "LAB//50912//mg/dL", "creatinine"],
        [24.0, "LAB//50912//mg/dL", "creatinine"],
        [25.0, "VITAL//223761//°F", "temperature_c"],
        [26.0, "VITAL//223835//%", "fio2"],
        [27.0, "VITAL//220045//bpm", "heart_rate"],
        [28.0, "INPUT//221906//mg", None],
    ]
    np.testing.assert_allclose(rows["numeric_value"], [1.25, 1.5, 98.6, 50, np.nan, 0.001], rtol=1e-6)
    np.testing.assert_allclose(rows["value"], [1.25, 1.5, 37.0, 50, np.nan, np.nan])
    assert rows["text_value"][0] == "as it stands"
    assert summary.impossible_event_values == {"heart_rate": 1}
    assert summary.n_events == len(events)


def test_static_facts_have_no_hours(admitted, prepare):
    _, _, events = prepare(admitted)
    assert columns(events[events["time"].isna()], ["code", "hours"]) == [["GENDER//F", None]]


def test_hours_follow_each_members_own_index(prepare):
    hospital = Hospital().patient(1)
    for hadm_id, year in ((10, 2150), (11, 2151)):
        hospital.admission(1, hadm_id, f"{year}-03-01 10:00", f"{year}-03-02 10:00")
        hospital.event(1, f"{year}-03-01 12:00", "LAB//50983//mEq/L", 140, hadm_id=hadm_id)
    _, _, events = prepare(hospital, population={"occurrence": "all"})
    assert columns(events[events["item"] == "sodium"], ["member", "hours"]) == [[0, 2.0], [1, 2.0]]


def test_preparing_twice_gives_the_same_bytes(admitted, prepare):
    prepare(admitted)
    files = (prepare.folder.prepared_table, prepare.folder.prepared_events, prepare.folder.schema)
    before = [path.read_bytes() for path in files]
    prepare_cohort(prepare.definition, prepare.data)
    assert [path.read_bytes() for path in files] == before


def test_cohort_that_was_not_built_or_has_changed_is_named(admitted, prepare, tmp_path):
    data = admitted.write(tmp_path / "data")
    with pytest.raises(NotReady, match="build the cohort made first"):
        prepare_cohort(definition_of(tmp_path), data)
    prepare(admitted)
    before = prepare.folder.prepared_table.read_bytes()
    with pytest.raises(NotReady, match="has changed since"):
        prepare_cohort(definition_of(tmp_path, title="Another"), data)
    assert prepare.folder.prepared_table.read_bytes() == before


def test_schema_that_is_not_there_yet_is_named(tmp_path, admitted):
    with pytest.raises(NotReady, match="prepare the cohort made first"):
        load_schema(admitted.write(tmp_path), "made")


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20), st.integers(0, 3))
def test_prepared_numbers_lie_in_range_on_their_decimals(numbers, decimals):
    column = Column(name="a", kind="continuous", minimum=-2.5, maximum=100, decimals=decimals)
    prepared, n_impossible = prepare_number(pd.Series(numbers, dtype="float64"), column)
    kept = prepared.dropna()
    assert kept.between(-2.5, 100).all() and (kept == kept.round(decimals)).all()
    assert n_impossible == sum(not np.isnan(number) for number in numbers) - len(kept)


@given(st.lists(st.none() | st.sampled_from(["WHITE", "white - x", "", "Klingon"]) | st.text(max_size=8), max_size=20))
def test_prepared_categories_are_levels(wordings):
    vocabulary = load_vocabularies()["race"]
    prepared, n_unknown = prepare_category(pd.Series(wordings, dtype="str"), vocabulary)
    assert prepared.tolist() == [vocabulary.level_of(wording) for wording in wordings]
    assert n_unknown == sum(wording is not None and not vocabulary.knows(wording) for wording in wordings)


@given(st.lists(st.none() | st.text(max_size=12), max_size=20))
def test_prepared_text_is_single_spaced_or_missing(texts):
    prepared = prepare_text(pd.Series(texts, dtype="str"))
    expected = [None if text is None else " ".join(text.split()) or None for text in texts]
    assert [None if pd.isna(text) else text for text in prepared] == expected
