"""One column of numbers as a staircase of segments: heavy values, and intervals between them.

What belongs here: how a number becomes a level (for heads with a softmax) or a rank (for what needs a
Gaussian number), and back. What does not: categories, dates as such, frames (`codec.py`).

A *segment* is a heavy value (held by many patients, lower == upper) or an interval that at least
`minimum_patients` patients share. Segments in order, with their shares, are the column's distribution: its
quantile function is linear inside an interval and flat at a heavy value. A *level* is one segment, or some
neighbouring light ones: what a network predicts. Inside its level a value is drawn from the segments, so that
a few dozen levels keep the marginal of a thousand segments, and no value is copied.

No value is drawn beyond the one that `minimum_patients` patients reach, on either side; with fewer than twice
as many patients, none beyond the quartiles. Missing is a level only if `minimum_patients` patients miss the value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import ndtri

from ehr_pipeline.generators.number_segments import as_segment, learn_segments

MAXIMUM_DECIMALS = 6
"""A column with more digits than this is taken as having no resolution of its own."""
LEVEL_WIDTH_Z = 0.35
"""A level ends when it is this wide in units of the Gaussianised value, so that tails stay resolved."""


def infer_decimals(values: np.ndarray) -> int | None:
    """Digits after the point that all `values` keep to; None if more than `MAXIMUM_DECIMALS`."""
    for decimals in range(MAXIMUM_DECIMALS + 1):
        with np.errstate(over="ignore", invalid="ignore"):  # the largest numbers have no room for a rounding
            rounded = np.round(values, decimals)
        if np.allclose(values, rounded, rtol=1e-12, atol=1e-9):
            return decimals
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberCodec:
    """One column of numbers.

    Attributes
    ----------
    decimals
        Resolution of what is drawn; None draws any number.
    lowest, highest
        Bounds of what is drawn.
    lower, upper
        float64 of shape (n_segments,), in order; equal at a heavy value.
    segment_ranks
        float64 of shape (n_segments + 1,): share of present values below each segment, from 0 to 1.
    level_starts
        int64 of shape (n_levels + 1,): first segment of each level that holds numbers.
    missing_share
        Share of rows without a value. If above 0, the last level means missing.
    """

    decimals: int | None
    lowest: float
    highest: float
    lower: np.ndarray
    upper: np.ndarray
    segment_ranks: np.ndarray
    level_starts: np.ndarray
    missing_share: float

    @classmethod
    def fit(
        cls,
        values: np.ndarray,
        subject_id: np.ndarray,
        *,
        decimals: int | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        may_miss: bool = True,
        minimum_patients: int = 5,
        n_levels: int = 32,
    ) -> Self:
        """Learn the segments of `values` (float64, NaN where missing) of the patients `subject_id`.

        A value that fewer than `minimum_patients` patients have at all tells nothing: if the column may miss,
        it is then missing throughout; else it is drawn from its public range, or is 0 (or the bound next to it).
        If fewer miss it, nobody does: `levels` reads their gaps as the middle level.
        """
        present = np.isfinite(values)
        may_be_missing = may_miss and len(np.unique(subject_id[~present])) >= minimum_patients
        missing_share = float(1 - present.mean()) if may_be_missing else 0.0
        numbers, patients = values[present], subject_id[present]
        if decimals is None and len(numbers):
            decimals = infer_decimals(numbers)
        minimum, maximum = _bound_on_grid(minimum, decimals, np.ceil), _bound_on_grid(maximum, decimals, np.floor)
        if minimum is not None or maximum is not None:
            numbers = np.clip(numbers, minimum, maximum)
        numbers = _on_grid(numbers, decimals)
        if len(np.unique(patients)) < minimum_patients:
            if may_miss:
                segments = np.empty((0, 3))
                missing_share = 1.0
            else:
                segments = _uninformed(minimum, maximum, decimals)
        else:
            segments = learn_segments(numbers, patients, decimals, minimum_patients)
        lower, upper, mass = segments.T
        ranks = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()]) if len(mass) else np.zeros(1)
        is_heavy = lower == upper
        lowest, highest = _outermost(lower, upper, is_heavy, decimals)
        return cls(
            decimals=decimals,
            lowest=lowest,
            highest=highest,
            lower=lower,
            upper=upper,
            segment_ranks=ranks,
            level_starts=level_starts(ranks, is_heavy, n_levels, len(numbers), minimum_patients),
            missing_share=missing_share,
        )

    @property
    def n_number_levels(self) -> int:
        """Levels that hold numbers."""
        return len(self.level_starts) - 1

    @property
    def n_levels(self) -> int:
        """All levels, the one for missing included."""
        return self.n_number_levels + self.may_be_missing

    @property
    def may_be_missing(self) -> bool:
        """Whether the last level means missing."""
        return self.missing_share > 0

    @property
    def level_shares(self) -> np.ndarray:
        """float64 of shape (n_levels,): share of rows in each level; sums to 1."""
        shares = np.diff(self.segment_ranks[self.level_starts]) * (1 - self.missing_share)
        return np.append(shares, self.missing_share) if self.may_be_missing else shares

    @property
    def level_positions(self) -> np.ndarray:
        """float64 of shape (n_levels,): where a level lies, as a standard normal number; 0 for missing."""
        edges = self.segment_ranks[self.level_starts]
        positions = ndtri((edges[:-1] + edges[1:]) / 2)
        return np.append(positions, 0.0) if self.may_be_missing else positions

    def is_heavy_level(self, level: int) -> bool:
        """Whether a level of numbers is one heavy value and nothing else."""
        first, end = self.level_starts[level : level + 2]
        return bool(end - first == 1 and self.lower[first] == self.upper[first])

    def levels(self, values: np.ndarray) -> np.ndarray:
        """Level of each value: float64 of shape (n,) to int64 of shape (n,)."""
        if not self.n_number_levels:
            return np.zeros(len(values), dtype=np.int64)
        levels = np.searchsorted(self.level_starts, self._segment(values), side="right") - 1
        return np.where(np.isfinite(values), levels, self._missing_level)

    def gaussian(self, values: np.ndarray) -> np.ndarray:
        """Standard normal quantile of each value's rank: float64 of shape (n,), 0 where missing."""
        if not self.n_number_levels:
            return np.zeros(len(values))
        segment = self._segment(values)
        width = self.upper[segment] - self.lower[segment]
        position = np.divide(values - self.lower[segment], width, out=np.full(len(values), 0.5), where=width > 0)
        start, end = self.segment_ranks[segment], self.segment_ranks[segment + 1]
        rank = start + (end - start) * np.clip(position, 0.0, 1.0)
        # The two ends would be infinite: they stand for the middle of the outermost half per mille.
        return np.where(np.isfinite(values), ndtri(np.clip(rank, 2.5e-4, 1 - 2.5e-4)), 0.0)

    def draw(self, levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A value for each level: int64 of shape (n,) to float64 of shape (n,), NaN where missing."""
        position = rng.random(len(levels))
        if not self.n_number_levels:
            return np.full(len(levels), np.nan)
        is_missing = levels >= self.n_number_levels
        edges = self.segment_ranks[self.level_starts]
        level = np.where(is_missing, 0, levels)
        values = self.from_ranks(edges[level] + position * (edges[level + 1] - edges[level]))
        values[is_missing] = np.nan
        return values

    def from_ranks(self, ranks: np.ndarray) -> np.ndarray:
        """The quantile function: float64 in [0, 1] of shape (n,) to values on the column's grid."""
        segment = np.searchsorted(self.segment_ranks, ranks, side="right") - 1
        segment = np.clip(segment, 0, len(self.lower) - 1)
        mass = self.segment_ranks[segment + 1] - self.segment_ranks[segment]
        position = np.clip((ranks - self.segment_ranks[segment]) / mass, 0.0, 1.0)
        return self.nearest(self.lower[segment] + position * (self.upper[segment] - self.lower[segment]))

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """The nearest values that may be drawn; NaN throughout if none may."""
        if not self.n_number_levels:
            return np.full(len(values), np.nan)
        return np.clip(_on_grid(values, self.decimals), self.lowest, self.highest)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What JSON and safetensors hold of it."""
        arrays = {name: getattr(self, name) for name in ("lower", "upper", "segment_ranks", "level_starts")}
        names = ("decimals", "lowest", "highest", "missing_share")
        return {name: getattr(self, name) for name in names}, arrays

    @property
    def _missing_level(self) -> int:
        """The level of a missing value; the middle one if the column never misses."""
        return self.n_number_levels if self.may_be_missing else self.n_number_levels // 2

    def _segment(self, values: np.ndarray) -> np.ndarray:
        segment = np.searchsorted(self.upper, np.nan_to_num(_on_grid(values, self.decimals)), side="left")
        return np.clip(segment, 0, len(self.upper) - 1)


def _on_grid(values: np.ndarray, decimals: int | None) -> np.ndarray:
    return values if decimals is None else np.round(values, decimals)


def _outermost(lower: np.ndarray, upper: np.ndarray, is_heavy: np.ndarray, decimals: int | None) -> tuple[float, float]:
    """The outermost values that may be drawn: the outermost grid points inside the outermost segments."""
    if not len(lower):
        return 0.0, 0.0
    half_step = 0.0 if decimals is None else 0.5 * 10.0**-decimals
    lowest = lower[0] if is_heavy[0] else lower[0] + half_step
    highest = upper[-1] if is_heavy[-1] else upper[-1] - half_step
    lowest, highest = _on_grid(np.array([lowest, highest]), decimals).tolist()
    return lowest, highest


def _bound_on_grid(bound: float | None, decimals: int | None, inward: Callable[[float], float]) -> float | None:
    """A public bound, moved inward onto the grid."""
    if bound is None or decimals is None:
        return bound
    steps = bound * 10.0**decimals
    return float(np.round((inward(steps) if abs(steps - np.round(steps)) > 1e-6 else steps) / 10.0**decimals, decimals))


def _uninformed(minimum: float | None, maximum: float | None, decimals: int | None) -> np.ndarray:
    """One segment for a column that too few patients have: its public range, else 0 or the bound next to it."""
    if minimum is not None and maximum is not None:
        return as_segment(minimum, maximum, decimals)
    value = max(0.0, minimum) if minimum is not None else 0.0
    value = min(value, maximum) if maximum is not None else value
    return as_segment(value, value, decimals)


def level_starts(
    ranks: np.ndarray, is_heavy: np.ndarray, n_levels: int, n_rows: int, minimum_patients: int
) -> np.ndarray:
    """First segment of each level, and the number of segments at the end.

    A heavy value is its own level if it holds half an even level's share, or stands at an end (the pile at a
    bound) with more than its neighbour. The others are joined until a level has an even share, or is wide.
    """
    n_segments = len(is_heavy)
    mass = np.diff(ranks)
    z = ndtri(np.clip(ranks, 1e-4, 1 - 1e-4))
    is_own = is_heavy & (mass >= 0.5 / n_levels)
    for end, neighbour in ((0, 1), (-1, -2)):
        if n_segments > 1:
            is_own[end] |= is_heavy[end] and mass[end] > 2 * mass[neighbour]
    smallest_share = 4 * minimum_patients / max(1, n_rows)
    starts = [0] if n_segments else []
    for k in range(1, n_segments):
        share, width = ranks[k] - ranks[starts[-1]], z[k] - z[starts[-1]]
        is_full = share >= 1 / n_levels or (width >= LEVEL_WIDTH_Z and share >= smallest_share)
        if is_full or is_own[k] or is_own[k - 1]:
            starts.append(k)
    return np.array([*starts, n_segments], dtype=np.int64)
