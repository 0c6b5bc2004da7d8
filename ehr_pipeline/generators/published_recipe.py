"""The recipe of a widely read post on recombined MIMIC-IV records, to the letter, with the epsilon that it truly has.

What belongs here: its formulas, and what they cost. What does not: anything that may be released.

The post adds Laplace noise of scale 5 / 0.5 to every laboratory value whatever its range, replaces codes by an
exponential mechanism whose utility is their frequency, recombines what results across patients, and claims an epsilon
of 0.7. Noise on a patient's own value must hide its whole range R, so one value costs R / 10, and values add up.

NOTE[DIFF]: values are cut to public bounds first, without which the epsilon would be infinite; a missing number is
reported as the middle of its range, for the post does not say what becomes of it. Its variation is here that values
are drawn inside their cell. Impossible values are rejected, as there.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ehr_pipeline.generators.local_reports import Block
from ehr_pipeline.generators.private_codec import OneRowEach
from ehr_pipeline.privacy.budget import Accounted, Budget, PrivacyPlan, PureMechanism
from ehr_pipeline.privacy.shuffle import UNIT
from ehr_pipeline.record import Column, Schema

SCALE = 5 / 0.5
"""Of the Laplace noise, in the unit of each column."""
EPSILON = 0.5
"""In the exponent of the exponential mechanism."""
CLAIMED = 0.7
NOT_FOR_RELEASE = (
    f"as published: the claimed epsilon of {CLAIMED:g} does not hold; this output must not be released",
    "noise of one size for every column leaves range / scale of epsilon per value, and a patient's values add up",
    "the bounds of the schema keep it finite; the post has none, and its epsilon is infinite",
)


def published_plan(schema: Schema, delta: float) -> PrivacyPlan:
    """What the recipe truly costs each patient whose columns are `schema`, all of them public; never below the sum."""
    mechanisms = tuple(
        PureMechanism(name=f"as published: {one.name}", epsilon=true_epsilon(one)) for one in schema.columns
    )
    epsilon = sum(one.epsilon for one in mechanisms)
    return PrivacyPlan(
        budget=Budget(epsilon=epsilon, delta=delta),
        mechanisms=mechanisms,
        accounted=Accounted(
            epsilon=epsilon, delta=delta, epsilon_prv=None, epsilon_rdp=epsilon, accountant="basic composition"
        ),
        unit=UNIT,
        notes=NOT_FOR_RELEASE,
    )


def true_epsilon(column: Column) -> float:
    """What one value of a column costs under the recipe.

    A number: its range over the scale. A category: epsilon for the patient's own draw, whose utilities lie between 0
    and 1, and as much again for all patients' draws, whose utilities are frequencies (one n-th each, n draws).
    """
    if column.is_number:
        return max(1e-9, (column.maximum - column.minimum) / SCALE)
    return 2 * EPSILON


def published_reports(block: Block, rows: OneRowEach, rng: np.random.Generator) -> np.ndarray:
    """The reports of a block of one column, counted: int64 of shape (n_cells,). Impossible values are left out."""
    cells = block.cells[0]
    values = rows[cells.column.name]
    if cells.column.is_number:
        drawn = cells.index(_possible(cells.column, values.to_numpy(dtype="float64", na_value=np.nan), rng))
    else:
        drawn = _replaced(cells.index(values), cells.n_cells, rng)
    return np.bincount(drawn, minlength=cells.n_cells)


def _possible(column: Column, values: np.ndarray, rng: np.random.Generator) -> pd.Series:
    """Values with the recipe's noise, as far as they stay inside the range."""
    middle = (column.minimum + column.maximum) / 2
    clamped = np.clip(np.where(np.isfinite(values), values, middle), column.minimum, column.maximum)
    noised = clamped + rng.laplace(0.0, SCALE, len(clamped))
    return pd.Series(noised[(noised >= column.minimum) & (noised <= column.maximum)])


def _replaced(cell: np.ndarray, n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Categories by the exponential mechanism: the patient's own has utility 1, every other its frequency."""
    weights = np.exp(EPSILON / 2 * np.bincount(cell, minlength=n_cells) / max(1, len(cell)))
    own = math.exp(EPSILON / 2)
    others = weights.sum() - weights[cell]
    todo = np.flatnonzero(rng.random(len(cell)) * (own + others) >= own)
    drawn = cell.copy()
    while len(todo):  # by the others' weights: drawn from all until it is another
        drawn[todo] = rng.choice(n_cells, size=len(todo), p=weights / weights.sum())
        todo = todo[drawn[todo] == cell[todo]]
    return drawn
