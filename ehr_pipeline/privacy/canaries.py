"""Canaries: patients who never lived, as unlike everyone else as the schema allows, to be looked for in a model.

What belongs here: making them. What does not: hiding and finding them (`audit.py`).

A canary's numbers lie in the outer quarters of their ranges, its categories are any levels, nothing of it is missing.
Of many such rows the loneliest are taken. Where the schema names no range or levels, those of the table serve: a canary
tells nothing that leaves the audit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.attacks.space import nearest, points
from ehr_pipeline.evaluate.encoding import Encoding
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.record import Column, conform

DRAWN_PER_CANARY = 4
OUTER = 0.25
"""Share of a range, at either end, in which a canary's numbers lie."""
MOST_COMPARED = 20_000


def make_canaries(cohort: TrainingCohort, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """`n` canaries with the columns and dtypes of the cohort's table, index 0 to n - 1."""
    drawn = draw_rows(cohort, DRAWN_PER_CANARY * n, rng)
    encoding = Encoding.learn(cohort.table, cohort.schema)
    real = cohort.table.iloc[rng.permutation(len(cohort.table))[:MOST_COMPARED]]
    around, own = (points(encoding, encoding.encode(table)) for table in (real, drawn))
    to_real, to_others = nearest(own, around)[0][:, 0], nearest(own, own, 2)[0][:, -1]
    loneliest = np.sort(np.argsort(-np.minimum(to_real, to_others), kind="stable")[:n])
    return drawn.iloc[loneliest].reset_index(drop=True)


def draw_rows(cohort: TrainingCohort, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """`n` rows such as canaries are chosen from."""
    drawn = {column.name: _values(column, cohort.table[column.name], n, rng) for column in cohort.schema.columns}
    return conform(pd.DataFrame(drawn, index=range(n)), cohort.schema)


def twins_of(canaries: pd.DataFrame, cohort: TrainingCohort, rng: np.random.Generator) -> pd.DataFrame:
    """The canaries, each with one column, chosen at random, drawn again."""
    twins, other = canaries.copy(), draw_rows(cohort, len(canaries), rng)
    chosen = rng.integers(len(canaries.columns), size=len(canaries))
    for k, name in enumerate(canaries.columns):
        twins[name] = twins[name].mask(chosen == k, other[name])
    return twins


def _values(column: Column, real: pd.Series, n: int, rng: np.random.Generator) -> Any:
    if column.kind == "binary":
        return rng.integers(2, size=n)
    present = real.dropna()
    if column.is_number or column.kind == "time":
        numbers = present.astype("int64") if column.kind == "time" else present.astype("float64")
        low = column.minimum if column.minimum is not None else numbers.min() if len(numbers) else 0.0
        high = column.maximum if column.maximum is not None else numbers.max() if len(numbers) else low
        position = rng.random(n) * OUTER
        position = np.where(rng.random(n) < 0.5, position, 1 - position)
        values = low + position * (high - low)
        if column.kind == "time":
            return values.astype("int64").astype("datetime64[us]")
        decimals = 0 if column.kind == "integer" else column.decimals
        return values if decimals is None else np.clip(np.round(values, decimals), low, high)
    levels = column.levels or tuple(sorted(present.unique()))
    if column.kind != "categorical" or not levels:
        return (
            [None] * n if column.missing or not len(present) else present.iloc[rng.integers(len(present), size=n)].array
        )
    return np.array(levels, dtype=object)[rng.integers(len(levels), size=n)]
