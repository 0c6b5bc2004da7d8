"""The record in the middle: the columns of the event stream, and the schema of a patient table.

What belongs here: the types that every stage shares. What a column means in medicine lives in
`clinical/`; how MIMIC-IV tables become events lives in `mimic/`.

The event stream follows MEDS 0.4 (https://github.com/Medical-Event-Data-Standard/meds); `hadm_id` and
`stay_id` ride along where the source knows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ehr_pipeline.errors import DefinitionError

EVENT_SCHEMA = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("time", pa.timestamp("us")),
        pa.field("code", pa.string(), nullable=False),
        pa.field("numeric_value", pa.float32()),
        pa.field("text_value", pa.large_string()),
        pa.field("hadm_id", pa.int64()),
        pa.field("stay_id", pa.int64()),
    ]
)

Kind = Literal["continuous", "integer", "binary", "categorical", "time", "text", "id"]
Role = Literal["feature", "outcome", "treatment", "sensitive", "site"]
Statistic = Literal["first", "last", "min", "max", "mean", "count"]

NUMBER_KINDS: frozenset[str] = frozenset({"continuous", "integer"})

SMALL_CELL = 11
"""Counts of patients below this are not shown outside the institution's own records."""


def shown_count(n: int) -> str:
    """A count of patients in words for a person: small ones are not said."""
    return f"fewer than {SMALL_CELL}" if n < SMALL_CELL else f"{n:,}"


# The dtype that each kind has in a pandas frame; all of them hold missing values.
DTYPES: dict[str, str] = {
    "continuous": "float64",
    "integer": "Int64",
    "binary": "Int8",
    "categorical": "str",
    "time": "datetime64[us]",
    "text": "str",
    "id": "Int64",
}


class Column(BaseModel):
    """One column of a patient table: what is publicly known about it, nothing learned from patients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[^\x00-\x1f]{1,128}$")
    kind: Kind
    unit: str | None = None
    minimum: float | None = Field(None, description="smallest plausible value, in `unit`")
    maximum: float | None = Field(None, description="largest plausible value, in `unit`")
    decimals: int | None = Field(None, ge=0, le=9, description="resolution: digits after the point")
    levels: tuple[str, ...] | None = Field(None, description="public vocabulary of a categorical column")
    missing: bool = Field(True, description="whether a value may be missing")
    role: Role = "feature"
    title: str | None = Field(None, description="how the report names the column")
    item: str | None = Field(None, description="name of the clinical item that was measured (clinical catalogue)")
    statistic: Statistic | None = Field(None, description="how the item's values in the window became one value")

    @field_validator("levels")
    @classmethod
    def _levels_are_distinct(cls, levels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if levels is not None and (not levels or len(set(levels)) != len(levels)):
            raise ValueError("levels must be a non-empty list of distinct names")
        return levels

    @model_validator(mode="after")
    def _range_is_a_range(self) -> Column:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"column {self.name}: minimum is above maximum")
        return self

    @property
    def is_number(self) -> bool:
        """Whether the column is a quantity (continuous or integer)."""
        return self.kind in NUMBER_KINDS


class Schema(BaseModel):
    """The columns of a patient table, in order. `subject_id` is not one of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...]

    @field_validator("columns")
    @classmethod
    def _names_are_distinct(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        names = [column.name for column in columns]
        if len(set(names)) != len(names):
            raise ValueError("column names must be distinct")
        return columns

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def __contains__(self, name: str) -> bool:
        return any(column.name == name for column in self.columns)

    def of_kind(self, *kinds: Kind) -> list[Column]:
        """Columns whose kind is one of `kinds`, in order."""
        return [column for column in self.columns if column.kind in kinds]

    def with_role(self, role: Role) -> list[Column]:
        """Columns that play `role`, in order."""
        return [column for column in self.columns if column.role == role]

    def without(self, names: Iterable[str]) -> Schema:
        """The same schema less the columns named."""
        left_out = set(names)
        return Schema(columns=tuple(column for column in self.columns if column.name not in left_out))


def conform(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Bring a frame to the schema: its columns in order, each in the dtype of its kind (`DTYPES`).

    Columns that the schema does not have are dropped.

    Raises
    ------
    DefinitionError
        A column of the schema is absent, or a column cannot be read as its kind. The message names the
        column and the kind, never a value.
    """
    absent = [name for name in schema.names if name not in frame.columns]
    if absent:
        raise DefinitionError(f"the table lacks the columns {', '.join(absent)}; its schema names them")
    conformed = {}
    for column in schema.columns:
        values = frame[column.name]
        try:
            if column.kind in ("integer", "binary", "id"):
                values = pd.to_numeric(values).astype("Float64").round().astype(DTYPES[column.kind])
            else:
                values = values.astype(DTYPES[column.kind])
        except (TypeError, ValueError):
            raise DefinitionError(
                f"column {column.name} cannot be read as {column.kind}; change its kind in the schema"
            ) from None
        conformed[column.name] = values
    return pd.DataFrame(conformed, index=frame.index)
