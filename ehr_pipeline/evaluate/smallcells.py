"""No number about fewer than eleven patients leaves an evaluation.

What belongs here: suppression of counts and shares, and bin edges that are nobody's value.
"""

from __future__ import annotations

import math

import numpy as np

from ehr_pipeline.record import SMALL_CELL

MAX_BINS = 20
MIN_BINS = 4
ROWS_PER_BIN = 30


def suppressed(counts: np.ndarray) -> list[int | None]:
    """Counts with those under `SMALL_CELL` as None; where these together are under it too, the next goes as well.

    Otherwise the total, which is known, would give them away.

    >>> suppressed(np.array([40, 3, 25]))
    [40, None, None]
    >>> suppressed(np.array([40, 3, 0]))
    [None, None, None]
    """
    hidden = counts < SMALL_CELL
    if 0 < counts[hidden].sum() < SMALL_CELL and not hidden.all():
        hidden[np.argmin(np.where(hidden, np.iinfo(np.int64).max, counts))] = True
    return [None if is_hidden else int(count) for count, is_hidden in zip(counts, hidden, strict=True)]


def coarse_share(is_true: np.ndarray) -> float:
    """Share of true rows in steps of `SMALL_CELL` rows, to the nearest step; exact where all or none are.

    >>> coarse_share(np.arange(100) < 3)
    0.0
    """
    n, hits = len(is_true), int(is_true.sum())
    if not n:
        return 0.0
    if hits in (0, n):
        return float(hits > 0)
    return min(round(hits / SMALL_CELL) * SMALL_CELL / n, 1.0)


def nice_edges(values: np.ndarray, minimum: float | None, maximum: float | None, is_whole: bool) -> list[float]:
    """Bin edges for a number: round numbers between inner quantiles, kept to the public range.

    The quantiles leave at least `SMALL_CELL` patients outside on either side, and the edges are rounded
    outwards to a round step, so that no edge is a patient's value but by coincidence. The first and last
    bin also hold what lies beyond.
    """
    values = values[~np.isnan(values)]
    if len(values) < 2 * SMALL_CELL:
        low, high = (minimum if minimum is not None else 0.0), (maximum if maximum is not None else 1.0)
    else:
        tail = max(0.01, SMALL_CELL / len(values))
        low, high = (float(bound) for bound in np.quantile(values, [tail, 1 - tail]))
    n_bins = int(np.clip(len(values) // ROWS_PER_BIN, MIN_BINS, MAX_BINS))
    step = _round_step((high - low) / n_bins) if high > low else 1.0
    step = max(step, 1.0) if is_whole else step
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    edges = np.arange(first, last + 1) * step
    if minimum is not None or maximum is not None:
        edges = np.clip(edges, minimum, maximum)
    edges = np.unique(edges.round(10))
    return edges.tolist() if len(edges) > 1 else [float(edges[0]), float(edges[0] + step)]


def _round_step(width: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `width`."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= width * (1 - 1e-9))
