"""Diagnoses and procedures that one sex, or one age, cannot have: the figures of the rules R64 to R66, R68 and R70.

What belongs here: prefixes of event codes. What does not: counting who breaks a rule (`rules/`, `sanity/`).
"""

from __future__ import annotations

from functools import cache

from ehr_pipeline.clinical.code_sets import CodeSet, expand_prefixes, load_code_sets

PREGNANT_YEARS = (10, 60)
"""Ages, both included, at which pregnancy is coded."""
_FEMALE_ORGANS = (["C51-C58", "N70-N77", "N80-N98", "D25-D28"], ["179-184", "614-629"])
_MALE_ORGANS = (["C60-C63", "N40-N51"], ["185-187", "600-608"])
_UTERUS_OUT = ("PROCEDURE//ICD//10//0UT9", *(f"PROCEDURE//ICD//9//{n}" for n in range(683, 690)))
_PROSTATE_OUT = ("PROCEDURE//ICD//10//0VT0", *(f"PROCEDURE//ICD//9//{n}" for n in range(602, 607)))


@cache
def pregnancy_codes() -> tuple[str, ...]:
    """Prefixes of event codes of pregnancy, childbirth and puerperium."""
    return load_code_sets()["pregnancy"].event_prefixes


@cache
def codes_of_sex() -> dict[str, tuple[str, ...]]:
    """By sex (F, M) the prefixes of event codes that the other sex cannot have."""
    return {
        "F": (*pregnancy_codes(), *_diagnoses(*_FEMALE_ORGANS), *_UTERUS_OUT),
        "M": (*_diagnoses(*_MALE_ORGANS), *_PROSTATE_OUT),
    }


def _diagnoses(icd10: list[str], icd9: list[str]) -> tuple[str, ...]:
    return CodeSet(title="", icd10=expand_prefixes(icd10), icd9=expand_prefixes(icd9)).event_prefixes
