"""One row per patient: what a classifier sees of a timeline.

What belongs here: summaries of whole timelines or of their first hours. What does not: what is predicted (`tasks.py`).
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.stream import Timelines


def group_values(timelines: Timelines, codes: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, min, max and last value by patient and code: float64 [n_patients, len(codes)], NaN where there is none."""
    kept, place = timelines.with_number().of_codes(codes)
    cell = kept.patient * len(codes) + place
    order = np.argsort(cell, kind="stable")  # within a cell the values stay in the order of time
    value, (cells, starts) = kept.value[order], np.unique(cell[order], return_index=True)
    ends = np.append(starts[1:], len(value))
    found = {}
    for name in ("mean", "min", "max", "last"):
        matrix = np.full(timelines.n_patients * len(codes), np.nan)
        if len(cells):
            if name == "last":
                matrix[cells] = value[ends - 1]
            elif name == "mean":
                matrix[cells] = np.add.reduceat(value, starts) / (ends - starts)
            else:
                matrix[cells] = (np.minimum if name == "min" else np.maximum).reduceat(value, starts)
        found[name] = matrix.reshape(timelines.n_patients, len(codes))
    return found


def summaries(timelines: Timelines, lists: CodeLists, without: np.ndarray | None = None) -> np.ndarray:
    """Counts of frequent codes, values of numeric ones, length, distinct times: float64 [n_patients, p].

    `without` are codes that may not be seen.
    """
    frequent, numeric = (
        codes if without is None else codes[~np.isin(codes, without)] for codes in (lists.frequent, lists.numeric)
    )
    first, last = timelines.span()
    n_times = np.bincount(timelines.gaps()[0], minlength=timelines.n_patients) + ~np.isnan(last)
    return np.column_stack(
        [timelines.counts(frequent), *group_values(timelines, numeric).values(), last - first, n_times]
    )
