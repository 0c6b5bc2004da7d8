"""What one patient may add to many counts at once: a vector of bounded length, in whole numbers, and noise on the sum.

What belongs here: bounding the contribution of patients with many records, and finding what enough patients have. What
does not: noise itself (`noise.py`), budgets, what is counted.

A patient's counts in the cells of each *group* (a code, say) are shrunk to length 1, and the groups to 1 / sqrt(number
of the patient's groups): so no patient, however many events they have, moves the sum by more than 1 (Euclidean norm),
and rare groups count as much as frequent ones. It is done in whole numbers of 1 / `SCALE`, rounded down, for which the
discrete noise is exact.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from ehr_pipeline.privacy.noise import noisy_counts

SCALE = 2**14
"""Whole numbers that stand for 1."""
SOME = 3.0
"""Standard deviations of the noise that a sum passes if it is more than noise, as a rule."""
WRONG = 1e-6
"""Chance that noise alone passes for a sum that is surely more."""


def shares(patient: np.ndarray, cell: np.ndarray, group: np.ndarray, n_cells: int) -> tuple[np.ndarray, ...]:
    """What each patient adds to each of their cells, in 1 / `SCALE`.

    Parameters
    ----------
    patient, cell, group
        int64 of shape (n,): one entry per record; a cell belongs to one group.
    n_cells
        Cells in all.

    Returns
    -------
    tuple
        patient, cell and share, int64, one entry per pair of patient and cell.
    """
    pair, first, count = np.unique(patient * n_cells + cell, return_index=True, return_counts=True)
    who, where, kind = pair // n_cells, pair % n_cells, group[first]
    _, part = np.unique(who * (int(group.max(initial=0)) + 1) + kind, return_inverse=True)
    square = np.bincount(part, weights=count.astype(np.float64) ** 2)
    owner = np.zeros(len(square), dtype=np.int64)
    owner[part] = who
    n_groups = np.bincount(owner, minlength=int(who.max(initial=0)) + 1)
    # Rounded down, and by a hair more than floating point may be wrong: the length is 1 at most.
    length = np.sqrt(square[part] * n_groups[who]) * (1 + 1e-9)
    return who, where, np.floor(SCALE * count / length).astype(np.int64)


def noisy_sums(
    patient: np.ndarray, cell: np.ndarray, n_cells: int, noise: float, group: np.ndarray | None = None
) -> np.ndarray:
    """Sums of what patients add to each cell, with noise of standard deviation `noise`: float64 of shape (n_cells,).

    Without groups all cells are one.
    """
    if not n_cells:
        return np.zeros(0)
    group = np.zeros_like(cell) if group is None else group
    _, where, share = shares(patient, cell, group, n_cells)
    sums = np.zeros(n_cells, dtype=np.int64)
    np.add.at(sums, where, share)
    return noisy_counts(sums, noise, sensitivity=SCALE) / SCALE


def found(
    patient: np.ndarray, item: np.ndarray, n_items: int, *, noise: float, delta: float, most_items: int
) -> tuple[np.ndarray, np.ndarray]:
    """Items that enough patients have to be named although nobody knew of them before, and their noisy sums.

    Weighted Gaussian thresholding (Gopi et al. 2020, https://arxiv.org/abs/2002.09745, section 3): each of a patient's
    t items gets 1 / sqrt(t), and an item is named if its sum with noise passes a threshold that items of this patient
    alone pass with probability `delta` at most. With the Gaussian mechanism's (epsilon, delta') this is
    (epsilon, delta + delta').

    Parameters
    ----------
    patient, item
        int64 of shape (n,). Items are numbered so that which of a patient's items come first depends on that patient
        alone (names in order do): of more than `most_items`, the first ones count.

    Returns
    -------
    tuple
        Items in order, int64, and their noisy sums, float64.
    """
    pair = np.unique(patient * n_items + item)
    who, what = pair // n_items, pair % n_items
    n_before = np.arange(len(who)) - np.searchsorted(who, who)
    who, what = who[n_before < most_items], what[n_before < most_items]
    sums = noisy_sums(who, what, n_items, noise)
    named = np.flatnonzero(sums > threshold(noise, delta, most_items))
    return named, sums[named]


def threshold(noise: float, delta: float, most_items: int) -> float:
    """What items of one patient alone pass with probability `delta` at most, whatever number of items that is.

    The discrete Gaussian's tail is at most the continuous one's a step further in (Canonne, Kamath, Steinke 2020).
    """
    t = np.arange(1, most_items + 1)
    return float((1 / np.sqrt(t) + noise * norm.isf(delta / t)).max()) + 2 / SCALE


def stands_out(sums: np.ndarray, noise: float) -> np.ndarray:
    """Which noisy sums are hardly noise alone, one in a thousand is: bool of the same shape."""
    return sums > SOME * noise


def reached(sums: np.ndarray, noise: float, n_looks: int) -> np.ndarray:
    """Cells in order that many reach: runs that stand out a little, around one that surely does.

    Parameters
    ----------
    sums
        Noisy sums of cells in order, float64 of shape (n_cells,).
    n_looks
        Cells that are looked at in all, of which one may be noise alone with chance `WRONG`.

    Returns
    -------
    numpy.ndarray
        Places of the cells, int64 in order.
    """
    is_some, is_sure = sums > SOME * noise, sums > noise * norm.isf(WRONG / max(1, n_looks))
    run = np.cumsum(np.diff(is_some.astype(np.int64), prepend=0) != 0)
    sure_runs = np.unique(run[is_sure])
    return np.flatnonzero(is_some & np.isin(run, sure_runs))
