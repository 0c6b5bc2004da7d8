"""Rows as points, and how far they lie from each other: the geometry that attacks share.

Distance of two rows: Euclidean over numbers standardised on real data, to which each differing category
(missing is one) adds 1 to the square, like one standard deviation.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.encoding import Encoded, Encoding

BLOCK_NUMBERS = 8_000_000
AGREE = 0.15
"""Values are nearly equal within this share of a column's standard deviation."""
MISSING = 1e6


def points(encoding: Encoding, table: Encoded, skip: Collection[str] = ()) -> np.ndarray:
    """Rows as float32 points [n, p] whose Euclidean distances are the row distances."""
    numbers, levels = encoding.design(table, skip)
    return np.hstack([numbers, levels / np.float32(np.sqrt(2))])


def profile(encoding: Encoding, table: Encoded) -> np.ndarray:
    """Every column on a scale on which nearly equal values differ by at most `AGREE`, float32 [n, c + k].

    Numbers in standard deviations, levels as their codes: they are equal or not. Missing equals missing.
    """
    standard = (table.numbers - encoding.centre) / encoding.scale
    return np.hstack([np.nan_to_num(standard, nan=MISSING), table.codes]).astype(np.float32)


def nearest(queries: np.ndarray, reference: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest reference points of each query, nearest first: distances float64 [q, k], places int [q, k].

    Candidates are found by a float32 matrix product; their distances are then taken from differences, so
    that a copy is at exactly 0. With fewer than k reference points there are as many columns as points.
    """
    k = min(k, len(reference))
    distances, places = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    if not k:
        return distances, places
    norms, mirrored = (reference**2).sum(axis=1), np.ascontiguousarray(-2 * reference.T)
    step = max(1, BLOCK_NUMBERS // len(reference))
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        product = block @ mirrored
        product += norms
        place = _smallest(product, k)
        distance = np.sqrt(((block[:, None].astype(float) - reference[place]) ** 2).sum(axis=2))
        order = np.argsort(distance, axis=1, kind="stable")
        rows = slice(start, start + len(block))
        distances[rows] = np.take_along_axis(distance, order, axis=1)
        places[rows] = np.take_along_axis(place, order, axis=1)
    return distances, places


def row_keys(table: Encoded) -> np.ndarray:
    """One hash uint64 [n] per row: equal rows have equal keys (numbers compared in float32)."""
    columns = {f"n{place}": values for place, values in enumerate(table.numbers.astype(np.float32).T)}
    columns |= {f"c{place}": values for place, values in enumerate(table.codes.T)}
    return pd.util.hash_pandas_object(pd.DataFrame(columns, index=np.arange(len(table))), index=False).to_numpy()


def _smallest(matrix: np.ndarray, k: int) -> np.ndarray:
    """Columns [n, k] of the k smallest numbers of each row, in no order; spoils the matrix."""
    rows, places = np.arange(len(matrix)), np.empty((len(matrix), k), dtype=np.int64)
    for column in range(k):
        places[:, column] = matrix.argmin(axis=1)
        if column + 1 < k:
            matrix[rows, places[:, column]] = np.inf
    return places
