"""Construction before rejection: a drawn row's minimum, mean and maximum of one item are put in order.

What belongs here: the one mend that drawn rows get. A model that draws the statistics of an item one by one gets
their order wrong in most rows once there are several items; throwing those rows away would leave one in hundreds and
bend every other column. Swapping the values within the row touches no other column, needs nothing but the schema (so
it costs no privacy budget), and is counted. What does not: rejecting (`accept.py`), which the mended rows still face.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ehr_pipeline.record import DTYPES, Schema
from ehr_pipeline.sanity.binding import ORDER_RULE, BoundRule


def ordered_columns(schema: Schema, hard: Iterable[BoundRule]) -> dict[str, list[str]]:
    """Columns of each item whose order is a HARD rule, at most one per statistic."""
    names = {name for one in hard if one.rule.id == ORDER_RULE for name in one.columns}
    columns = [column for column in schema.columns if column.name in names]
    groups: dict[str, list[str]] = {}
    for item in dict.fromkeys(column.item for column in columns if column.item):
        mine = [column for column in columns if column.item == item]
        if len({column.statistic for column in mine}) == len(mine):
            groups[item] = [column.name for column in mine]
    return groups


def put_in_order(
    frame: pd.DataFrame, schema: Schema, groups: dict[str, list[str]]
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The frame with each item's smallest value in its minimum and its largest in its maximum, swapped within the row.

    Also returns which rows changed, bool of shape (n_rows,) by item. Missing values stay missing where they are.
    """
    ordered, is_changed = frame.copy(), {}
    for item, names in groups.items():
        statistics = [schema[name].statistic for name in names]
        before = np.column_stack([frame[name].to_numpy(dtype="float64", na_value=np.nan) for name in names])
        values = before.copy()
        if "min" in statistics:
            _swap(values, statistics.index("min"), np.where(np.isnan(values), np.inf, values).argmin(axis=1))
        if "max" in statistics:
            _swap(values, statistics.index("max"), np.where(np.isnan(values), -np.inf, values).argmax(axis=1))
        is_changed[item] = ((values != before) & ~np.isnan(before)).any(axis=1)
        for place, name in enumerate(names):
            column = schema[name]
            own_grid = values[:, place] if column.decimals is None else values[:, place].round(column.decimals)
            ordered[name] = pd.Series(own_grid, index=frame.index).astype(DTYPES[column.kind])
    return ordered, is_changed


def _swap(values: np.ndarray, place: int, other: np.ndarray) -> None:
    """Exchange, in each row that has a value at `place`, that value with the one at `other` (a place per row)."""
    rows = np.flatnonzero(~np.isnan(values[:, place]))
    kept = values[rows, place].copy()
    values[rows, place] = values[rows, other[rows]]
    values[rows, other[rows]] = kept
