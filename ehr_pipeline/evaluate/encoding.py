"""A patient table as arrays: numbers, level codes, cells, features. Every metric reads tables in this form.

What belongs here: how a column is read (number or category), and the few forms in which metrics want it.
What does not: any metric.

A column is continuous when its schema says continuous or time, or integer with more than
`MAX_CATEGORICAL_INTEGERS` distinct values in the training table; every other column is categorical. Missing
is a level of its own in a categorical column, and a cell of its own where numbers are binned. Text and id
columns are not compared.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ehr_pipeline.record import Column, Schema

MAX_CATEGORICAL_INTEGERS = 20
QUANTILE_BINS = 20
MAX_LEVELS = 100
SECONDS_PER_YEAR = 31_556_952
COMPARED_KINDS = ("continuous", "integer", "binary", "categorical", "time")


@dataclass(frozen=True)
class Encoded:
    """One table as arrays.

    Attributes
    ----------
    numbers
        float64 [n, c]: the continuous columns, missing as NaN, times in years.
    codes
        int32 [n, k]: the categorical columns; level ranks, then one code for levels the encoding has not
        seen, then one for missing.
    patient
        int64 [n]: whose row it is.
    """

    numbers: np.ndarray
    codes: np.ndarray
    patient: np.ndarray

    def __len__(self) -> int:
        return len(self.patient)

    def take(self, rows: np.ndarray) -> Encoded:
        """The rows with these numbers, in this order."""
        return Encoded(self.numbers[rows], self.codes[rows], self.patient[rows])

    def permuted(self, rng: np.random.Generator) -> Encoded:
        """Each column permuted on its own: the marginals without the dependence, each row its own patient."""
        return Encoded(rng.permuted(self.numbers, axis=0), rng.permuted(self.codes, axis=0), np.arange(len(self)))


@dataclass(frozen=True)
class Encoding:
    """How tables become arrays, as learned from one real table.

    Attributes
    ----------
    continuous, categorical
        Column names by the way they are read, each in the schema's order.
    levels
        Per categorical column its levels by falling frequency.
    edges
        Per continuous column the inner edges of its quantile bins.
    centre, scale
        float64 [c]: mean and standard deviation of the continuous columns (1 where that is 0).
    has_gaps
        bool [c]: whether a continuous column has missing values.
    """

    continuous: tuple[str, ...]
    categorical: tuple[str, ...]
    levels: tuple[pd.Index, ...]
    edges: tuple[np.ndarray, ...]
    centre: np.ndarray
    scale: np.ndarray
    has_gaps: np.ndarray

    @classmethod
    def learn(cls, real: pd.DataFrame, schema: Schema, like: Encoding | None = None) -> Encoding:
        """Learn from a real table; `like` fixes which columns are continuous."""
        columns = schema.of_kind(*COMPARED_KINDS)
        if like is None:
            continuous = tuple(column.name for column in columns if _is_continuous(column, real))
        else:
            continuous = like.continuous
        categorical = tuple(column.name for column in columns if column.name not in continuous)
        numbers = _numbers(real, continuous)
        present = [column[~np.isnan(column)] for column in numbers.T]
        inner = np.linspace(0, 1, QUANTILE_BINS + 1)[1:-1]
        return cls(
            continuous=continuous,
            categorical=categorical,
            levels=tuple(_level_values(real[name]).value_counts().index for name in categorical),
            edges=tuple(np.unique(np.quantile(values, inner)) if len(values) else np.empty(0) for values in present),
            centre=np.array([values.mean() if len(values) else 0.0 for values in present]),
            scale=np.array([(values.std() if len(values) else 0.0) or 1.0 for values in present]),
            has_gaps=np.isnan(numbers).any(axis=0),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All columns: continuous, then categorical."""
        return self.continuous + self.categorical

    def encode(self, table: pd.DataFrame, patient: np.ndarray | None = None) -> Encoded:
        """A table as arrays; without `patient` each row is its own patient."""
        codes = np.empty((len(table), len(self.categorical)), dtype=np.int32)
        for place, (name, levels) in enumerate(zip(self.categorical, self.levels, strict=True)):
            values = _level_values(table[name])
            code = levels.get_indexer(values)
            code[code < 0] = len(levels)
            code[values.isna()] = len(levels) + 1
            codes[:, place] = code
        patient = np.arange(len(table)) if patient is None else np.asarray(patient)
        return Encoded(_numbers(table, self.continuous), codes, patient)

    def missing(self, table: Encoded) -> np.ndarray:
        """Bool [n, c + k]: where a value is missing, columns as in `names`."""
        missing_code = np.array([len(levels) + 1 for levels in self.levels], dtype=np.int32)
        return np.hstack([np.isnan(table.numbers), table.codes == missing_code])

    def cells(self, table: Encoded) -> tuple[np.ndarray, np.ndarray]:
        """Every column as small whole numbers: (cells int64 [n, c + k], how many cells each column has).

        Numbers fall into the quantile bins, the last cell being missing; levels past the `MAX_LEVELS` most
        frequent share a cell, and so do all unseen ones.
        """
        binned = [
            np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))
            for values, edges in zip(table.numbers.T, self.edges, strict=True)
        ]
        pooled = [self._pooled(table, place) for place in range(len(self.categorical))]
        sizes = [len(edges) + 2 for edges in self.edges] + [self._pooled_size(levels) for levels in self.levels]
        by_column = np.array(binned + pooled, dtype=np.int64).reshape(len(sizes), len(table))
        return by_column.T, np.array(sizes, dtype=np.int64)  # a column lies in one piece: metrics read column by column

    def features(self, table: Encoded, skip: Collection[str] = ()) -> tuple[np.ndarray, np.ndarray]:
        """What trees read: numbers and pooled codes float32 [n, p], and which of them are categories bool [p]."""
        numbers = [table.numbers[:, place] for place in self._places(self.continuous, skip)]
        codes = [self._pooled(table, place) for place in self._places(self.categorical, skip)]
        features = np.column_stack(numbers + codes) if numbers or codes else np.empty((len(table), 0))
        return features.astype(np.float32), np.repeat([False, True], [len(numbers), len(codes)])

    def design(self, table: Encoded, skip: Collection[str] = ()) -> tuple[np.ndarray, np.ndarray]:
        """What linear models read: standardised numbers [n, c] and 0/1 level indicators [n, d], float32.

        A missing number stands at the mean, and a column with gaps has a two-level indicator of being missing.
        """
        places = self._places(self.continuous, skip)
        standard = np.nan_to_num((table.numbers[:, places] - self.centre[places]) / self.scale[places])
        indicators = [np.empty((len(table), 0), np.float32)]
        indicators += [
            _one_hot(np.isnan(table.numbers[:, place]).astype(int), 2) for place in places if self.has_gaps[place]
        ]
        indicators += [
            _one_hot(self._pooled(table, place), self._pooled_size(self.levels[place]))
            for place in self._places(self.categorical, skip)
        ]
        return standard.astype(np.float32), np.hstack(indicators)

    def code_of(self, name: str, level: float | str) -> int | None:
        """The code of a level of a categorical column; None for a level that the real table does not have."""
        levels = self.levels[self.categorical.index(name)]
        return int(levels.get_loc(level)) if level in levels else None

    def column(self, table: Encoded, name: str) -> np.ndarray:
        """Codes int32 [n] of a categorical column."""
        return table.codes[:, self.categorical.index(name)]

    def number(self, table: Encoded, name: str) -> np.ndarray:
        """Values float64 [n] of a continuous column."""
        return table.numbers[:, self.continuous.index(name)]

    def _pooled(self, table: Encoded, place: int) -> np.ndarray:
        codes, n_levels = table.codes[:, place], len(self.levels[place])
        kept = min(n_levels, MAX_LEVELS + 1)
        return np.where(codes < n_levels, np.minimum(codes, MAX_LEVELS), codes - n_levels + kept)

    @staticmethod
    def _pooled_size(levels: pd.Index) -> int:
        return min(len(levels), MAX_LEVELS + 1) + 2

    @staticmethod
    def _places(names: tuple[str, ...], skip: Collection[str]) -> list[int]:
        return [place for place, name in enumerate(names) if name not in skip]


def stack(first: Encoded, second: Encoded) -> Encoded:
    """The rows of both, whose patients are different people."""
    shift = first.patient.max() + 1 - second.patient.min() if len(first) and len(second) else 0
    return Encoded(
        np.vstack([first.numbers, second.numbers]),
        np.vstack([first.codes, second.codes]),
        np.concatenate([first.patient, second.patient + shift]),
    )


def draw(table: Encoded, size: int, rng: np.random.Generator) -> Encoded:
    """`size` rows drawn without replacement, in random order; all of them where there are no more."""
    return table.take(rng.permutation(len(table))[:size])


def numbered(patient: np.ndarray | pd.Series | None, n: int) -> np.ndarray:
    """Patients as 0, 1, 2, ... int64 [n]; without them each row is its own."""
    if patient is None:
        return np.arange(n)
    return np.unique(np.asarray(patient), return_inverse=True)[1].astype(np.int64)


def _is_continuous(column: Column, real: pd.DataFrame) -> bool:
    if column.kind == "integer":
        return real[column.name].nunique() > MAX_CATEGORICAL_INTEGERS
    return column.kind in ("continuous", "time")


def _numbers(table: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    """float64 [n, c]; infinite numbers count as missing."""
    columns = np.empty((len(table), len(names)))
    for place, name in enumerate(names):
        values = table[name]
        if pd.api.types.is_datetime64_any_dtype(values):
            years = (values - pd.Timestamp(0)).dt.total_seconds() / SECONDS_PER_YEAR + 1970
            columns[:, place] = years.to_numpy(float)
        else:
            columns[:, place] = values.astype("float64").to_numpy(float, na_value=np.nan)
    columns[~np.isfinite(columns)] = np.nan
    return columns


def _level_values(values: pd.Series) -> pd.Series:
    """Levels in a form equal between tables: floats for whole numbers, text for the rest."""
    if pd.api.types.is_numeric_dtype(values):
        return values.astype("float64")
    return values.astype("str")


def _one_hot(codes: np.ndarray, size: int) -> np.ndarray:
    indicators = np.zeros((len(codes), size), dtype=np.float32)
    indicators[np.arange(len(codes)), codes] = 1
    return indicators
