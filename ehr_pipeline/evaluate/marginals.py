"""How near each column of a table comes to the training table, on its own.

What belongs here: distances of single columns and their summaries. What does not: anything about two
columns at once (`dependence.py`).

KS: the largest gap of the distribution functions, present values. TVD: half the summed difference of level
shares, missing and unseen levels included. KL: Kullback-Leibler divergence of the table from training, in
nats, over quantile bins or levels with half a row added to each cell so that it stays finite.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.intervals import Resampling, around, shares
from ehr_pipeline.evaluate.scoring import Reading, Readings

MAX_GRID = 512


class Marginals:
    """Distances of single columns between the training table and tables in its place."""

    def __init__(self, train: Encoded, encoding: Encoding, rng: np.random.Generator) -> None:
        self.train = train
        self.encoding = encoding
        self.resampling = Resampling(train.patient, rng)

    def distances(self, table: Encoded) -> dict[str, float]:
        """KS of each continuous column and TVD of each categorical one, by column name."""
        found = {
            name: ks_distance(self.encoding.number(self.train, name), self.encoding.number(table, name))
            for name in self.encoding.continuous
        }
        for name, levels in zip(self.encoding.categorical, self.encoding.levels, strict=True):
            size = len(levels) + 2
            p, q = (shares(np.bincount(self.encoding.column(t, name), minlength=size)) for t in (self.train, table))
            found[name] = total_variation(p, q)
        return found

    def divergences(self, table: Encoded) -> dict[str, float]:
        """KL divergence of each column, by name."""
        (real, sizes), (other, _) = self.encoding.cells(self.train), self.encoding.cells(table)
        found = {}
        for place, name in enumerate(self.encoding.names):
            p, q = (shares(np.bincount(cells[:, place], minlength=sizes[place]) + 0.5) for cells in (real, other))
            found[name] = float((p * np.log(p / q)).sum())
        return found

    def readings(self, table: Encoded) -> Readings:
        """All scores of single columns, without intervals."""
        distances, encoding = self.distances(table), self.encoding
        divergences = self.divergences(table)
        error = np.abs(encoding.missing(self.train).mean(axis=0) - encoding.missing(table).mean(axis=0))
        return {
            **_mean_and_worst("ks", {name: distances[name] for name in encoding.continuous}),
            **_mean_and_worst("tvd", {name: distances[name] for name in encoding.categorical}),
            **_mean_and_worst("kl", divergences),
            **self._moments(table),
            "proportion_error": Reading(self._proportion_error(table)),
            "missing_rate_error": Reading(float(error.mean()) if error.size else None),
        }

    def readings_with_intervals(self, table: Encoded, rng: np.random.Generator) -> Readings:
        """All scores of single columns with 95 % bootstrap intervals over patients."""
        replicates = self._replicates(table, Resampling(table.patient, rng))
        found = {}
        for name, reading in self.readings(table).items():
            if reading.value is not None and name in replicates:
                low, high = around(reading.value, float(np.nanstd(replicates[name])))
                reading = reading._replace(low=low, high=high)  # noqa: PLW2901 the same reading, completed
            found[name] = reading
        return found

    def _moments(self, table: Encoded) -> Readings:
        """Mean error in training standard deviations, and relative error of standard deviations, over columns."""
        means, deviations = [], []
        for real, other in zip(self.train.numbers.T, table.numbers.T, strict=True):
            real, other = real[~np.isnan(real)], other[~np.isnan(other)]  # noqa: PLW2901 present values only
            if len(real) > 1 and len(other) > 1 and real.std() > 0:
                means.append(abs(other.mean() - real.mean()) / real.std())
                deviations.append(abs(other.std() / real.std() - 1))
        note = None if means else "no continuous column varies in both tables"
        return {
            "mean_error": Reading(float(np.mean(means)) if means else None, note=note),
            "std_error": Reading(float(np.mean(deviations)) if means else None, note=note),
        }

    def _proportion_error(self, table: Encoded) -> float | None:
        """Mean absolute error of level shares, over all levels of training."""
        errors = [
            np.abs(shares(np.bincount(p, minlength=size + 2)) - shares(np.bincount(q, minlength=size + 2)))[:size]
            for p, q, size in zip(self.train.codes.T, table.codes.T, map(len, self.encoding.levels), strict=True)
        ]
        flat = np.concatenate(errors) if errors else np.empty(0)
        return float(flat.mean()) if flat.size else None

    def _replicates(self, table: Encoded, resampling: Resampling) -> dict[str, np.ndarray]:
        """Bootstrap replicates [REPLICATES] of every score."""
        encoding, sides = self.encoding, ((self.train, self.resampling), (table, resampling))
        ks, tvd, kl, proportion = [], [], [], []
        for place in range(len(encoding.continuous)):
            pooled = np.concatenate([t.numbers[:, place] for t, _ in sides])
            grid = np.unique(np.nanquantile(pooled, np.linspace(0, 1, MAX_GRID))) if (~np.isnan(pooled)).any() else []
            below = [_cumulative(r, t.numbers[:, place], np.asarray(grid)) for t, r in sides]
            ks.append(np.abs(below[0] - below[1]).max(axis=1))
        for place, levels in enumerate(encoding.levels):
            p, q = (shares(r.counts(t.codes[:, place], len(levels) + 2)) for t, r in sides)
            tvd.append(0.5 * np.abs(p - q).sum(axis=1))
            proportion.append(np.abs(p - q)[:, : len(levels)])
        cells = [encoding.cells(t) for t, _ in sides]
        for place, size in enumerate(cells[0][1]):
            p, q = (shares(r.counts(c[:, place], size) + 0.5) for (c, _), (_, r) in zip(cells, sides, strict=True))
            kl.append((p * np.log(p / q)).sum(axis=1))
        missing = [shares_of_rows(r, encoding.missing(t)) for t, r in sides]
        found = {"missing_rate_error": np.abs(missing[0] - missing[1]).mean(axis=1) if len(encoding.names) else None}
        found |= self._moment_replicates(sides)
        for name, columns in (("ks", ks), ("tvd", tvd), ("kl", kl)):
            if columns:
                found |= {f"{name}_mean": np.mean(columns, axis=0), f"{name}_max": np.max(columns, axis=0)}
        if proportion:
            found["proportion_error"] = np.hstack(proportion).mean(axis=1)
        return {name: values for name, values in found.items() if values is not None}

    @staticmethod
    def _moment_replicates(sides: tuple[tuple[Encoded, Resampling], ...]) -> dict[str, np.ndarray]:
        moments = []
        for table, resampling in sides:
            present = ~np.isnan(table.numbers)
            centre = sides[0][0].numbers
            shift = np.nanmean(np.where(present.any(axis=0), centre, 0), axis=0) if len(centre) else 0
            values = np.where(present, table.numbers - np.nan_to_num(shift), 0)
            n = np.maximum(resampling.sums(present.astype(float)), 1)
            mean = resampling.sums(values) / n
            moments.append((mean, np.sqrt(np.maximum(resampling.sums(values**2) / n - mean**2, 0))))
        (mean, deviation), (other_mean, other_deviation) = moments
        varies = np.nanstd(sides[0][0].numbers, axis=0) > 0 if len(sides[0][0]) else np.zeros(0, bool)
        if not varies.any():
            return {}
        scale = np.where(deviation[:, varies] > 0, deviation[:, varies], np.nan)
        return {
            "mean_error": np.nanmean(np.abs(other_mean[:, varies] - mean[:, varies]) / scale, axis=1),
            "std_error": np.nanmean(np.abs(other_deviation[:, varies] / scale - 1), axis=1),
        }


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


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the summed absolute difference of two distributions.

    >>> total_variation(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25]))
    0.25
    """
    return float(0.5 * np.abs(p - q).sum())


def shares_of_rows(resampling: Resampling, is_true: np.ndarray) -> np.ndarray:
    """Share of rows where each column of bool [n, p] is true, in every replicate [REPLICATES, p]."""
    n_rows = resampling.sums(np.ones((len(is_true), 1)))
    return resampling.sums(is_true.astype(float)) / np.maximum(n_rows, 1)


def _cumulative(resampling: Resampling, values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Distribution function at the grid's points, in every replicate [REPLICATES, len(grid) + 1]."""
    place = np.where(np.isnan(values), len(grid) + 1, np.searchsorted(grid, values, side="left"))
    counts = resampling.counts(place, len(grid) + 2)[:, :-1]
    return np.cumsum(shares(counts), axis=1)


def _mean_and_worst(name: str, values: dict[str, float]) -> Readings:
    if not values:
        none = Reading(None, note="no column of this kind")
        return {f"{name}_mean": none, f"{name}_max": none}
    worst = max(values, key=lambda column: values[column])
    return {
        f"{name}_mean": Reading(float(np.mean(list(values.values())))),
        f"{name}_max": Reading(values[worst], note=f"worst column: {worst}"),
    }
