"""Drawing and laying out many patients at once: the few array idioms that the simulated hospital is made of.

What belongs here: idioms that know nothing of medicine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


@dataclass(frozen=True)
class Ragged:
    """`counts[i]` rows for each parent i, one parent after the other.

    Examples
    --------
    >>> rows = Ragged.of(np.array([2, 0, 3]))
    >>> rows.parent.tolist(), rows.position.tolist(), rows.start.tolist()
    ([0, 0, 2, 2, 2], [0, 1, 0, 1, 2], [0, 2, 2])
    """

    counts: np.ndarray
    start: np.ndarray
    parent: np.ndarray
    position: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> Ragged:
        """Rows for the counts given; int64."""
        start = np.cumsum(counts) - counts
        parent = np.repeat(np.arange(len(counts)), counts)
        return cls(counts=counts, start=start, parent=parent, position=np.arange(len(parent)) - start[parent])


def logistic(log_odds: np.ndarray) -> np.ndarray:
    """Probability of the log-odds."""
    return 1 / (1 + np.exp(-log_odds))


def log_odds(probability: float) -> float:
    """Log-odds of a probability strictly between 0 and 1."""
    return float(np.log(probability / (1 - probability)))


def choose(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One column per row, with probability in proportion to `weights` of shape (n, k); int64 of shape (n,)."""
    cumulated = np.cumsum(weights, axis=1)
    return (rng.random(len(weights))[:, None] * cumulated[:, -1:] >= cumulated).sum(axis=1)


def pick(shares: dict[str, float], n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` names drawn with the shares given; object array."""
    names = np.array(list(shares), dtype=object)
    return names[rng.choice(len(names), size=n, p=np.array(list(shares.values())) / sum(shares.values()))]


def autoregressive(rows: Ragged, persistence: float, rng: np.random.Generator) -> np.ndarray:
    """A stationary AR(1) of unit variance along each parent's rows, independent between parents.

    All rows run through one filter; what it carries over from the parent before, a geometric tail, is taken
    off again.
    """
    innovation = rng.normal(size=len(rows.parent)) * (1 - persistence**2) ** 0.5
    opening = rows.position == 0
    innovation[opening] /= (1 - persistence**2) ** 0.5
    filtered = lfilter([1.0], [1.0, -persistence], innovation)
    before_start = (
        np.where(rows.start > 0, filtered[np.maximum(rows.start, 1) - 1], 0.0) if len(filtered) else rows.start
    )
    return filtered - persistence ** (rows.position + 1.0) * before_start[rows.parent]


def at_seconds(times_s: np.ndarray) -> np.ndarray:
    """Seconds since 1970 as datetime64[s]."""
    return times_s.astype("int64").astype("datetime64[s]")


def hour_of_day(times_s: np.ndarray) -> np.ndarray:
    """Hour of the day, 0 to 24, as a fraction."""
    return times_s % DAY_S / HOUR_S
