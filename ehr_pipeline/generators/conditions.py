"""Conditions on columns (name to value): read, checked, turned into levels, met by rejection, set exactly.

What belongs here: what all generators share (reading and checking), and rejection for those that have no conditional
of their own. What does not: conditioning that a model does itself, or rows by given shares (`balance.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ehr_pipeline.errors import DefinitionError, OptionError, RejectionCapReached
from ehr_pipeline.generators.category_codec import CategoryCodec
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.record import Column, Schema, conform

BATCH_ROWS = 65_536
"""Rows drawn at a time at most, so that memory does not grow with the rarity of a condition."""
FEWEST_BATCH_ROWS = 1_024
FEWEST_DRAWS = 1_000_000
"""Draws before conditions are given up."""
LEAST_RATE = 1 / 5_000
"""Conditions that a smaller share of these draws meets are given up."""
PILOT_ROWS = 16_384
"""Draws by which weights are bounded, where a model says how likely the conditions are for each."""
LEAST_CHANCE = 1e-5
"""Conditions that the model gives a smaller chance than this are given up."""

DrawLevels = Callable[[int, np.random.Generator], np.ndarray]
"""Rows and a generator of random numbers to levels, int64 of shape (n, d)."""

DrawWeighed = Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""The same with conditioned columns set, and the chance of what was set there: float64 of shape (n,)."""


def read_conditions(texts: Iterable[str]) -> dict[str, str]:
    """Conditions written as COLUMN=VALUE, by column; nothing after the sign means missing.

    >>> read_conditions(["diabetes=1", "unit=MICU"])
    {'diabetes': '1', 'unit': 'MICU'}

    Raises
    ------
    OptionError
        There is no column or no sign, or two conditions on one column.
    """
    conditions: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise OptionError("a condition must be written as COLUMN=VALUE")
        if name in conditions:
            raise OptionError(f"there are two conditions on {name}; leave one out")
        conditions[name] = value
    return conditions


def conditions_row(codec: TableCodec, conditions: Mapping[str, Any] | None) -> pd.DataFrame:
    """The conditions as one typed row of the columns that they name; None or an empty text means missing.

    Raises
    ------
    OptionError
        A column is unknown, a value cannot be the column's, or no training patient (or too few) ever had it. The
        message names the column, not the value.
    """
    schema, row = codec.schema, {}
    for name, value in (conditions or {}).items():
        if name not in schema:
            raise OptionError(f"the condition names the column {name!r}; the columns are {_some(schema.names)}")
        row[name] = _typed(schema[name], None if value == "" else value)
        _check_level(codec, name, row[name])
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
        if n_drawn >= FEWEST_DRAWS and n_kept < LEAST_RATE * n_drawn:
            raise RejectionCapReached(
                f"of {n_drawn:,} draws {n_kept:,} meet the conditions, {n:,} were asked for; drop or widen a condition"
            )
        batch = draw(next_batch_rows(n - n_kept, n_kept, n_drawn) if wanted else min(BATCH_ROWS, n - n_kept), rng)
        fits = batch[(batch[:, columns] == levels).all(axis=1)]
        kept.append(fits[: n - n_kept])
        n_kept, n_drawn = n_kept + len(fits), n_drawn + len(batch)
    accepted = np.concatenate(kept) if kept else draw(0, rng)
    return accepted, n_kept / n_drawn if n_drawn else 1.0


def draw_guided(draw: DrawWeighed, n: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """`n` rows of levels from draws that were made to meet the conditions, and the share of them that was accepted.

    A draw is accepted with its weight, the chance that it would have met the conditions by itself, over a bound: rows
    come as they would by plain rejection, but rare conditions cost no more than common ones where the model knows whom
    they befall. The bound is twice the largest weight of the first batch; a weight beyond it counts as the bound.

    Raises
    ------
    RejectionCapReached
        Almost no draw would have met the conditions.
    """
    levels, weight = draw(PILOT_ROWS, rng)
    if weight.mean() < LEAST_CHANCE:
        raise RejectionCapReached(
            f"fewer than one in {1 / LEAST_CHANCE:,.0f} draws meets the conditions; drop or widen a condition"
        )
    bound = min(1.0, 2 * float(weight.max()))
    kept: list[np.ndarray] = []
    n_kept = n_drawn = 0
    while True:
        fits = levels[rng.random(len(levels)) * bound < weight]
        kept.append(fits[: n - n_kept])
        n_kept, n_drawn = n_kept + len(fits), n_drawn + len(levels)
        if n_kept >= n:
            return np.concatenate(kept), n_kept / n_drawn
        levels, weight = draw(next_batch_rows(n - n_kept, n_kept, n_drawn), rng)


def next_batch_rows(n_missing: int, n_kept: int, n_drawn: int) -> int:
    """How many rows to draw next, when `n_kept` of `n_drawn` were accepted so far and `n_missing` more are wanted."""
    rate = (n_kept + 1) / (n_drawn + 1)
    return int(np.clip(1.1 * n_missing / rate, FEWEST_BATCH_ROWS, BATCH_ROWS))


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


def _check_level(codec: TableCodec, name: str, value: pd.Series) -> None:
    """Refuse what the column cannot be drawn with: what no training patient, or too few, ever had."""
    k = codec.schema.names.index(name)
    column = codec.columns[k]
    if value.isna().all():
        if not column.may_be_missing:
            raise OptionError(f"the condition on {name} asks for a missing value, which the column never has")
    elif isinstance(column, CategoryCodec):
        if str(value.iloc[0]) not in column.names:
            raise OptionError(f"the condition on {name} asks for a level that no training patient has, or too few")
    elif not column.n_number_levels:
        raise OptionError(f"the condition on {name} asks for a value, and too few patients have one")
    else:
        number = codec.column_numbers(k, value)
        if not column.lowest <= number[0] <= column.highest:
            raise OptionError(f"the condition on {name} asks for a value beyond those that training patients reach")
        if column.nearest(number)[0] != number[0]:
            raise OptionError(f"the condition on {name} asks for a value between the column's steps; round it")


def _some(names: list[str], n_shown: int = 30) -> str:
    rest = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(names[:n_shown]) + rest


def _typed(column: Column, value: Any) -> pd.Series:
    """One value in the dtype of the column's kind, inside its range."""
    try:
        text = pd.Series([None if value is None else str(value)], dtype=object)
        typed = pd.to_datetime(text) if column.kind == "time" else text
        typed = pd.to_numeric(text) if column.is_number or column.kind == "binary" else typed
        if column.kind in ("integer", "binary") and typed.notna().all() and float(typed.iloc[0]) % 1:
            raise ValueError
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
