"""Diagnoses and procedures that a sex or an age cannot have, by their ICD codes: public knowledge, nothing is learned.

What belongs here: which codes are closed to whom. What does not: rules of tables and their severity
(`clinical/rules/sex_age_disease.yaml`, whose ranges these are), drawing (`timeline_transformer.py`).

The codes are event codes such as `DIAGNOSIS//ICD//10//O80`, `ED_DIAGNOSIS//ICD//9//650` or `ICD10CM//O80.1`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from ehr_pipeline.clinical.code_sets import expand_prefixes
from ehr_pipeline.generators.static_facts import YEAR_MINUTES
from ehr_pipeline.generators.timelines import BIRTH

_ICD = re.compile(r"(?:.*//)?[A-Z_]*ICD(?://)?_?(9|10)(?:CM)?//([A-Z0-9.]+)")
PREGNANCY = {
    "10": (*(f"O{digit}" for digit in range(10)), *expand_prefixes(["Z33-Z34", "Z37", "Z39"])),
    "9": expand_prefixes(["630-679", "V22-V24", "V27"]),
}
FEMALE = {
    "10": expand_prefixes(["C51-C58", "N70-N77", "N80-N98", "D25-D28"]),
    "9": expand_prefixes(["179-184", "614-629"]),
}
MALE = {"10": expand_prefixes(["C60-C63", "N40-N51"]), "9": expand_prefixes(["185-187", "600-608"])}
MALE_ORGAN = {"9": expand_prefixes(["602-606"]), "10": ("0VT0",)}
FEMALE_ORGAN = {"9": expand_prefixes(["683-689"]), "10": ("0UT9",)}
"""Procedures that remove an organ."""
FERTILE_YEARS = (10.0, 61.0)
"""Nobody is pregnant before the first or from the second on."""
SEX_GROUPS = ("GENDER", "SEX")
_AGES = ("age", "anchor_age")


def is_of(codes: Iterable[str], prefixes: dict[str, tuple[str, ...]], *, procedures: bool = False) -> np.ndarray:
    """Which event codes are diagnoses (or procedures) of these prefixes: bool of shape (n_codes,)."""

    def belongs(code: str) -> bool:
        found = _ICD.fullmatch(code) if code.startswith("PROCEDURE") == procedures else None
        return found is not None and found[2].replace(".", "").startswith(prefixes[found[1]])

    return np.array([belongs(code) for code in codes], dtype=bool)


def sexes(static: pd.DataFrame, n: int) -> np.ndarray:
    """`M`, `F` or nothing for each of `n` patients, numbered from 1, by their static events: (n,)."""
    parts = static["code"].astype(str).str.upper().str.split("//", n=1)
    group, level = parts.str[0].to_numpy(), parts.str[1].fillna("").to_numpy()
    level = np.where(level == "", static["text_value"].astype(object).fillna("").astype(str).str.upper(), level)
    is_sex = np.isin(group, SEX_GROUPS)
    sex = np.full(n, "", dtype=object)
    sex[static["subject_id"].to_numpy()[is_sex] - 1] = [text[:1] for text in level[is_sex]]
    return sex


def ages(static: pd.DataFrame, origin: np.ndarray) -> np.ndarray:
    """Years of each patient at the origin by birth or a static age: float64 of shape (n,), NaN where unknown."""
    age = np.full(len(origin), np.nan)
    code, patient = static["code"].astype(str), static["subject_id"].to_numpy() - 1
    is_age = code.str.lower().isin(_AGES).to_numpy()
    age[patient[is_age]] = static["numeric_value"].to_numpy()[is_age]
    is_birth = (code == BIRTH).to_numpy()
    since = origin[patient[is_birth]] - static["time"].to_numpy()[is_birth].astype("datetime64[us]")
    age[patient[is_birth]] = since / np.timedelta64(1, "m") / YEAR_MINUTES
    return age


def closed_codes(codes: tuple[str, ...], sex: np.ndarray, age: np.ndarray) -> np.ndarray | None:
    """Which codes each patient cannot have: bool of shape (n, n_codes); None where that is none for anybody."""
    pregnancy, female, male = (is_of(codes, prefixes) for prefixes in (PREGNANCY, FEMALE, MALE))
    female |= is_of(codes, FEMALE_ORGAN, procedures=True)
    male |= is_of(codes, MALE_ORGAN, procedures=True)
    if not (pregnancy | female | male).any():
        return None
    is_too_old_or_young = (age < FERTILE_YEARS[0]) | (age >= FERTILE_YEARS[1])
    return (
        ((sex == "M")[:, None] & (pregnancy | female))
        | ((sex == "F")[:, None] & male)
        | (is_too_old_or_young[:, None] & pregnancy)
    )


def possible(static: pd.DataFrame, sex: np.ndarray, age: np.ndarray) -> pd.DataFrame:
    """The static events that their patients can have."""
    codes, place = np.unique(static["code"].astype(str).to_numpy(), return_inverse=True)
    closed = closed_codes(tuple(codes), sex, age)
    if closed is None:
        return static
    return static[~closed[static["subject_id"].to_numpy() - 1, place]]
