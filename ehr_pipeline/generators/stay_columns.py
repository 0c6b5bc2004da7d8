"""The sums of a stay as columns that a generator of tables learns, and sums that hold together from drawn columns.

What belongs here: how sums are said, both ways. What does not: what the sums are (`stay_sums.py`).

A generator of tables predicts some dozens of levels per column. What is sharp in real stays would blur, so the columns
say it in a way that a level can hold: a count as the difference to the code that is measured with it; whether there is
one value, or all are the same, or which of the least and the largest is the last; the largest value only where it
differs from the least; the mean as a place between them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ehr_pipeline.generators.stay_sums import PARTS, Number, StayLayout, StaySums, rounded
from ehr_pipeline.record import Column

PLACE_DECIMALS = 3
"""Of a mean's place between the least and the largest value."""
ONE, SAME, *LAST_IS = COURSES = ("one", "same", "min", "max", "between")
"""How the values of a code go: there is one, or all are the same, or what the last is where they differ."""


def columns_of(layout: StayLayout) -> tuple[Column, ...]:
    """The columns that `coded` gives: totals before parts."""
    whole = {"kind": "integer", "minimum": 0, "missing": False}
    columns = [Column(name=name, maximum=layout.window_minutes, **whole) for name in ("last_minute", "first_minute")]
    columns += [Column(name=name, **whole) for name in ("n_times", "n_other")]
    for k, reference in enumerate(layout.reference):
        columns.append(Column(name=f"n.{k}", kind="integer", minimum=0 if reference < 0 else None, missing=False))
    for number in layout.numbers:
        k = number.place
        columns += [
            Column(name=f"min.{k}", kind="continuous"),
            Column(name=f"at.{k}", kind="categorical", levels=COURSES),
            Column(name=f"max.{k}", kind="continuous"),
            Column(name=f"mean.{k}", kind="continuous", minimum=0, maximum=1, decimals=PLACE_DECIMALS),
            Column(name=f"last.{k}", kind="continuous"),
        ]
    return tuple(columns)


def coded(layout: StayLayout, sums: StaySums) -> pd.DataFrame:
    """Sums of n stays as the columns of `columns_of`."""
    names = ("last_minute", "first_minute", "n_times", "n_other")
    table: dict[str, object] = {name: getattr(sums, name) for name in names}
    for k, reference in enumerate(layout.reference):
        table[f"n.{k}"] = sums.counts[:, k] - (sums.counts[:, reference] if reference >= 0 else 0)
    for q, number in enumerate(layout.numbers):
        mean, low, high, last = sums.values[:, q].T
        differ = high > low
        is_one = sums.counts[:, number.place] == 1
        at = np.select(
            [np.isnan(low), ~differ & is_one, ~differ, last == low, last == high],
            [None, ONE, SAME, *LAST_IS[:2]],
            LAST_IS[2],
        )
        table[f"min.{number.place}"] = low
        table[f"at.{number.place}"] = pd.array(at, dtype="str")
        table[f"max.{number.place}"] = np.where(differ, high, np.nan)
        table[f"mean.{number.place}"] = np.where(differ, (mean - low) / np.where(differ, high - low, 1), np.nan)
        table[f"last.{number.place}"] = np.where(at == LAST_IS[2], last, np.nan)
    return pd.DataFrame(table, index=np.arange(len(sums.counts)))


def decoded(layout: StayLayout, table: pd.DataFrame, rng: np.random.Generator) -> StaySums:
    """Sums from n drawn rows: what contradicts what stands before it is mended."""
    n = len(table)

    def whole(name: str) -> np.ndarray:
        return table[name].to_numpy(dtype=np.int64)

    counts = np.zeros((n, len(layout.planned)), dtype=np.int64)
    for k, reference in enumerate(layout.reference):
        counts[:, k] = np.maximum(whole(f"n.{k}") + (counts[:, reference] if reference >= 0 else 0), 0)
    n_other = whole("n_other")
    n_events = counts.sum(axis=1) + n_other
    last = np.clip(whole("last_minute"), 0, layout.window_minutes)
    first = np.minimum(whole("first_minute"), last)
    n_times = np.minimum(np.minimum(whole("n_times"), n_events), last - first + 1)
    n_times = np.maximum(n_times, n_events > 0)
    first, last = np.where(n_times == 1, last, np.where(n_times, first, 0)), np.where(n_times, last, 0)
    values = np.full((n, len(layout.numbers), len(PARTS)), np.nan)
    for q, number in enumerate(layout.numbers):
        values[:, q] = _values(table, number, counts[:, number.place], rng)
    return StaySums(
        counts=counts, n_other=n_other, n_times=n_times, first_minute=first, last_minute=last, values=values
    )


def _values(table: pd.DataFrame, number: Number, count: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`PARTS` of one code: float64 of shape (n, 4)."""
    low, high, mean, last = (
        table[f"{part}.{number.place}"].to_numpy(dtype=np.float64, copy=True) for part in ("min", "max", "mean", "last")
    )
    at = table[f"at.{number.place}"].to_numpy(dtype=object, na_value=None, copy=True)
    present, lacking = np.flatnonzero(np.isfinite(low)), np.flatnonzero((count > 0) & np.isnan(low))
    if number.always and len(present):
        # Few: the count and the value were drawn apart, and the count stands.
        donors = rng.choice(present, len(lacking))
        for part in (low, high, mean, last, at):
            part[lacking] = part[donors]
    # A course that contradicts the count or the extremes: as in the stay whose least value is nearest.
    several, differ = (count > 1) & np.isfinite(low), np.isin(at, LAST_IS)
    high[np.isin(at, (ONE, SAME))] = np.nan
    risen, highest = several & differ & (high > low), max(np.nanmax(part, initial=-np.inf) for part in (low, high))
    for wanted, donors in ((several & (at == ONE), risen | several & (at == SAME)), (several & differ & ~risen, risen)):
        if donors.any():
            nearest = np.flatnonzero(donors)[_nearest(low[donors], low[wanted])]
            span = rounded(high[nearest] - low[nearest], number.decimals)
            high[wanted] = np.minimum(low[wanted] + span, highest)
            for part in (mean, last, at):
                part[wanted] = part[nearest]
    high = np.where(np.isnan(high) | (count == 1), low, np.maximum(high, low))
    mean = low + np.where(np.isnan(mean), 0.5, mean) * (high - low)
    if number.always:
        mean = rounded(mean * count, number.decimals) / np.maximum(count, 1)
    mean = np.clip(rounded(mean, number.decimals, extra=1), low, high)
    last = np.where(np.isnan(last), rounded(mean, number.decimals), last)
    last = np.clip(np.select([at == LAST_IS[0], at == LAST_IS[1]], [low, high], last), low, high)
    parts = np.stack([mean, low, high, last], axis=1)
    parts[count == 0] = np.nan
    return parts


def _nearest(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Places in `values` (n > 0 numbers) of those nearest to each wanted number."""
    order = np.argsort(values, kind="stable")
    inside = np.clip(np.searchsorted(values[order], wanted), 1, max(len(order) - 1, 1))
    after, before = order[np.minimum(inside, len(order) - 1)], order[inside - 1]
    return np.where(np.abs(values[after] - wanted) < np.abs(values[before] - wanted), after, before)
