"""What a column is: decided from its distinct values and how often each occurs, one column at a time.

What belongs here: the rules, with their thresholds. What does not: how spellings are read (`number_format.py`,
`time_format.py`, `identifiers.py`) and where the values come from (`table.py`).

Minimum and maximum are not looked at: extremes belong to patients, and are a generator's to learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline.record import Kind
from ehr_pipeline.tables.identifiers import names_a_patient, names_a_row, names_an_identifier, words_of

MOST_LEVELS = 10_000
"""A column of words with more levels than this that patients share is taken as free text."""
FEW_NUMBERS = 20
"""Whole numbers with no more distinct values than this, and gaps between them, are codes."""
SHARED_ROWS = 5
"""A level that fewer rows have says nothing of what the column is."""
_CODES = frozenset({
    "code", "codes", "cd", "icd", "icd9", "icd10", "type", "class", "group", "grp", "category", "cat", "status",
    "zip", "zipcode", "postcode", "fips", "drg", "npi", "ndc", "cpt", "hcpcs", "snomed", "loinc", "rxnorm",
    "disposition", "flag",
})  # fmt: skip
_DATES = frozenset({
    "date", "dt", "day", "dob", "dod", "datum", "birth", "time",
})  # fmt: skip
CODE = r"^[A-Za-z]{0,3}\d[\w.\-/]*$"
CODE_WORD = r"^[A-Za-z]{1,3}\d"


@dataclass(frozen=True, kw_only=True)
class Distinct:
    """The distinct values of a column: how often each occurs, in how many rows in all, and whether they ascend."""

    values: np.ndarray
    counts: np.ndarray

    @property
    def n_rows(self) -> int:
        """Rows that have a value."""
        return int(self.counts.sum())

    @property
    def rows_each(self) -> float:
        """Rows per distinct value."""
        return self.n_rows / max(1, len(self.values))


def kind_of_numbers(name: str, distinct: Distinct, is_integer: bool) -> Kind:
    """Kind of a column of numbers: float64 or int64 values."""
    values = distinct.values
    if len(values) == 2 and set(values.tolist()) == {0, 1}:
        return "binary"
    if not is_integer:
        return "continuous"
    if _is_number_of_something(name, distinct):
        return "id"
    if len(values) > 1 and _is_code(name, distinct):
        return "categorical"
    return "integer"


def _is_number_of_something(name: str, distinct: Distinct) -> bool:
    """Whether whole numbers identify patients, visits or rows."""
    values, n_rows = distinct.values, distinct.n_rows
    if len(values) < n_rows:
        few_rows_each = distinct.rows_each < 20 and len(values) > FEW_NUMBERS
        return names_a_patient(name) or (names_an_identifier(name) and few_rows_each)
    if names_an_identifier(name) or names_a_row(name):
        return True
    span = int(values.max()) - int(values.min()) + 1 if n_rows else 1
    is_run = n_rows >= 50 and span == n_rows
    widths = np.char.str_len(values[:1000].astype(str))
    is_wide = n_rows >= 50 and int(widths.min()) >= 6 and int(widths.max()) == int(widths.min()) and values.min() > 0
    return bool(is_run or (is_wide and not _DATES & set(words_of(name))))


def _is_code(name: str, distinct: Distinct) -> bool:
    """Whether whole numbers stand for things: by the name, or many rows each on a sparse scale."""
    if len(distinct.values) > MOST_LEVELS:
        return False
    words = words_of(name)
    is_named = bool(set(words) & _CODES) or (bool(words) and words[-1].endswith(("id", "key", "code", "codes")))
    if is_named and distinct.rows_each >= SHARED_ROWS:
        return True
    values = np.sort(distinct.values[distinct.counts >= SHARED_ROWS].astype(np.int64))
    if len(values) < 2:
        return False
    step = int(np.gcd.reduce(np.diff(values)))
    filled = len(values) / ((int(values[-1]) - int(values[0])) // step + 1)
    if len(values) <= FEW_NUMBERS:
        return filled < 0.5 and distinct.rows_each >= 10
    return filled < 0.2 and distinct.rows_each >= 20


def is_quantity(name: str, distinct: Distinct, is_integer: bool) -> bool:
    """Whether numbers that stand among words would be a quantity if they stood alone."""
    if len(distinct.values) <= FEW_NUMBERS:
        return False
    return kind_of_numbers(name, distinct, is_integer) in ("continuous", "integer", "id")


def kind_of_words(name: str, spellings: pa.Array, counts: np.ndarray, shaped: bool) -> Kind:
    """Kind of a column of words; `shaped` tells that all have one of a few shapes with digits in them."""
    n_rows = int(counts.sum())
    rows_each = n_rows / len(spellings)
    if shaped and len(spellings) == n_rows and n_rows > SHARED_ROWS:
        return "id"
    if shaped and names_a_patient(name):
        return "id"
    if shaped and names_an_identifier(name) and rows_each < 20 and len(spellings) > FEW_NUMBERS:
        return "id"
    is_shared = counts >= SHARED_ROWS
    mostly_distinct = rows_each < 2 and len(spellings) > SHARED_ROWS
    hardly_shared = n_rows >= 100 and counts[is_shared].sum() < 0.1 * n_rows
    return "text" if mostly_distinct or hardly_shared or is_shared.sum() > MOST_LEVELS else "categorical"


def are_codes(spellings: pa.Array) -> bool:
    """Whether nearly all words look like codes (E11.9, 250, 03): a program that reads them expects nothing else."""
    return bool(len(spellings)) and (pc.mean(pc.match_substring_regex(spellings, CODE)).as_py() or 0) >= 0.9


def look_like_codes(spellings: pa.Array) -> bool:
    """Whether words among numbers look like codes themselves (V57 among 250 and 414)."""
    return (pc.mean(pc.match_substring_regex(spellings, CODE_WORD)).as_py() or 0) >= 0.5
