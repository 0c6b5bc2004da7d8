"""The column codec learned from noisy counts: what private generators share before they learn any dependence.

What belongs here: a column's public cells, its noisy histogram, and the codec that the histogram makes. What does not:
noise and accounting (`privacy/`), what is learned of several columns together.

Each patient counts once in one cell of each column (the first row of a patient stands for all), so a column's counts
move by at most 1. Bounds, grids and vocabularies come from the schema; a column without them is refused, never read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.category_codec import POOLED, CategoryCodec
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.number_codec import NumberCodec, level_starts
from ehr_pipeline.privacy.budget import GaussianMechanism
from ehr_pipeline.privacy.noise import noisy_counts
from ehr_pipeline.record import Column, Schema

MOST_CELLS = 256
"""A column of numbers is counted in about so many cells at most."""
TAIL_SHARE = 0.05
"""The outer parts of a column of numbers, in which fewer values are taken to lie the further out."""
MISSING = -1
"""Cell of what has no value, or a value outside a category's vocabulary, before it is counted."""


@dataclass(frozen=True, eq=False)
class NumberCells:
    """Cells of a column of numbers: points on its grid, or even runs of them; the bounds are cells of their own.

    Attributes
    ----------
    lower, upper
        float64 of shape (n_cells,), in order; equal where a cell is a single value.
    decimals
        Resolution of the column; None has none.
    """

    lower: np.ndarray
    upper: np.ndarray
    decimals: int | None

    @classmethod
    def of(cls, column: Column) -> NumberCells:
        """The cells of a column with public bounds."""
        decimals = 0 if column.kind == "integer" else column.decimals
        if decimals is None:
            edges = np.linspace(column.minimum, column.maximum, MOST_CELLS - 1)
            lower = np.concatenate([edges[:1], edges[:-1], edges[-1:]])
            upper = np.concatenate([edges[:1], edges[1:], edges[-1:]])
            return cls(lower, upper, None)
        step = 10.0**-decimals
        first, last = math.ceil(column.minimum / step - 1e-6), math.floor(column.maximum / step + 1e-6)
        if last <= first:
            point = np.array([round(min(first, last) * step, decimals)])
            return cls(point, point, decimals)
        inner = np.arange(first + 1, last)
        run = max(1, math.ceil(len(inner) / (MOST_CELLS - 2)))
        starts = np.concatenate([[first], inner[::run], [last]])
        stops = np.concatenate([[first], np.minimum(inner[::run] + run - 1, last - 1), [last]])
        half = np.where(stops > starts, 0.5, 0.0)
        lower, upper = ((edges * step).round(decimals + 1) for edges in (starts - half, stops + half))
        return cls(lower, upper, decimals)

    @property
    def is_point(self) -> np.ndarray:
        """Which cells are a single value, bool of shape (n_cells,)."""
        return self.lower == self.upper

    def index(self, values: np.ndarray) -> np.ndarray:
        """The cell of each value, `MISSING` where it is none: float64 of shape (n,) to int64.

        The bounds take what lies beyond them.
        """
        present = np.isfinite(values)
        on_grid = values if self.decimals is None else np.round(values, self.decimals)
        on_grid = np.clip(np.where(present, on_grid, self.lower[0]), self.lower[0], self.upper[-1])
        # Without a grid, the first and the last cell hold the bounds alone, and their neighbours all between.
        cell = np.searchsorted(self.upper, on_grid, side="left")
        if self.decimals is None:
            cell = np.where(on_grid >= self.upper[-1], len(self.upper) - 1, np.minimum(cell, len(self.upper) - 2))
        return np.where(present, np.clip(cell, 0, len(self.upper) - 1), MISSING)


class OneRowEach:
    """The first row of each patient of a table: what stands for the patient in a private fit."""

    def __init__(self, cohort: TrainingCohort) -> None:
        _, first = np.unique(cohort.subject_id, return_index=True)
        self.rows = np.sort(first)
        self.table = cohort.table

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> pd.Series:
        values = self.table[name]
        return values if len(self.rows) == len(values) else values.iloc[self.rows].reset_index(drop=True)


def require_public(schema: Schema) -> None:
    """Make sure that the schema says of each column what a private fit must not look up.

    Raises
    ------
    DefinitionError
        A column of numbers lacks bounds, one of categories its levels, or one holds times.
    """
    for column in schema.columns:
        if column.kind == "time":
            raise DefinitionError(f"column {column.name} holds times, which no private generator writes; leave it out")
        if column.is_number and (column.minimum is None or column.maximum is None):
            raise DefinitionError(
                f"column {column.name}: a private run needs its minimum and maximum in the schema, and looks none up"
            )
        if column.kind == "categorical" and column.levels is None:
            raise DefinitionError(
                f"column {column.name}: a private run needs its levels in the schema, and looks none up"
            )


def codec_mechanism(schema: Schema, noise: float) -> GaussianMechanism:
    """What `learn_private_codec` does to the budget, with `noise` in each column's counts."""
    return GaussianMechanism(name="histogram of each column", noise_multiplier=noise, steps=len(schema.columns))


def learn_private_codec(
    schema: Schema, rows: OneRowEach, noise: float, *, n_levels: int = 32
) -> tuple[TableCodec, int]:
    """The codec of each column from its noisy counts, and the noisy number of patients.

    Parameters
    ----------
    schema
        Columns to learn, as `require_public` wants them.
    noise
        Standard deviation of the discrete Gaussian noise in each count (`codec_mechanism`).
    """
    require_public(schema)
    counts = [noisy_counts(_counts(column, rows[column.name]), noise) for column in schema.columns]
    # Each column's counts sum to the patients; columns with fewer cells have less noise in their sum.
    n_cells = np.array([len(one) for one in counts])
    n_patients = max(1, round(float(np.average([one.sum() for one in counts], weights=1 / n_cells))))
    codecs = [
        _number_codec(column, noisy, noise, n_levels) if column.is_number else _category_codec(column, noisy, noise)
        for column, noisy in zip(schema.columns, counts, strict=True)
    ]
    return TableCodec(schema=schema, columns=tuple(codecs), time_steps_s=(0,) * len(codecs)), n_patients


def vocabulary_of(column: Column) -> tuple[str, ...]:
    """The public levels of a column of categories."""
    return ("0", "1") if column.kind == "binary" else column.levels


def _counts(column: Column, values: pd.Series) -> np.ndarray:
    """Patients in each public cell of a column, missing last where the schema lets it: int64 of shape (n_cells,)."""
    if column.is_number:
        cells = NumberCells.of(column)
        index, n_cells = cells.index(values.to_numpy(dtype="float64", na_value=np.nan)), len(cells.lower)
    else:
        names = vocabulary_of(column)
        text = values.astype("string") if column.kind != "binary" else values.astype("Int8").astype("string")
        index, n_cells = pd.Index(names, dtype=object).get_indexer(text.astype(object)), len(names)
        unknown = (index < 0) & text.notna().to_numpy()
        if POOLED in names:
            index[unknown] = names.index(POOLED)
    if column.missing:
        index = np.where(index < 0, n_cells, index)
        n_cells += 1
    return np.bincount(index[index >= 0], minlength=n_cells)


def _number_codec(column: Column, noisy: np.ndarray, noise: float, n_levels: int) -> NumberCodec:
    cells = NumberCells.of(column)
    mass = _smoothed(noisy[: len(cells.lower)], noise)
    missing = _missing_share(mass, noisy[-1], noise) if column.missing else 0.0
    stands = mass > 0
    lower, upper, mass = cells.lower[stands], cells.upper[stands], mass[stands]
    # A single value that is not heavy is an interval of its own grid step, so that neighbours may share a level.
    is_heavy = (lower == upper) & (mass >= mass.sum() / (2 * n_levels))
    half_step = (
        0.0 if cells.decimals is None else np.where((lower == upper) & ~is_heavy, 0.5 * 10.0**-cells.decimals, 0)
    )
    ranks = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
    ranks[-1] = 1.0
    return NumberCodec(
        decimals=cells.decimals,
        lowest=float(cells.lower[0]),
        highest=float(cells.upper[-1]),
        lower=lower - half_step,
        upper=upper + half_step,
        segment_ranks=ranks,
        level_starts=level_starts(ranks, is_heavy, n_levels, int(mass.sum()), max(1, round(noise))),
        missing_share=missing,
    )


def _category_codec(column: Column, noisy: np.ndarray, noise: float) -> CategoryCodec:
    names = vocabulary_of(column)
    counts = noisy[: len(names)]
    clear = counts > noise * math.sqrt(2 * math.log(max(2, len(names))))
    if not clear.any():
        clear = counts == counts.max()
    mass = np.where(clear, onto_simplex(counts, max(1.0, float(counts.sum()))), 0.0)
    mass = np.maximum(mass, np.where(clear, 1.0, 0.0))
    kept = [name for name, stands in zip(names, clear, strict=True) if stands]
    missing = _missing_share(mass, noisy[-1], noise) if column.missing else 0.0
    shares = mass[clear] / mass[clear].sum() * (1 - missing)
    fallback = kept.index(POOLED) if POOLED in kept else int(shares.argmax())
    return CategoryCodec(
        names=tuple(kept),
        shares=np.append(shares, missing) if missing else shares,
        fallback=fallback,
        may_be_missing=missing > 0,
    )


def _missing_share(mass: np.ndarray, missing: float, noise: float) -> float:
    """Share of rows without a value; 0 where their noisy count does not stand out of the noise."""
    return float(missing / (missing + mass.sum())) if missing > 3 * noise else 0.0


def _smoothed(counts: np.ndarray, noise: float) -> np.ndarray:
    """Noisy counts of neighbouring cells as masses: none negative, falling outwards in the tails, the total kept.

    The bounds' own cells, where values pile up, stand apart: each keeps its count where it stands out of the noise.
    """
    total = max(1.0, float(counts.sum()))
    mass = counts.astype(np.float64)
    if len(mass) < 5:
        return onto_simplex(mass, total)
    ends = np.zeros(len(mass), dtype=bool)
    ends[[0, -1]] = True
    ends &= mass > 4 * noise + 2 * np.median(mass)
    inner = np.flatnonzero(~ends)
    body = onto_simplex(mass[inner], max(1.0, total - float(mass[ends].sum())))
    upto = np.cumsum(body) / body.sum()
    low, high = int(np.searchsorted(upto, TAIL_SHARE)), int(np.searchsorted(upto, 1 - TAIL_SHARE))
    raw = mass[inner]
    body[:low] = _rising(raw[:low], noise)
    body[high + 1 :] = _rising(raw[high + 1 :][::-1], noise)[::-1]
    mass[inner] = body * max(1.0, total - float(mass[ends].sum())) / body.sum()
    return mass


def _rising(values: np.ndarray, noise: float) -> np.ndarray:
    """The nearest numbers that never fall (pool adjacent violators), 0 for as long as noise alone would give them."""
    from sklearn.isotonic import isotonic_regression

    if not len(values):
        return values
    rising = isotonic_regression(values.astype(np.float64))
    _, pool, n_pooled = np.unique(rising, return_inverse=True, return_counts=True)
    return np.where(rising * np.sqrt(n_pooled[pool]) > 2 * noise, rising, 0.0)


def onto_simplex(values: np.ndarray, total: float) -> np.ndarray:
    """The nearest numbers that are not negative and sum to `total` (Duchi et al. 2008, figure 1)."""
    ordered = np.sort(values.astype(np.float64))[::-1]
    excess = (np.cumsum(ordered) - total) / np.arange(1, len(ordered) + 1)
    last = int(np.flatnonzero(ordered > excess)[-1])
    return np.maximum(0.0, values - excess[last])
