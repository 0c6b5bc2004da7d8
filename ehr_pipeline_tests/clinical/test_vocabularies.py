"""Vocabularies: raw wordings onto public levels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.clinical import load_vocabularies

VOCABULARIES = load_vocabularies()


@pytest.mark.parametrize("name", VOCABULARIES)
def test_other_and_missing_are_levels(name):
    vocabulary = VOCABULARIES[name]
    assert {vocabulary.other, vocabulary.missing} - {None} <= set(vocabulary.levels)


@pytest.mark.parametrize(
    ("name", "wording", "level"),
    [
        ("race", "HISPANIC/LATINO - CUBAN", "hispanic"),
        ("race", "White - Brazilian", "white"),
        ("race", "BLACK/CAPE VERDEAN", "black"),
        ("race", "NATIVE HAWAIIAN OR OTHER PACIFIC ISLANDER", "native"),
        ("race", "PATIENT DECLINED TO ANSWER", "unknown"),
        ("race", "Klingon", "other"),
        ("race", None, "unknown"),
        ("sex", "F", "F"),
        ("sex", "X", None),
        ("care_unit", "Medical/Surgical Intensive Care Unit (MICU/SICU)", "micu_sicu"),
        ("care_unit", "Medical Intensive Care Unit (MICU)", "micu"),
        ("care_unit", "Trauma SICU (TSICU)", "tsicu"),
        ("care_unit", "Neuro Surgical Intensive Care Unit (Neuro SICU)", "neuro"),
        ("care_unit", "Cardiac Vascular Intensive Care Unit (CVICU)", "cvicu"),
        ("care_unit", "Coronary Care Unit (CCU)", "ccu"),
        ("care_unit", None, None),
        ("discharge_location", "HOME HEALTH CARE", "home_health_care"),
        ("discharge_location", "HOME", "home"),
        ("admission_type", "EU OBSERVATION", "observation"),
        ("arrival_transport", "WALK IN", "walk_in"),
        ("disposition", "LEFT WITHOUT BEING SEEN", "left_without_being_seen"),
    ],
)
def test_wording_of_mimic_finds_its_level(name, wording, level):
    assert VOCABULARIES[name].level_of(wording) == level


@given(st.sampled_from(sorted(VOCABULARIES)), st.text(max_size=40))
def test_any_wording_has_a_level_or_is_missing(name, wording):
    vocabulary = VOCABULARIES[name]
    assert vocabulary.level_of(wording) in {*vocabulary.levels, vocabulary.other}
