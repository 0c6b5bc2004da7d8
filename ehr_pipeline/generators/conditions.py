"""Conditions on columns (name to value): checked, turned into levels, met by rejection, set exactly.

What belongs here: what generators without a conditional of their own share. What does not: conditioning that
a model does itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ehr_pipeline.errors import DefinitionError, OptionError, RejectionCapReached
from ehr_pipeline.generators.category_codec import CategoryCodec
from ehr_pipeline.generators.codec import ColumnCodec, TableCodec
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.record import Column, Schema, conform

BATCH_ROWS = 65_536
MOST_DRAWS_PER_ROW = 5_000
FEWEST_DRAWS = 2_000_000

DrawLevels = Callable[[int, np.random.Generator], np.ndarray]
"""Rows and a generator of random numbers to levels, int64 of shape (n, d)."""


def conditions_row(codec: TableCodec, conditions: Mapping[str, Any] | None) -> pd.DataFrame:
    """The conditions as one typed row of the columns that they name; None or an empty text means missing.

    Raises
    ------
    OptionError
        A column is unknown, a value cannot be the column's, or no training patient has the level.
    """
    schema, row = codec.schema, {}
    for name, value in (conditions or {}).items():
        if name not in schema:
            raise OptionError(f"the condition names the column {name!r}; the columns are {', '.join(schema.names)}")
        row[name] = _typed(schema[name], None if value == "" else value)
        _check_level(name, row[name].iloc[0], codec.columns[schema.names.index(name)])
    return pd.DataFrame(row)


def wanted_levels(codec: TableCodec, row: pd.DataFrame) -> dict[int, int]:
    """The level that each conditioned column must have: index of the column to level."""
    indices = {name: k for k, name in enumerate(codec.schema.names)}
    return {indices[name]: int(codec.column_levels(indices[name], row[name])[0]) for name in row.columns}


def draw_where(
    draw: DrawLevels, n: int, wanted: Mapping[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """`n` rows of levels that have the wanted ones, by rejection, and the share of draws that were accepted.

    Raises
    ------
    RejectionCapReached
        Almost no draw meets the conditions.
    """
    columns, levels = list(wanted), np.array(list(wanted.values()), dtype=np.int64)
    kept: list[np.ndarray] = []
    n_kept = n_drawn = 0
    while n_kept < n:
        if n_drawn > max(FEWEST_DRAWS, MOST_DRAWS_PER_ROW * n):
            raise RejectionCapReached(
                f"of {n_drawn:,} draws {n_kept:,} meet the conditions, {n:,} were asked for; drop or widen a condition"
            )
        batch = draw(BATCH_ROWS if wanted else min(BATCH_ROWS, n - n_kept), rng)
        fits = batch[(batch[:, columns] == levels).all(axis=1)]
        kept.append(fits[: n - n_kept])
        n_kept, n_drawn = n_kept + len(fits), n_drawn + len(batch)
    accepted = np.concatenate(kept) if kept else draw(0, rng)
    return accepted, n_kept / n_drawn if n_drawn else 1.0


def sample_table(
    codec: TableCodec, draw: DrawLevels, n: int, seed: int, conditions: Mapping[str, Any] | None
) -> pd.DataFrame:
    """`n` rows that meet the conditions, drawn from `draw`; `attrs["acceptance_rate"]` says what that cost."""
    rng = np.random.default_rng(seed)
    row = conditions_row(codec, conditions)
    levels, acceptance_rate = draw_where(draw, n, wanted_levels(codec, row), rng)
    frame = fixed(codec.draw(levels, rng), row)
    frame.attrs["acceptance_rate"] = acceptance_rate
    return frame


def fixed(frame: pd.DataFrame, row: pd.DataFrame) -> pd.DataFrame:
    """The frame with the columns of `row` set to its values."""
    for name in row.columns:
        frame[name] = row[name].repeat(len(frame)).set_axis(frame.index)
    return frame


def _check_level(name: str, value: Any, codec: ColumnCodec) -> None:
    if pd.isna(value):
        if not codec.may_be_missing:
            raise OptionError(f"the condition on {name} asks for a missing value, which the column never has")
    elif isinstance(codec, CategoryCodec) and str(value) not in codec.names:
        shown = f"{', '.join(codec.names[:20])}{', ...' * (len(codec.names) > 20)}"
        raise OptionError(f"the condition on {name} is no level that can be drawn; there are {shown}")
    elif isinstance(codec, NumberCodec) and not codec.n_number_levels:
        raise OptionError(f"the condition on {name} asks for a value, and too few patients have one")


def _typed(column: Column, value: Any) -> pd.Series:
    """One value in the dtype of the column's kind, inside its range."""
    try:
        text = pd.Series([None if value is None else str(value)], dtype=object)
        typed = pd.to_datetime(text) if column.kind == "time" else text
        typed = pd.to_numeric(text) if column.is_number or column.kind == "binary" else typed
        typed = conform(typed.to_frame(column.name), Schema(columns=(column,)))[column.name]
    except (ValueError, TypeError, DefinitionError):
        raise OptionError(
            f"the condition on {column.name} must be a value that a {column.kind} column can have"
        ) from None
    if column.is_number and typed.notna().all():
        low = -np.inf if column.minimum is None else column.minimum
        high = np.inf if column.maximum is None else column.maximum
        if not low <= float(typed.iloc[0]) <= high:
            raise OptionError(f"the condition on {column.name} must lie in [{low:g}, {high:g}]")
    return typed
