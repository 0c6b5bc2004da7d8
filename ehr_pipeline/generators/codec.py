"""The column codec that all table generators share: a typed frame to levels and numbers, and back.

What belongs here: one codec per column of a schema, dtypes, and saving. What does not: how one column is
encoded (`number_codec.py`, `category_codec.py`) or what a network makes of it.

Two views of a table of n rows and d columns:

- **levels**, int64 of shape (n, d): every column as a category (numbers by interval or heavy value, missing as
  a level of its own). What heads with a softmax predict; `draw` turns levels back into a frame.
- **gaussian**, float32 of shape (n, n_numbers): the columns of numbers as standard normal quantiles of their
  rank, 0 where missing. What networks like to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators.category_codec import CategoryCodec
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.persistence import read_state, under, write_state
from ehr_pipeline.record import DTYPES, Column, Schema

MINIMUM_PATIENTS = 5
"""No level, extreme or interval that fewer patients share is drawn."""
TIME_STEPS_S = (86_400, 3_600, 60, 1)
"""Resolutions that a column of times may have, in seconds."""
MICROSECONDS = 1_000_000

ColumnCodec = NumberCodec | CategoryCodec


@dataclass(frozen=True, kw_only=True)
class TableCodec:
    """Codecs of a schema's columns, in its order.

    Attributes
    ----------
    schema
        Columns that are encoded: neither text nor identifiers.
    columns
        Codec of each.
    time_steps_s
        Resolution of each column in seconds; 0 for what is not a time.
    """

    schema: Schema
    columns: tuple[ColumnCodec, ...]
    time_steps_s: tuple[int, ...]

    @classmethod
    def fit(
        cls,
        schema: Schema,
        table: pd.DataFrame,
        subject_id: np.ndarray,
        *,
        minimum_patients: int = MINIMUM_PATIENTS,
        n_levels: int = 32,
    ) -> Self:
        """Learn every column of `schema` from `table` (dtypes of `record.DTYPES`), whose rows belong to `subject_id`.

        Raises
        ------
        DefinitionError
            There is no row, or no column.
        """
        if not schema.columns:
            raise DefinitionError("the table has no column that can be learned from; text and identifiers do not count")
        if not len(table):
            raise DefinitionError("the table has no row to learn from; widen the cohort")
        columns, steps = [], []
        for column in schema.columns:
            values = table[column.name]
            step_s = _time_step_s(values) if column.kind == "time" else 0
            steps.append(step_s)
            if column.is_number or step_s:
                columns.append(
                    NumberCodec.fit(
                        _numbers(values, step_s),
                        subject_id,
                        decimals=0 if step_s or column.kind == "integer" else column.decimals,
                        minimum=None if step_s else column.minimum,
                        maximum=None if step_s else column.maximum,
                        may_miss=column.missing,
                        minimum_patients=minimum_patients,
                        n_levels=n_levels,
                    )
                )
            else:
                columns.append(
                    CategoryCodec.fit(
                        _as_text(values, column),
                        subject_id,
                        vocabulary=("0", "1") if column.kind == "binary" else column.levels,
                        may_miss=column.missing,
                        minimum_patients=minimum_patients,
                    )
                )
        return cls(schema=schema, columns=tuple(columns), time_steps_s=tuple(steps))

    @property
    def n_levels(self) -> list[int]:
        """Number of levels of each column."""
        return [codec.n_levels for codec in self.columns]

    @property
    def level_shares(self) -> list[np.ndarray]:
        """Share of training rows in each level, per column."""
        return [codec.level_shares for codec in self.columns]

    @property
    def is_number(self) -> np.ndarray:
        """Which columns are numbers (times too), bool of shape (d,)."""
        return np.array([isinstance(codec, NumberCodec) for codec in self.columns])

    def column_levels(self, k: int, values: pd.Series) -> np.ndarray:
        """The levels of values of the k-th column: int64 of shape (n,)."""
        codec = self.columns[k]
        if isinstance(codec, NumberCodec):
            return codec.levels(_numbers(values, self.time_steps_s[k]))
        return codec.levels(_as_text(values, self.schema.columns[k]))

    def column_numbers(self, k: int, values: pd.Series) -> np.ndarray:
        """Values of the k-th column, one of numbers or times, as its codec has them: float64 of shape (n,)."""
        return _numbers(values, self.time_steps_s[k])

    def levels(self, table: pd.DataFrame) -> np.ndarray:
        """The levels of a table: int64 of shape (n, d)."""
        levels = np.empty((len(table), len(self.columns)), dtype=np.int64)
        for k, name in enumerate(self.schema.names):
            levels[:, k] = self.column_levels(k, table[name])
        return levels

    def small_levels(self, table: pd.DataFrame) -> np.ndarray:
        """The levels of a table in the smallest integers that hold them: shape (n, d), column by column in memory."""
        dtype = np.uint8 if max(self.n_levels) <= 256 else np.int16 if max(self.n_levels) <= 2**15 else np.int32
        levels = np.empty((len(table), len(self.columns)), dtype=dtype)
        for k, name in enumerate(self.schema.names):
            levels[:, k] = self.column_levels(k, table[name])
        return levels

    def numbers(self, table: pd.DataFrame) -> np.ndarray:
        """The columns of numbers as they are (times in steps): float64 of shape (n, n_numbers), NaN where missing."""
        columns = zip(self.schema.names, self.time_steps_s, self.is_number, strict=True)
        numbers = [_numbers(table[name], step_s) for name, step_s, is_number in columns if is_number]
        return np.column_stack(numbers) if numbers else np.empty((len(table), 0))

    def gaussian(self, table: pd.DataFrame) -> np.ndarray:
        """The columns of numbers as standard normal numbers: float32 of shape (n, n_numbers), 0 where missing."""
        numbers = self.numbers(table)
        codecs = [codec for codec in self.columns if isinstance(codec, NumberCodec)]
        gaussian = np.empty(numbers.shape, dtype=np.float32)
        for k, codec in enumerate(codecs):
            gaussian[:, k] = codec.gaussian(numbers[:, k])
        return gaussian

    def draw(self, levels: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """A frame in the schema's dtypes from levels, int64 of shape (n, d); numbers are drawn inside their level."""
        return self.frame(
            [
                codec.draw(levels[:, k], rng) if isinstance(codec, NumberCodec) else codec.draw(levels[:, k])
                for k, codec in enumerate(self.columns)
            ]
        )

    def frame(self, values: Sequence[np.ndarray]) -> pd.DataFrame:
        """A frame in the schema's dtypes from one array per column: what `NumberCodec` and `CategoryCodec` draw."""
        typed = {
            column.name: _typed(values[k], column, self.time_steps_s[k]) for k, column in enumerate(self.schema.columns)
        }
        return pd.DataFrame(typed, index=pd.RangeIndex(len(values[0])))

    def save(self, folder: Path) -> None:
        """Write `codec.json` and `codec.safetensors`."""
        states = [codec.state() for codec in self.columns]
        plain = {
            "schema": self.schema.model_dump(mode="json"),
            "time_steps_s": list(self.time_steps_s),
            "columns": [
                {"type": type(codec).__name__, **state[0]} for codec, state in zip(self.columns, states, strict=True)
            ],
        }
        arrays = {f"{k}.{name}": array for k, (_, state) in enumerate(states) for name, array in state.items()}
        write_state(folder, "codec", plain, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        plain, arrays = read_state(folder, "codec")
        columns = []
        for k, state in enumerate(plain["columns"]):
            codec_type = {"NumberCodec": NumberCodec, "CategoryCodec": CategoryCodec}[state.pop("type")]
            if "names" in state:
                state["names"] = tuple(state["names"])
            columns.append(codec_type(**state, **under(f"{k}.", arrays)))
        return cls(
            schema=Schema.model_validate(plain["schema"]),
            columns=tuple(columns),
            time_steps_s=tuple(plain["time_steps_s"]),
        )


def _time_step_s(values: pd.Series) -> int:
    """The coarsest of `TIME_STEPS_S` that all times keep to, in seconds."""
    seconds = values.dropna().astype("datetime64[us]").astype("int64").to_numpy() // MICROSECONDS
    return next((step_s for step_s in TIME_STEPS_S if not (seconds % step_s).any()), 1)


def _numbers(values: pd.Series, time_step_s: int) -> np.ndarray:
    """A column as float64, NaN where missing or infinite; times in units of their step."""
    if time_step_s:
        microseconds = values.astype("datetime64[us]").astype("int64").to_numpy()
        return np.where(values.isna(), np.nan, microseconds / (MICROSECONDS * time_step_s))
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _as_text(values: pd.Series, column: Column) -> pd.Series:
    """A column as text; 0 and 1 as "0" and "1"."""
    if column.kind == "binary":
        return pd.Series(np.where(values.isna(), None, np.where(values.fillna(0) == 1, "1", "0")), dtype=object)
    return values


def _typed(values: np.ndarray, column: Column, time_step_s: int) -> pd.Series:
    """Drawn values in the dtype of the column's kind."""
    if time_step_s:
        microseconds = np.nan_to_num(values) * time_step_s * MICROSECONDS
        return pd.Series(microseconds.astype("int64").astype("datetime64[us]")).mask(np.isnan(values))
    if column.kind == "binary":
        return pd.Series(pd.to_numeric(values)).astype("Float64").astype(DTYPES["binary"])
    if column.kind == "integer":
        return pd.Series(pd.array(np.where(np.isnan(values), 0, values).astype("int64"), dtype="Int64")).mask(
            np.isnan(values)
        )
    return pd.Series(values, dtype=DTYPES[column.kind])
