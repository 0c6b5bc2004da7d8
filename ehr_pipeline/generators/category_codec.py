"""One column of categories (a binary one too): which levels may be drawn, and how rare ones are pooled.

What belongs here: how a category becomes a level, and back. What does not: numbers (`number_codec.py`),
dtypes and frames (`codec.py`).

A level of the schema's public vocabulary stands for itself, however rare. Any other level stands for itself
only if `minimum_patients` patients have it; the rest is pooled and comes back as `POOLED`, never as what it
was. A pool of too few patients comes back as the most frequent level.
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
        n_rows = np.bincount(codes[codes >= 0], minlength=len(seen))
        n_patients = _patients_per_level(codes, subject_id, len(seen))
        is_public = np.isin(np.asarray(seen, dtype=object), np.array(vocabulary or (), dtype=object))
        stands = is_public if vocabulary is not None else n_patients >= minimum_patients
        n_pooled_rows = n_rows[~stands].sum()
        names, counts = np.asarray(seen, dtype=object)[stands].tolist(), n_rows[stands].tolist()
        pool_patients = len(np.unique(subject_id[np.isin(codes, np.flatnonzero(~stands))]))
        is_pooled = n_pooled_rows > 0 and (POOLED in vocabulary if vocabulary else pool_patients >= minimum_patients)
        if is_pooled and POOLED not in names:
            names, counts = [*names, POOLED], [*counts, 0]
        n_missing = int((codes < 0).sum()) if may_miss else 0
        if not names:  # nothing may be drawn as it was
            may_be_missing = may_miss
            names = [] if may_miss else [vocabulary[0] if vocabulary else POOLED]
            counts, n_missing = [len(codes)] * len(names), len(codes)
        else:
            may_be_missing = n_missing > 0
        fallback = names.index(POOLED) if is_pooled else int(np.argmax(counts)) if counts else 0
        if counts and len(codes):
            counts[fallback] = len(codes) - n_missing * may_be_missing - (sum(counts) - counts[fallback])
        rows = np.array([*counts, n_missing] if may_be_missing else counts, dtype=np.float64)
        return cls(names=tuple(names), shares=_to_shares(rows), fallback=fallback, may_be_missing=may_be_missing)

    @property
    def n_levels(self) -> int:
        """All levels, the one for missing included."""
        return len(self.names) + self.may_be_missing

    @property
    def level_shares(self) -> np.ndarray:
        """float64 of shape (n_levels,): share of rows in each level; sums to 1."""
        return self.shares

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


def _to_shares(rows: np.ndarray) -> np.ndarray:
    return rows / rows.sum() if rows.sum() > 0 else np.full(len(rows), 1 / max(1, len(rows)))
