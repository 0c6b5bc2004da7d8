"""Words that stand for 0 and 1: how columns of two values are spelled everywhere.

What belongs here: the public pairs, and reading and writing by them. What does not: whether a column is binary
(`kinds.py`, or a schema file that says so).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import pyarrow as pa

from ehr_pipeline.tables.identifiers import words_of

PAIRS = (
    ("0", "1"),
    ("no", "yes"),
    ("n", "y"),
    ("false", "true"),
    ("f", "t"),
    ("f", "m"),
    ("female", "male"),
    ("w", "m"),
    ("woman", "man"),
    ("off", "on"),
    ("absent", "present"),
    ("negative", "positive"),
    ("neg", "pos"),
    ("0.0", "1.0"),
)
"""Spellings of 0 and of 1 in lower case; no word stands for both."""
_VALUE = {word: value for pair in PAIRS for value, word in enumerate(pair)}
_SEX = frozenset({"sex", "gender"})

Spelled = tuple[str, str]


def binary_value(word: str, spelled: Spelled | None) -> int | None:
    """0 or 1, or None for a word that is neither; a column's own two words come first."""
    if spelled is not None and word in spelled:
        return spelled.index(word)
    folded = word.strip().lower()
    if spelled is None or _is_known(spelled):
        return _VALUE.get(folded)
    own = [one.strip().lower() for one in spelled]
    return own.index(folded) if folded in own else None


def read_binary(words: pa.Array, spelled: Spelled) -> pd.Series:
    """Texts as Int8, missing where a text is neither word."""
    values = [None if word is None else binary_value(word, spelled) for word in words.to_pylist()]
    return pd.Series(values, dtype="Int8")


def write_binary(values: pd.Series, spelled: Spelled) -> pa.Array:
    """Int8 as the two words (string), null where missing."""
    indices = pa.array(values.astype("Int8"), from_pandas=True).cast(pa.int32())
    return pa.array(spelled, pa.string()).take(indices)


def spelling_of(words: pa.Array, counts: np.ndarray, levels: tuple[str, ...] | None) -> Spelled | None:
    """How a column whose distinct words are these spells 0 and 1, or None if one of them is neither.

    Two levels that a schema file gives are the words, 0 first; else each is spelled as most rows spell it.
    """
    own = words_of_levels(levels)
    values = [binary_value(word, own) for word in words.to_pylist()]
    if None in values:
        return None
    if own is not None:
        return own
    spelled: list[str | None] = [None, None]
    for place in np.argsort(-counts, kind="stable"):
        if spelled[values[place]] is None:
            spelled[values[place]] = words[int(place)].as_py()
    return _completed(spelled)


def public_spelling(name: str, levels: tuple[str, ...] | None) -> Spelled:
    """How a text column is spelled, as far as that is public: the schema's levels, else F, M for a sex, else 0, 1."""
    own = words_of_levels(levels)
    return own or (("F", "M") if _SEX & set(words_of(name)) else ("0", "1"))


def words_of_levels(levels: tuple[str, ...] | None) -> Spelled | None:
    """The two words that levels are, unless they are the values 0 and 1 themselves."""
    if levels is None or len(levels) != 2 or set(levels) <= {"0", "1", "0.0", "1.0"}:
        return None
    # Known words stand in their known order, however a file lists them.
    values = [_VALUE.get(level.strip().lower()) for level in levels]
    return (levels[1], levels[0]) if values == [1, 0] else (levels[0], levels[1])


def _is_known(spelled: Iterable[str]) -> bool:
    return [_VALUE.get(word.strip().lower()) for word in spelled] == [0, 1]


def _completed(spelled: list[str | None]) -> Spelled:
    """Both words, where one of them may not occur: its partner in the same case."""
    for value, word in enumerate(spelled):
        if word is None:
            there = spelled[1 - value]
            partner = next(pair[value] for pair in PAIRS if pair[1 - value] == there.strip().lower())
            spelled[value] = _case_of(there)(partner)
    return spelled[0], spelled[1]


def _case_of(word: str) -> Callable[[str], str]:
    if word.isupper():
        return str.upper
    return str.title if word.istitle() else str
