"""The column codec learned from noisy counts: what private generators share before they learn any dependence.

What belongs here: what is counted of each column, and the codec that the counts make. What does not: how noisy counts
of numbers become a histogram (`private_histogram.py`), noise and accounting (`privacy/`), several columns together.

Each patient counts once in one cell of each column (the first row of a patient stands for all), so a column's counts
move by at most 1. A column of numbers is counted twice, each time with a part of its budget: Gaussian mechanisms of
noises s / sqrt(a) and s / sqrt(1 - a) compose to one of noise s, also where the second depends on the first.
Bounds, grids and vocabularies come from the schema; a column without them is refused, never read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.category_codec import POOLED, CategoryCodec
from ehr_pipeline.generators.codec import ColumnCodec, TableCodec
from ehr_pipeline.generators.number_codec import NumberCodec, level_starts
from ehr_pipeline.generators.private_histogram import (
    FEWEST_RUNS,
    MOST_RUNS,
    NOISES_PER_RUN,
    NumberCells,
    even_runs,
    masses,
    onto_simplex,
)
from ehr_pipeline.privacy.budget import GaussianMechanism
from ehr_pipeline.privacy.noise import noisy_counts
from ehr_pipeline.record import Column, Schema

FIRST_SHARE = 0.3
"""Share of a column's budget for the count of all its cells; the rest is for the count of even runs of them."""


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
        if lack := _lack(column):
            raise DefinitionError(f"column {column.name}{lack}")


def public_part(schema: Schema) -> Schema:
    """The columns that `require_public` lets pass."""
    return schema.without(column.name for column in schema.columns if _lack(column))


def _lack(column: Column) -> str | None:
    """What is not publicly known of a column, as the rest of a sentence about it."""
    if column.kind == "time":
        return " holds times, which no private generator writes; leave it out"
    if column.is_number and (column.minimum is None or column.maximum is None):
        return ": a private run needs its minimum and maximum in the schema, and looks none up"
    if column.kind == "categorical" and column.levels is None:
        return ": a private run needs its levels in the schema, and looks none up"
    return None


def codec_mechanism(schema: Schema, noise: float) -> GaussianMechanism:
    """What `learn_private_codec` does to the budget, with `noise` in each column's counts."""
    return GaussianMechanism(name="histogram of each column", noise_multiplier=noise, steps=len(schema.columns))


def learn_private_codec(
    schema: Schema, rows: OneRowEach, noise: float | Sequence[float], *, n_levels: int = 32
) -> tuple[TableCodec, int]:
    """The codec of each column from its noisy counts, and the noisy number of patients.

    Parameters
    ----------
    schema
        Columns to learn, as `require_public` wants them.
    noise
        Standard deviation of discrete Gaussian noise that a column's counts come to in all (`codec_mechanism`): one for
        all columns, or one for each.
    """
    require_public(schema)
    each = np.broadcast_to(noise, len(schema.columns)).tolist()
    histograms = [_Histogram(column, rows[column.name], own) for column, own in zip(schema.columns, each, strict=True)]
    n_first = _n_patients([one.first for one in histograms], [one.first_noise for one in histograms])
    for histogram in histograms:
        histogram.count_runs(n_first)
    n_patients = _n_patients([one.last for one in histograms], [one.last_noise for one in histograms])
    codecs = [histogram.codec(n_patients, n_levels) for histogram in histograms]
    return TableCodec(schema=schema, columns=tuple(codecs), time_steps_s=(0,) * len(codecs)), n_patients


def _n_patients(counts: list[np.ndarray], noises: list[float]) -> int:
    """Patients by columns' counts: each column's sum to them, the more precisely the fewer cells it has."""
    precision = [1 / (noise**2 * len(one)) for one, noise in zip(counts, noises, strict=True)]
    return max(1, round(np.average([one.sum() for one in counts], weights=precision)))


def vocabulary_of(column: Column) -> tuple[str, ...]:
    """The public levels of a column of categories."""
    return ("0", "1") if column.kind == "binary" else column.levels


class _Histogram:
    """What is counted of one column, in which cells, with what noise.

    Attributes
    ----------
    first, first_noise
        Noisy counts of all public cells, missing last where the schema lets it, and their standard deviation.
    last, last_noise
        Noisy counts of even runs of them, likewise; of a column with few cells, the first ones again.
    """

    def __init__(self, column: Column, values: pd.Series, noise: float) -> None:
        self.column, self.noise = column, noise
        self.cells = NumberCells.of(column) if column.is_number else None
        self.n_cells = len(self.cells or vocabulary_of(column))
        self.is_counted_twice = column.is_number and self.n_cells > FEWEST_RUNS
        self.first_noise = noise / math.sqrt(FIRST_SHARE) if self.is_counted_twice else noise
        self.exact = cell_counts(column, values)
        self.first = noisy_counts(self.exact, self.first_noise)
        self.last, self.last_noise, self.starts = self.first, self.first_noise, np.arange(self.n_cells)

    def count_runs(self, n_patients: int) -> None:
        """Count again, in runs of cells that are about even, as many as `n_patients` bear."""
        if not self.is_counted_twice:
            return
        self.last_noise = self.noise / math.sqrt(1 - FIRST_SHARE)
        n_runs = int(np.clip(n_patients / (NOISES_PER_RUN * self.last_noise), FEWEST_RUNS, MOST_RUNS))
        self.starts = even_runs(self.first[: self.n_cells], self.first_noise, n_runs)
        at = np.append(self.starts, self.n_cells) if self.column.missing else self.starts
        self.last = noisy_counts(np.add.reduceat(self.exact, at), self.last_noise)

    def codec(self, n_patients: int, n_levels: int) -> ColumnCodec:
        """What the counts say of the column."""
        if self.cells is None:
            return _category_codec(self.column, self.first, self.noise)
        missing = _missing_share(self.last[-1], n_patients, self.last_noise) if self.column.missing else 0.0
        mass = masses(
            self.first[: self.n_cells],
            self.first_noise,
            self.starts,
            self.last[: len(self.starts)],
            self.last_noise,
            total=max(1.0, n_patients * (1 - missing)),
        )
        return number_codec_of(self.cells, mass, missing, self.noise, n_levels)


def cell_counts(column: Column, values: pd.Series) -> np.ndarray:
    """Patients in each public cell of a column, missing last where the schema lets it: int64 of shape (n_cells,)."""
    if column.is_number:
        cells = NumberCells.of(column)
        index, n_cells = cells.index(values.to_numpy(dtype="float64", na_value=np.nan)), len(cells)
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


def number_codec_of(
    cells: NumberCells, mass: np.ndarray, missing_share: float, noise: float, n_levels: int
) -> NumberCodec:
    """The codec of a column of numbers from the mass of its cells, float64 of shape (n_cells,)."""
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
        missing_share=missing_share,
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
    missing = _missing_share(noisy[-1], mass.sum() + noisy[-1], noise) if column.missing else 0.0
    shares = mass[clear] / mass[clear].sum() * (1 - missing)
    fallback = kept.index(POOLED) if POOLED in kept else int(shares.argmax())
    return CategoryCodec(
        names=tuple(kept),
        shares=np.append(shares, missing) if missing else shares,
        fallback=fallback,
        may_be_missing=missing > 0,
    )


def _missing_share(missing: float, total: float, noise: float) -> float:
    """Share of rows without a value; 0 where their noisy count does not stand out of the noise."""
    return float(min(1.0, missing / total)) if missing > 3 * noise else 0.0
