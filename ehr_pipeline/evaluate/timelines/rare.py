"""Codes and texts of few training patients that synthetic events repeat: counts alone, never which.

What belongs here: counting patients by code, and by text. What does not: whether a release may have any
(`release/checks.py`). A word that no training patient has is nobody's: it was put together, not repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from ehr_pipeline.evaluate.timelines.result import RareContent
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS

Carriers = Mapping[str, pd.Series]
"""How many patients have each code (`code`), and each text (`text`): int64, by the hash of the words."""


def carriers(events: pd.DataFrame, owner: pd.Series | None = None) -> Carriers:
    """Patients by word; `owner` says whose each subject_id is, where a patient has several."""
    whose = events["subject_id"] if owner is None else events["subject_id"].map(owner)
    return {kind: _counted(words, whose[words.index]) for kind, words in _words(events).items()}


def summed(parts: Iterable[Carriers]) -> Carriers:
    """The sums of counts over parts that share no patient."""
    parts = list(parts)
    return {kind: pd.concat([part[kind] for part in parts]).groupby(level=0).sum() for kind in parts[0]}


def rare_content(of_train: Carriers, synthetic: pd.DataFrame) -> RareContent:
    """Words of the synthetic events that fewer than `MINIMUM_PATIENTS` training patients have, and at least one."""
    n = {}
    for kind, words in _words(synthetic).items():
        known = of_train[kind]
        n[kind] = int((known[known.index.isin(words.unique())] < MINIMUM_PATIENTS).sum())
    return RareContent(minimum=MINIMUM_PATIENTS, n_codes=n["code"], n_texts=n["text"])


def _words(events: pd.DataFrame) -> dict[str, pd.Series]:
    """Hashes of the words that there are."""
    code = pd.Series(pd.util.hash_array(events["code"].astype("str").to_numpy(dtype=object)), events.index)
    if "text_value" not in events.columns:
        return {"code": code, "text": code.iloc[:0]}
    text = events["text_value"].dropna().astype("str")
    return {"code": code, "text": pd.Series(pd.util.hash_array(text.to_numpy(dtype=object)), text.index)}


def _counted(words: pd.Series, whose: pd.Series) -> pd.Series:
    pairs = pd.DataFrame({"word": words, "owner": whose}).drop_duplicates()
    return pairs["word"].value_counts()
