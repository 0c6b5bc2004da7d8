"""Learns the segments of a column of numbers: its heavy values, and intervals that enough patients share.

What belongs here: the one place that looks at training patients' numbers, and the rule that hides the few.
What does not: how segments are used (`number_codec.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_SEGMENTS = 256
"""An interval holds about 1 / N_SEGMENTS of the rows, less towards the ends."""


@dataclass(kw_only=True)
class _Piece:
    """Distinct values [first, end), or the heavy value `first` with light ones that joined it."""

    first: int
    end: int
    is_heavy: bool
    patients: set[int]
    """All its patients; of many, as many as make it a segment."""
    mass: float


def learn_segments(
    numbers: np.ndarray, patients: np.ndarray, decimals: int | None, minimum_patients: int
) -> np.ndarray:
    """Segments of a column: rows of (lower, upper, mass in rows) in order, float64 of shape (n_segments, 3).

    Parameters
    ----------
    numbers
        Present values, float64 of shape (n,), on the column's grid.
    patients
        The patient of each value, of shape (n,).
    decimals
        Resolution; an interval takes free grid points beside it, and reaches half a grid step beyond the last.
    minimum_patients
        Each segment has at least so many patients, and so many reach what can be drawn on either side. With fewer
        than twice as many patients in all there is one segment, between the quartiles of the rows; these are
        values of single patients (of five, the second and the fourth).
    """
    index, n_of_patients = _patient_index(patients)
    if n_of_patients < 2 * minimum_patients:
        return as_segment(*np.quantile(numbers, [0.25, 0.75]), decimals)
    values, inverse, n_rows = np.unique(numbers, return_inverse=True, return_counts=True)
    n_patients = _patients_per_value(inverse, index, n_rows)
    low, high = _shared_extremes(numbers, index, n_of_patients, minimum_patients)
    inside = (values >= low) & (values <= high)
    below, above = float(n_rows[values < low].sum()), float(n_rows[values > high].sum())
    piece_of_value = np.full(len(values), -1)
    values, n_rows, n_patients = values[inside], n_rows[inside], n_patients[inside]

    is_heavy = (n_patients >= minimum_patients) & (n_rows >= len(numbers) / (2 * N_SEGMENTS))
    middle_rank = below + np.cumsum(n_rows) - n_rows / 2
    bucket = np.searchsorted(_rank_grid(len(numbers), minimum_patients), middle_rank)
    starts = is_heavy | np.r_[True, is_heavy[:-1]] | np.r_[True, np.diff(bucket) > 0]
    first = np.flatnonzero(starts)
    piece_of_value[inside] = np.cumsum(starts) - 1
    pieces = [
        _Piece(first=start, end=end, is_heavy=heavy, patients=some, mass=rows)
        for start, end, heavy, some, rows in zip(
            first.tolist(),
            np.r_[first[1:], len(values)].tolist(),
            is_heavy[first].tolist(),
            _some_patients(piece_of_value[inverse], index, len(first), minimum_patients),
            np.add.reduceat(n_rows, first).astype(np.float64).tolist(),
            strict=True,
        )
    ]
    pieces = _absorb_lone(_join_light(pieces, minimum_patients), minimum_patients)
    pieces[0].mass += below
    pieces[-1].mass += above
    lower, upper = _edges(values, pieces, decimals)
    return np.column_stack([lower, upper, [piece.mass for piece in pieces]])


def as_segment(first: float, last: float, decimals: int | None) -> np.ndarray:
    """One segment from `first` to `last`: float64 of shape (1, 3)."""
    if decimals is None or first == last:
        return np.array([[first, last, 1.0]])
    first, last = np.round([first, last], decimals)
    half_step = 0.5 * 10.0**-decimals
    return np.array([[first - half_step, last + half_step, 1.0]])


def _patient_index(patients: np.ndarray) -> tuple[np.ndarray | None, int]:
    """Each row's patient as 0, 1, ... (None if no patient comes twice), and the number of patients."""
    distinct, index = np.unique(patients, return_inverse=True)
    return (None, len(patients)) if len(distinct) == len(patients) else (index, len(distinct))


def _patients_per_value(inverse: np.ndarray, index: np.ndarray | None, n_rows: np.ndarray) -> np.ndarray:
    """How many patients have each distinct value."""
    if index is None:
        return n_rows
    pairs = np.unique(inverse * (int(index.max()) + 1) + index) // (int(index.max()) + 1)
    return np.bincount(pairs, minlength=len(n_rows))


def _some_patients(piece: np.ndarray, index: np.ndarray | None, n_pieces: int, most: int) -> list[set[int]]:
    """Of each piece, its patients or `most` of them; `piece` is that of each row, -1 for none."""
    rows = np.flatnonzero(piece >= 0)
    patients = rows if index is None else index[rows]
    distinct = np.unique(piece[rows] * len(piece) + patients)
    starts = np.searchsorted(distinct, np.arange(n_pieces + 1) * len(piece))
    return [
        set((distinct[start : min(end, start + most)] % len(piece)).tolist())
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]


def _shared_extremes(
    numbers: np.ndarray, index: np.ndarray | None, n_of_patients: int, minimum_patients: int
) -> tuple[float, float]:
    """The values that `minimum_patients` patients reach from below and from above; the first may be the larger."""
    smallest = largest = numbers
    if index is not None:
        smallest, largest = np.full(n_of_patients, np.inf), np.full(n_of_patients, -np.inf)
        np.minimum.at(smallest, index, numbers)
        np.maximum.at(largest, index, numbers)
    k = minimum_patients - 1
    low, high = float(np.partition(smallest, k)[k]), float(-np.partition(-largest, k)[k])
    return min(low, high), max(low, high)


def _rank_grid(n: int, minimum_patients: int) -> np.ndarray:
    """Ranks (in rows) at which intervals end: even, and finer towards both ends."""
    even = np.arange(1, N_SEGMENTS) * n / N_SEGMENTS
    n_doublings = max(1, int(np.log2(max(2, n / N_SEGMENTS / minimum_patients))) + 1)
    tail = minimum_patients * 2.0 ** np.arange(1, n_doublings + 1)
    return np.unique(np.concatenate([even, tail, n - tail]))


def _join_light(pieces: list[_Piece], minimum_patients: int) -> list[_Piece]:
    """Join an interval with too few patients to those after it until it has enough; the last, to the one before."""
    # Two passes: in the second, only the last interval before a heavy value (or the end) is still light.
    for light_is_first in (True, False):
        joined = [pieces[0]]
        for piece in pieces[1:]:
            before = joined[-1]
            is_light = len((before if light_is_first else piece).patients) < minimum_patients
            if is_light and not piece.is_heavy and not before.is_heavy:
                before.end = piece.end
                before.patients |= piece.patients
                before.mass += piece.mass
            else:
                joined.append(piece)
        pieces = joined
    return pieces


def _absorb_lone(pieces: list[_Piece], minimum_patients: int) -> list[_Piece]:
    """Give an interval with too few patients, alone between heavy values, to the heavy value after it.

    The last one goes to the heavy value before it: a codec reads each value into the first segment that reaches it.
    """
    kept: list[_Piece] = []
    waiting = 0.0
    for piece in pieces:
        if piece.is_heavy or len(piece.patients) >= minimum_patients or len(pieces) == 1:
            piece.mass += waiting
            waiting = 0.0
            kept.append(piece)
        else:
            waiting += piece.mass
    kept[-1].mass += waiting
    return kept


def _edges(values: np.ndarray, pieces: list[_Piece], decimals: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of each piece.

    Without a grid, neighbouring intervals meet halfway between their values. On a grid an interval takes the free grid
    points beside it, shared with an interval next to it, and reaches half a step further, so that each grid point in
    it has the same share: a value that nobody had is drawn as well as one that a single patient had. It takes no more
    of them than its own values lie apart on average: where a gap is wider, there may be nobody.
    """
    first = values[[piece.first for piece in pieces]]
    last = np.where([piece.is_heavy for piece in pieces], first, values[[piece.end - 1 for piece in pieces]])
    is_interval = ~np.array([piece.is_heavy for piece in pieces])
    lower, upper = first.copy(), last.copy()
    if decimals is None:
        meets = is_interval[:-1] & is_interval[1:]
        halfway = (last[:-1] + first[1:]) / 2
        upper[:-1][meets] = halfway[meets]
        lower[1:][meets] = halfway[meets]
        return lower, upper
    step = 10.0**-decimals
    n_gaps = np.array([piece.end - piece.first for piece in pieces]) - 1
    reach = np.where(n_gaps > 0, _steps((last - first) / np.maximum(n_gaps, 1), step), 1.0) * is_interval
    n_free = np.maximum(_steps(first[1:] - last[:-1], step) - 1, 0)
    up = np.minimum(np.floor(n_free / 2), reach[:-1])
    down = np.minimum(n_free - up, reach[1:])
    up = np.minimum(n_free - down, reach[:-1])
    upper[:-1] += up * step
    lower[1:] -= down * step
    half_step = 0.5 * step * is_interval
    return np.round(lower, decimals) - half_step, np.round(upper, decimals) + half_step


def _steps(lengths: np.ndarray, step: float) -> np.ndarray:
    """Lengths in whole steps of the grid; no more than a float64 counts exactly."""
    with np.errstate(over="ignore"):
        return np.minimum(np.round(lengths / step), 2.0**52)
