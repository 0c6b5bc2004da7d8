"""How near each column of a table comes to the training table, on its own.

What belongs here: distances of single columns and their summaries. What does not: anything about two
columns at once (`dependence.py`).

KS: the largest gap of the distribution functions, present values. TVD: half the summed difference of level
shares, missing and unseen levels included. KL: Kullback-Leibler divergence of the table from training, in
nats, over quantile bins or levels with half a row added to each cell so that it stays finite. Errors of
means are in training standard deviations, those of standard deviations relative.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.intervals import Resampling, read, shares
from ehr_pipeline.evaluate.scoring import Readings

MAX_GRID = 512

Sides = tuple[tuple[Encoded, Resampling], tuple[Encoded, Resampling]]
"""The training table and the other one, each with its resampling."""


class Marginals:
    """Distances of single columns between the training table and tables in its place."""

    def __init__(self, train: Encoded, encoding: Encoding, rng: np.random.Generator) -> None:
        self.train = train
        self.encoding = encoding
        self.once = Resampling(train.patient, None)
        self.resampling = Resampling(train.patient, rng)

    def readings(self, table: Encoded, rng: np.random.Generator | None = None) -> Readings:
        """All scores of single columns; with `rng` they have bootstrap intervals over patients."""
        distances, divergences = self._distances(table, rng), self._divergences(table, rng)
        sides, encoding = self._sides(table, rng), self.encoding
        means, deviations = self._moments(sides)
        proportions = [self._level_errors(sides, place) for place in range(len(encoding.categorical))]
        missing = [resampling.sums(encoding.missing(t).astype(float)) / resampling.n_rows() for t, resampling in sides]
        return {
            **_mean_and_worst("ks", {name: distances[name] for name in encoding.continuous}),
            **_mean_and_worst("tvd", {name: distances[name] for name in encoding.categorical}),
            **_mean_and_worst("kl", divergences),
            "mean_error": read(_mean_of_columns(means)),
            "std_error": read(_mean_of_columns(deviations)),
            "proportion_error": read(np.hstack(proportions).mean(axis=1) if any(p.size for p in proportions) else None),
            "missing_rate_error": read(np.abs(missing[0] - missing[1]).mean(axis=1) if encoding.names else None),
        }

    def distances(self, table: Encoded) -> dict[str, float]:
        """KS of each continuous column and TVD of each categorical one, by column name."""
        return {name: float(found[0]) for name, found in self._distances(table, None).items()}

    def divergences(self, table: Encoded) -> dict[str, float]:
        """KL divergence of each column, by column name."""
        return {name: float(found[0]) for name, found in self._divergences(table, None).items()}

    def _sides(self, table: Encoded, rng: np.random.Generator | None) -> Sides:
        return (self.train, self.once if rng is None else self.resampling), (table, Resampling(table.patient, rng))

    def _distances(self, table: Encoded, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        """KS and TVD [1 + n_replicates] by column name."""
        sides, found = self._sides(table, rng), {}
        for name in self.encoding.continuous:
            columns = [self.encoding.number(t, name) for t, _ in sides]
            replicates = [] if rng is None else _ks_replicates(columns, [resampling for _, resampling in sides])
            found[name] = np.array([ks_distance(*columns), *replicates])
        for place, name in enumerate(self.encoding.categorical):
            size = len(self.encoding.levels[place]) + 2
            p, q = (shares(resampling.counts(t.codes[:, place], size)) for t, resampling in sides)
            found[name] = total_variation(p, q)
        return found

    def _divergences(self, table: Encoded, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        """KL [1 + n_replicates] by column name."""
        (real, sizes), (other, _) = self.encoding.cells(self.train), self.encoding.cells(table)
        resamplings, found = [resampling for _, resampling in self._sides(table, rng)], {}
        for place, name in enumerate(self.encoding.names):
            p, q = (
                shares(resampling.counts(cells[:, place], int(sizes[place])) + 0.5)
                for cells, resampling in zip((real, other), resamplings, strict=True)
            )
            found[name] = (p * np.log(p / q)).sum(axis=-1)
        return found

    def _moments(self, sides: Sides) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Errors of mean and of standard deviation [1 + n_replicates], per continuous column that varies.

        The unit is the deviation of the training column itself, not of its replicates: where few values are
        present a replicate may have drawn equal ones, whose deviation is next to nothing.
        """
        means, deviations = [], []
        for place in range(len(self.encoding.continuous)):
            (mean, deviation), (other_mean, other_deviation) = (
                self._mean_and_deviation(t.numbers[:, place], place, resampling) for t, resampling in sides
            )
            if deviation[0] > 0 and np.isfinite(other_mean[0]):
                means.append(np.abs(other_mean - mean) / deviation[0])
                deviations.append(np.abs(other_deviation - deviation) / deviation[0])
        return means, deviations

    def _mean_and_deviation(
        self, values: np.ndarray, place: int, resampling: Resampling
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [1 + n_replicates] of present values, in training's standard units."""
        present = ~np.isnan(values)
        standard = np.where(present, (values - self.encoding.centre[place]) / self.encoding.scale[place], 0)
        sums = resampling.sums(np.column_stack([present, standard, standard**2]).astype(float))
        n = np.where(sums[:, 0] > 0, sums[:, 0], np.nan)
        mean = sums[:, 1] / n
        return mean, np.sqrt(np.maximum(sums[:, 2] / n - mean**2, 0))

    def _level_errors(self, sides: Sides, place: int) -> np.ndarray:
        """Absolute errors [1 + n_replicates, levels] of the shares of a column's levels."""
        n_levels = len(self.encoding.levels[place])
        p, q = (shares(resampling.counts(t.codes[:, place], n_levels + 2)) for t, resampling in sides)
        return np.abs(p - q)[:, :n_levels]


def ks_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of two samples, missing values aside.

    1 where only one of the two has values, 0 where neither has.

    >>> ks_distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0, 5.0, 6.0]))
    0.5
    """
    a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    if not len(a) or not len(b):
        return float(len(a) != len(b))
    points = np.concatenate([a, b])
    gap = np.searchsorted(a, points, side="right") / len(a) - np.searchsorted(b, points, side="right") / len(b)
    return float(np.abs(gap).max())


def total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Half the summed absolute difference of distributions [..., cells].

    >>> float(total_variation(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25])))
    0.25
    """
    return 0.5 * np.abs(p - q).sum(axis=-1)


def _ks_replicates(columns: list[np.ndarray], resamplings: list[Resampling]) -> np.ndarray:
    """KS [n_replicates] on at most `MAX_GRID` points: near enough for a standard error."""
    pooled = np.concatenate(columns)
    pooled = pooled[~np.isnan(pooled)]
    if not len(pooled):
        return np.zeros(len(resamplings[0].weights) - 1)
    grid = np.unique(np.quantile(pooled, np.linspace(0, 1, MAX_GRID)))
    below = []
    for values, resampling in zip(columns, resamplings, strict=True):
        place = np.where(np.isnan(values), len(grid) + 1, np.searchsorted(grid, values, side="left"))
        counts = resampling.counts(place, len(grid) + 2)[1:, :-1]
        below.append(np.cumsum(shares(counts), axis=1))
    return np.abs(below[0] - below[1]).max(axis=1)


def _mean_of_columns(columns: list[np.ndarray]) -> np.ndarray | None:
    """Mean [1 + n_replicates] over the columns that have a value in a replicate; NaN where none has."""
    if not columns:
        return None
    is_known = np.isfinite(columns)
    n_known = is_known.sum(axis=0)
    return np.where(n_known > 0, np.where(is_known, columns, 0).sum(axis=0) / np.maximum(n_known, 1), np.nan)


def _mean_and_worst(name: str, found: dict[str, np.ndarray]) -> Readings:
    if not found:
        none = read(None, "no column of this kind")
        return {f"{name}_mean": none, f"{name}_max": none}
    worst = max(found, key=lambda column: found[column][0])
    columns = list(found.values())
    return {
        f"{name}_mean": read(np.mean(columns, axis=0)),
        f"{name}_max": read(np.max(columns, axis=0), f"worst column: {worst}"),
    }
