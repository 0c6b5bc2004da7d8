"""Code sets: prefixes, ranges, and the sets that the case study is made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.clinical import load_code_sets
from ehr_pipeline.clinical.code_sets import expand_prefixes

SETS = load_code_sets()


@pytest.mark.parametrize("name", SETS)
def test_set_has_both_versions_of_icd(name):
    assert SETS[name].title and SETS[name].icd10 and SETS[name].icd9


def test_sets_of_the_case_study_are_those_that_the_simulator_codes():
    assert SETS["diabetes"].icd10 == ("E10", "E11", "E13") and SETS["diabetes"].icd9 == ("250",)
    assert SETS["hypertension"].icd10 == tuple(f"I{n}" for n in range(10, 17))
    assert SETS["hypertension"].icd9 == ("401", "402", "403", "404", "405")
    assert {"I20", "I25", "I48", "I50", "I63", "I64", "I70", "I73"} <= set(SETS["cvd"].icd10)
    assert {"410", "414", "4273", "428", "433", "437", "440", "443"} <= set(SETS["cvd"].icd9)
    assert {"T36", "T50", "T80", "T88"} <= set(SETS["complications"].icd10)
    assert {"960", "979", "9952", "996", "999"} <= set(SETS["complications"].icd9)


def test_case_study_conditions_share_no_prefix():
    """A patient without a condition can have no code of it through the code of another."""
    names = ("diabetes", "hypertension", "cvd", "complications")
    prefixes = [(name, prefix) for name in names for prefix in SETS[name].event_prefixes]
    overlapping = [(a, b) for a, p in prefixes for b, q in prefixes if a != b and p.startswith(q)]
    assert overlapping == []


def test_event_prefixes_name_the_version_so_that_equal_text_of_two_versions_differs():
    prefixes = SETS["sepsis"].event_prefixes
    assert "DIAGNOSIS//ICD//9//038" in prefixes and "ED_DIAGNOSIS//ICD//10//A41" in prefixes


@given(st.sampled_from(["", "E", "V"]), st.integers(10, 99), st.integers(0, 20))
def test_range_is_the_prefixes_between_its_ends(letter, first, length):
    last = min(first + length, 99)
    expected = tuple(f"{letter}{number}" for number in range(first, last + 1))
    assert expand_prefixes([f"{letter}{first}-{letter}{last}"]) == expected


@pytest.mark.parametrize("entry", ["", "I20-I10", "I10-J12", "I1-I10", "E11%", "E11'", "E11; DROP", "//", "E" * 9])
def test_what_is_no_code_is_refused(entry):
    with pytest.raises(ValueError, match="code"):
        expand_prefixes([entry])
