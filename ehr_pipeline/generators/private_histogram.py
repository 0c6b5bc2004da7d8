"""The histogram of one column of numbers from noisy counts: where to count finely, and what the counts say.

What belongs here: a column's public cells, runs of cells that are worth a second count, and the masses that both counts
make probable. What does not: noise (`privacy/noise.py`), the codec that the masses become (`private_codec.py`).

The noise of a count does not depend on how much is counted, so cells should hold about the same: a first count of all
public cells finds about where the values are, a second one counts even runs of them (adaptive grids as in Qardaji,
Yang, Li 2013, https://arxiv.org/abs/1209.1322), point masses in runs of their own. All but the counts is free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import median_filter, uniform_filter1d

from ehr_pipeline.record import Column

MOST_CELLS = 256
"""A column of numbers is counted in about so many cells at most."""
MISSING = -1
"""Cell of what has no value, or a value outside a category's vocabulary, before it is counted."""
MOST_RUNS, FEWEST_RUNS = 64, 6
"""Runs of the second count."""
NOISES_PER_RUN = 12
"""An even run holds so many standard deviations of the noise, if that leaves enough of them."""
WINDOW = 9
"""Cells around a cell that say whether it stands out."""


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

    def __len__(self) -> int:
        return len(self.lower)

    def index(self, values: np.ndarray) -> np.ndarray:
        """The cell of each value, `MISSING` where it is none: float64 of shape (n,) to int64.

        The bounds take what lies beyond them.
        """
        present = np.isfinite(values)
        inside = np.clip(np.where(present, values, self.lower[0]), self.lower[0], self.upper[-1])
        on_grid = inside if self.decimals is None else np.round(inside, self.decimals)
        # Without a grid, the first and the last cell hold the bounds alone, and their neighbours all between.
        cell = np.searchsorted(self.upper, on_grid, side="left")
        if self.decimals is None:
            cell = np.where(on_grid >= self.upper[-1], len(self.upper) - 1, np.minimum(cell, len(self.upper) - 2))
        return np.where(present, np.clip(cell, 0, len(self.upper) - 1), MISSING)


def even_runs(counts: np.ndarray, noise: float, n_runs: int) -> np.ndarray:
    """First cell of each of about `n_runs` runs of cells, of even mass by noisy counts of all: int64 in order.

    The two ends, and cells that stand out of their neighbours, are runs of their own.
    """
    n_cells = len(counts)
    if n_cells <= n_runs:
        return np.arange(n_cells)
    counts = counts.astype(np.float64)
    around = median_filter(counts, WINDOW, mode="nearest")
    alone = (counts > around + 3 * noise) & (counts > 2 * around)
    alone[[0, -1]] = True
    total = max(counts.sum(), noise)
    width = int(np.clip((2 * noise * n_cells / total) ** 2, 1, max(1, n_cells // 8)))
    rough = np.maximum(uniform_filter1d(np.where(alone, around, counts), width, mode="nearest"), 0.0)
    # A share for all cells alike: where little is, runs are long, but not without end.
    rough = np.where(alone, 0.0, rough + 0.05 * total / n_cells)
    n_even = max(1, n_runs - int(alone.sum()))
    run = np.floor((np.cumsum(rough) - rough / 2) / max(rough.sum(), 1e-12) * n_even)
    is_first = alone | np.append(True, alone[:-1]) | np.append(True, np.diff(run) > 0)
    return np.flatnonzero(is_first)


def masses(
    counts: np.ndarray,
    noise: float,
    starts: np.ndarray,
    run_counts: np.ndarray,
    run_noise: float,
    *,
    total: float,
) -> np.ndarray:
    """Mass of each cell from both counts: float64 of shape (n_cells,), none negative, of the sum `total`.

    Parameters
    ----------
    counts, noise
        Of all cells, int64 of shape (n_cells,), and the standard deviation of their noise.
    starts, run_counts, run_noise
        First cell of each run, the runs' counts, both of shape (n_runs,), and the noise in these.
    """
    size = np.diff(np.append(starts, len(counts)))
    precision, run_precision = 1 / (noise**2 * size), 1 / run_noise**2
    both = np.add.reduceat(counts, starts) * precision + run_counts * run_precision
    run_mass = onto_simplex(both / (precision + run_precision), total)
    least = 2 / np.sqrt(precision + run_precision)
    stands = np.flatnonzero(run_mass > least)
    if len(stands):  # beyond the outermost runs that stand out of the noise there is taken to be nothing
        run_mass[: stands[0]] = 0
        run_mass[stands[-1] + 1 :] = 0
        run_mass *= total / run_mass.sum()
    mass = _between(starts, size, run_mass)
    return _with_detail(mass, counts.astype(np.float64), noise, starts, run_mass)


def _between(starts: np.ndarray, size: np.ndarray, run_mass: np.ndarray) -> np.ndarray:
    """Masses of cells from masses of runs: monotone cubic interpolation of their sums, single cells apart."""
    mass = np.zeros(int(size.sum()))
    single = size == 1
    mass[starts[single]] = run_mass[single]
    edges = np.append(starts, size.sum())
    stretch = np.cumsum(np.append(True, single[1:] | single[:-1]))
    for one in np.unique(stretch[~single]):
        runs = np.flatnonzero((stretch == one) & ~single)
        at = edges[runs[0] : runs[-1] + 2]
        upto = PchipInterpolator(at, np.append(0.0, np.cumsum(run_mass[runs])))
        mass[at[0] : at[-1]] = np.diff(upto(np.arange(at[0], at[-1] + 1)))
    return np.maximum(mass, 0.0)


def _with_detail(
    mass: np.ndarray, counts: np.ndarray, noise: float, starts: np.ndarray, run_mass: np.ndarray
) -> np.ndarray:
    """Masses with as much of what the first count says inside runs as is not noise (James and Stein 1961)."""
    size = np.diff(np.append(starts, len(counts)))
    run = np.repeat(np.arange(len(starts)), size)
    inner = (size[run] > 1) & (run_mass[run] > 0)
    excess = counts - mass
    excess -= (np.add.reduceat(excess, starts) / size)[run]
    n_free = inner.sum() - np.count_nonzero((size > 1) & (run_mass > 0))
    spread = float((excess[inner] ** 2).sum())
    share = max(0.0, 1 - n_free * noise**2 / spread) if spread else 0.0
    detailed = np.where(inner, np.maximum(mass + share * excess, 0.0), mass)
    in_run = np.add.reduceat(detailed, starts)
    return detailed * np.divide(run_mass, in_run, out=np.zeros_like(in_run), where=in_run > 0)[run]


def onto_simplex(values: np.ndarray, total: float) -> np.ndarray:
    """The nearest numbers that are not negative and sum to `total` (Duchi et al. 2008, figure 1)."""
    ordered = np.sort(values.astype(np.float64))[::-1]
    excess = (np.cumsum(ordered) - total) / np.arange(1, len(ordered) + 1)
    last = int(np.flatnonzero(ordered > excess)[-1])
    return np.maximum(0.0, values - excess[last])
