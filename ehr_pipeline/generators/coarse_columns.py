"""Columns of levels made coarse enough for a joint count: bins, and smooth numbers that a model reads of a level.

What belongs here: how levels of one column are joined into bins, the features that go with them, and both for columns
together. What does not: what is counted (`marginals.py`) and learned (`loglinear_chain.py`). Bins come from what a
codec says of its levels; no patient is looked at for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.number_codec import NumberCodec

Clique = tuple[int, ...]
"""Indices of columns, in the order of a chain: the last is explained by the others."""

CATEGORIES_PER_BIN = 2
"""A category is pooled with others if its share is less than that of an even bin by this factor, but for the first."""


@dataclass(frozen=True, eq=False)
class CoarseColumn:
    """One column's levels in bins.

    Attributes
    ----------
    bins
        int64 of shape (n_levels,): bin of each level.
    features
        float64 of shape (n_levels, n_features): what a model reads of a level; none if there is one bin. Numbers:
        orthonormal polynomials of the level's place, smooth ones larger, joined by straight lines between the middles
        of bins and beyond them. Categories and missing: whether the level is in a bin, less that bin's share.
    """

    bins: np.ndarray
    features: np.ndarray

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return int(self.bins.max()) + 1

    @classmethod
    def of(cls, codec: TableCodec, k: int, n_bins: int) -> Self:
        """The k-th column in about `n_bins` bins of even shares, heavy levels and missing apart."""
        column, shares = codec.columns[k], codec.level_shares[k]
        if isinstance(column, NumberCodec) and column.n_number_levels:
            return cls._of_numbers(column, shares, n_bins)
        return cls._of_categories(shares, n_bins)

    @classmethod
    def _of_numbers(cls, column: NumberCodec, shares: np.ndarray, n_bins: int) -> Self:
        n = column.n_number_levels
        bins = _even_bins(shares[:n], n_bins)
        features = _smooth(column.level_positions[:n], shares[:n], bins)
        if not column.may_be_missing:
            return cls(bins, features)
        features = np.pad(features, ((0, 1), (0, 1)))
        features[:, -1] = -shares[n]
        features[n, -1] += 1
        return cls(np.append(bins, bins[-1] + 1), features)

    @classmethod
    def _of_categories(cls, shares: np.ndarray, n_bins: int) -> Self:
        alone = shares >= 1 / (CATEGORIES_PER_BIN * n_bins)
        alone[np.argsort(-shares, kind="stable")[: n_bins // 2]] = True
        if (~alone).sum() == 1:
            alone[:] = True
        bins = np.where(alone, np.cumsum(alone) - 1, alone.sum())
        share = np.bincount(bins, weights=shares)
        indicator = np.eye(len(share))[bins] - share
        return cls(bins, indicator[:, 1:] if len(share) <= 2 else indicator)


@dataclass(frozen=True, eq=False)
class Grains:
    """Every column made coarse, once for each size of clique: the more columns, the fewer bins.

    Attributes
    ----------
    columns
        Size of clique to the columns.
    """

    columns: Mapping[int, Sequence[CoarseColumn]]

    def of(self, clique: Clique) -> Sequence[CoarseColumn]:
        """The columns as cliques of this size see them."""
        return self.columns[max(2, len(clique))]

    def n_cells(self, clique: Clique) -> int:
        """Number of cells of a clique's counts."""
        grain = self.of(clique)
        return int(np.prod([grain[k].n_bins for k in clique]))

    def cells(self, clique: Clique, levels: np.ndarray) -> np.ndarray:
        """The clique's cell of each row of levels, (n, d): int64 of shape (n,)."""
        grain = self.of(clique)
        cells = np.zeros(len(levels), dtype=np.int64)
        for k in clique:
            cells = cells * grain[k].n_bins + grain[k].bins[levels[:, k]]
        return cells

    def counts(self, clique: Clique, levels: np.ndarray) -> np.ndarray:
        """Rows in each cell: int64 of shape (n_cells,)."""
        return np.bincount(self.cells(clique, levels), minlength=self.n_cells(clique))

    def features(self, clique: Clique, levels: np.ndarray) -> np.ndarray:
        """Products of the features of all columns of `clique` but its last: float32 of shape (n, n_features)."""
        product, grain = np.ones((len(levels), 1), dtype=np.float32), self.of(clique)
        for k in clique[:-1]:
            one = grain[k].features.astype(np.float32)[levels[:, k]]
            product = (product[:, :, None] * one[:, None, :]).reshape(len(levels), -1)
        return product


def _even_bins(shares: np.ndarray, n_bins: int) -> np.ndarray:
    """Bins of levels in order, each of an even share or one level that is as heavy: int64 of shape (n_levels,)."""
    heavy = shares >= 1 / n_bins
    left = max(1, n_bins - int(heavy.sum()))
    target = shares[~heavy].sum() / left
    bins, filled = np.zeros(len(shares), dtype=np.int64), 0.0
    for level in range(1, len(shares)):
        filled += shares[level - 1]
        ends = heavy[level] or heavy[level - 1] or filled + shares[level] / 2 > target
        bins[level] = bins[level - 1] + ends
        filled = 0.0 if ends else filled
    return bins


def _smooth(positions: np.ndarray, shares: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Orthonormal polynomials over the bins, the r-th over r, at each level: (n_levels, n_bins - 1)."""
    n_bins = int(bins[-1]) + 1
    if n_bins == 1:
        return np.zeros((len(bins), 0))
    weights = np.maximum(np.bincount(bins, weights=shares), 1e-9)
    middles = np.bincount(bins, weights=np.maximum(shares, 1e-12) * positions)
    middles /= np.bincount(bins, weights=np.maximum(shares, 1e-12))
    powers = (middles / np.abs(middles).max())[:, None] ** np.arange(n_bins)
    root = np.sqrt(weights / weights.sum())
    orthonormal, _ = np.linalg.qr(powers * root[:, None])
    at_bins = (orthonormal / root[:, None])[:, 1:] / np.arange(1, n_bins)
    left = np.clip(np.searchsorted(middles, positions, side="right") - 1, 0, n_bins - 2)
    part = (positions - middles[left]) / (middles[left + 1] - middles[left])
    return at_bins[left] * (1 - part)[:, None] + at_bins[left + 1] * part[:, None]
