"""Sets of ICD codes, as prefixes of each version.

What belongs here: the types, the ranges of prefixes, and the loader of `code_sets.yaml`. What a diagnosis event
looks like is in `mimic/`; which patients have one is found in `cohort/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from ehr_pipeline.clinical.catalogue import read_catalogue

_PREFIX = re.compile(r"[A-Z]?[0-9]{0,3}[0-9A-Z]{0,4}")
_RANGE = re.compile(r"([A-Z]?)([0-9]{2,4})-([A-Z]?)([0-9]{2,4})")


@dataclass(frozen=True, kw_only=True)
class CodeSet:
    """A condition as code prefixes: a code belongs if it starts with one of its version's prefixes."""

    title: str
    icd10: tuple[str, ...] = ()
    icd9: tuple[str, ...] = ()

    @property
    def event_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the event codes, of hospital and emergency diagnoses."""
        return tuple(
            f"{stream}DIAGNOSIS//ICD//{version}//{prefix}"
            for stream in ("", "ED_")
            for version, prefixes in ((10, self.icd10), (9, self.icd9))
            for prefix in prefixes
        )


def expand_prefixes(entries: Iterable[str]) -> tuple[str, ...]:
    """ICD prefixes from entries such as `E11`, `E11.9` or `I10-I16`, dots removed.

    >>> expand_prefixes(["E11.9", "I10-I12", "098-101"])
    ('E119', 'I10', 'I11', 'I12', '098', '099', '100', '101')

    Raises
    ------
    ValueError
        An entry is neither a prefix nor a range of one letter and equal length.
    """
    return tuple(prefix for entry in entries for prefix in _expand(entry.replace(".", "").upper()))


def _expand(entry: str) -> Iterable[str]:
    if found := _RANGE.fullmatch(entry):
        letter, first, last_letter, last = found.groups()
        if letter != last_letter or len(first) != len(last) or first > last:
            raise ValueError("a range of codes has one letter, one length and runs upwards, such as I10-I16")
        return [f"{letter}{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    if not entry or not _PREFIX.fullmatch(entry):
        raise ValueError("a code prefix is letters and digits, such as E11 or 4280, or a range such as I10-I16")
    return [entry]


@cache
def load_code_sets() -> dict[str, CodeSet]:
    """Every code set by name, in the order of the catalogue."""
    return {
        name: CodeSet(
            title=content["title"],
            icd10=expand_prefixes(content.get("icd10", ())),
            icd9=expand_prefixes(content.get("icd9", ())),
        )
        for name, content in read_catalogue("code_sets").items()
    }
