"""One column of categories (a binary one too): which levels may be drawn, and how rare ones are pooled.

What belongs here: how a category becomes a level, and back. What does not: numbers (`number_codec.py`),
dtypes and frames (`codec.py`).

A level stands for itself only if `minimum_patients` patients have it and it is in the schema's public
vocabulary, if there is one; the rest is pooled and comes back as `POOLED`, never as what it was. A pool of too
few patients, or one that the vocabulary does not have, comes back as the most frequent level. Missing is a level
only if `minimum_patients` patients miss the value; else their gaps come back as the pool or the most frequent level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

POOLED = "other"


@dataclass(frozen=True, kw_only=True)
class CategoryCodec:
    """One column of categories.

    Attributes
    ----------
    names
        What each level is drawn as; the pool, if there is one, is `POOLED`.
    shares
        float64 of shape (n_levels,): share of rows in each level, missing last if there is one; sums to 1.
    fallback
        Level of a category that is not in `names`: the pool, or else the most frequent level.
    may_be_missing
        Whether the last level means missing.
    """

    names: tuple[str, ...]
    shares: np.ndarray
    fallback: int
    may_be_missing: bool

    @classmethod
    def fit(
        cls,
        values: pd.Series,
        subject_id: np.ndarray,
        *,
        vocabulary: tuple[str, ...] | None = None,
        may_miss: bool = True,
        minimum_patients: int = 5,
    ) -> Self:
        """Learn which of `values` (text, NaN where missing) may be drawn, and how often."""
        codes, seen = pd.factorize(values, sort=True)
        levels = np.asarray(seen, dtype=object)
        stands = _patients_per_level(codes, subject_id, len(levels)) >= minimum_patients
        if vocabulary is not None:
            stands &= np.isin(levels, np.array(vocabulary, dtype=object))
        names = levels[stands].tolist()
        in_pool = np.isin(codes, np.flatnonzero(~stands))
        pool_is_shared = len(np.unique(subject_id[in_pool])) >= minimum_patients
        may_be_pooled = pool_is_shared and (vocabulary is None or POOLED in vocabulary)
        if may_be_pooled and POOLED not in names:
            names.append(POOLED)
        if not names and not may_miss:
            names = [vocabulary[0] if vocabulary else POOLED]
        # With no name left, every row is missing: nothing may be drawn as it was.
        gaps_are_shared = len(np.unique(subject_id[codes < 0])) >= minimum_patients
        is_missing = (codes < 0) & (may_miss and gaps_are_shared) if names else np.ones(len(codes), dtype=bool)
        level = pd.Index(names, dtype=object).get_indexer(values.astype(object))
        counts = np.bincount(level[(level >= 0) & ~is_missing], minlength=len(names))
        fallback = names.index(POOLED) if POOLED in names else int(counts.argmax()) if names else 0
        if names:
            counts[fallback] += ((level < 0) & ~is_missing).sum()
        may_be_missing = bool(is_missing.any())
        rows = np.append(counts, is_missing.sum()) if may_be_missing else counts
        return cls(names=tuple(names), shares=rows / rows.sum(), fallback=fallback, may_be_missing=may_be_missing)

    @property
    def n_levels(self) -> int:
        """All levels, the one for missing included."""
        return len(self.names) + self.may_be_missing

    @property
    def level_shares(self) -> np.ndarray:
        """float64 of shape (n_levels,): share of rows in each level; sums to 1."""
        return self.shares

    @property
    def level_positions(self) -> np.ndarray:
        """float64 of shape (n_levels,): zeros, for categories have no order."""
        return np.zeros(self.n_levels)

    def levels(self, values: pd.Series) -> np.ndarray:
        """Level of each value: text of shape (n,) to int64 of shape (n,)."""
        codes = pd.Index(self.names, dtype=object).get_indexer(values.astype(object))
        known = np.where(codes < 0, self.fallback, codes).astype(np.int64)
        return np.where(values.isna(), len(self.names), known) if self.may_be_missing else known

    def draw(self, levels: np.ndarray) -> np.ndarray:
        """The category of each level: int64 of shape (n,) to objects of shape (n,), None where missing."""
        return np.array([*self.names, None], dtype=object)[levels]

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What JSON and safetensors hold of it."""
        plain = {"names": list(self.names), "fallback": self.fallback, "may_be_missing": self.may_be_missing}
        return plain, {"shares": self.shares}


def _patients_per_level(codes: np.ndarray, subject_id: np.ndarray, n_levels: int) -> np.ndarray:
    """How many patients have each level."""
    pairs = pd.DataFrame({"level": codes, "patient": subject_id}).drop_duplicates()
    present = pairs["level"].to_numpy()
    return np.bincount(present[present >= 0], minlength=n_levels)
