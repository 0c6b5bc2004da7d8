"""The patient table on its schema: impossible values to missing, resolution, categories on public levels.

What belongs here: one function per kind of column, each a deterministic map of the column alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ehr_pipeline.clinical.vocabularies import Vocabulary
from ehr_pipeline.record import Column


def prepare_number(values: pd.Series, column: Column) -> tuple[pd.Series, int]:
    """The numbers inside [minimum, maximum], on the column's decimals, and how many others were set to missing."""
    numbers = values.astype("float64")
    lowest = -np.inf if column.minimum is None else column.minimum
    highest = np.inf if column.maximum is None else column.maximum
    prepared = numbers.where(np.isfinite(numbers) & numbers.between(lowest, highest))
    if column.decimals is not None:
        prepared = prepared.round(column.decimals)
        prepared = prepared.where(prepared.between(lowest, highest))  # a limit may lie between two steps
    return prepared, int(numbers.notna().sum() - prepared.notna().sum())


def prepare_category(values: pd.Series, vocabulary: Vocabulary) -> tuple[pd.Series, int]:
    """Each wording as its level, and how many wordings the vocabulary does not know."""
    wordings = values.dropna().unique()
    levels = {wording: vocabulary.level_of(wording) for wording in wordings}
    known = {wording for wording in wordings if vocabulary.knows(wording)}
    prepared = values.map(levels).astype("str")
    if vocabulary.missing is not None:
        prepared = prepared.fillna(vocabulary.missing)
    return prepared, int((values.notna() & ~values.isin(known)).sum())


def prepare_text(values: pd.Series) -> pd.Series:
    """Text with single spaces; empty text is missing."""
    texts = {text: " ".join(text.split()) or None for text in values.dropna().unique()}
    return values.map(texts).astype("str")
