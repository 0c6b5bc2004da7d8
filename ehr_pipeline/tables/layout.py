"""How a table is written back: what JSON holds of a file beside the model that was learned from it.

What belongs here: types. What does not: reading (`table.py`) and writing (`write.py`). No value of a patient stands
here: formats, spellings of missing values, and what all rows share.
"""

from __future__ import annotations

import base64
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from ehr_pipeline.generators.category_codec import POOLED
from ehr_pipeline.record import Column, Schema
from ehr_pipeline.tables.identifiers import IdentifierFormat
from ehr_pipeline.tables.number_format import NumberFormat
from ehr_pipeline.tables.time_format import TimeFormat

Treatment = Literal["learned", "constant", "empty", "identifier", "left_out"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnLayout(_Frozen):
    """One column: what it is, what becomes of it, and how its values are spelled.

    Attributes
    ----------
    column
        Kind and what is public; its name is the one in the file.
    treatment
        `learned` by the generator; `constant` in every row; `empty` in every row; an `identifier` that is made anew;
        `left_out`: text, which comes out missing.
    number, time
        How its text is spelled; None for words, and for columns that were never text.
    missing
        Spellings of a missing value with their shares, in a file of text.
    spaced
        Whether one space stands before each value.
    is_text
        Whether its values are text in the source.
    constant
        The value that all rows share: a number, a text, or a time in ISO format.
    identifier
        What fresh identifiers look like.
    pool
        What the pool of rare levels is written as; None where no level may come out that the file does not have
        (codes, numbers, a Parquet dictionary): then one of the others takes its place.
    dictionary
        Levels of a Parquet dictionary in its order, those that enough patients share.
    spelled
        The words for 0 and 1 of a binary column of text; None where they are numbers.
    is_public
        Whether nothing here was looked up in the table (a private run), so that each value is read by itself.
    """

    column: Column
    treatment: Treatment = "learned"
    number: NumberFormat | None = None
    time: TimeFormat | None = None
    missing: tuple[tuple[str, float], ...] = ()
    spaced: bool = False
    is_text: bool = True
    constant: float | int | str | None = None
    identifier: IdentifierFormat | None = None
    pool: str | None = POOLED
    dictionary: tuple[str, ...] | None = None
    spelled: tuple[str, str] | None = None
    is_public: bool = False

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name


class Dialect(_Frozen):
    """How a file of delimited text is laid out.

    Attributes
    ----------
    delimiter, line_end
        Between values, and after a row.
    header
        Names as the file has them, in order (one may be empty).
    quoted
        Which columns have all their values in quotes.
    quotes_header
        Whether names are in quotes.
    quotes_missing
        Which columns have missing values in quotes too.
    has_mark
        Whether the file starts with the byte order mark.
    """

    delimiter: str = ","
    line_end: str = "\n"
    header: tuple[str, ...] = ()
    quoted: tuple[bool, ...] = ()
    quotes_header: bool = False
    quotes_missing: tuple[bool, ...] = ()
    has_mark: bool = False


class Layout(_Frozen):
    """A table: its columns in order, and either a dialect of text or an Arrow schema.

    Attributes
    ----------
    columns
        One per column of the file, in its order.
    dialect
        For a file of text.
    arrow_schema
        For Parquet and data frames: Arrow's own serialised form, base64.
    source
        Name of the file, for notes.
    """

    columns: tuple[ColumnLayout, ...]
    dialect: Dialect | None = None
    arrow_schema: str | None = None
    source: str = "table"

    @property
    def schema(self) -> Schema:
        """All columns in file order."""
        return Schema(columns=tuple(layout.column for layout in self.columns))

    @property
    def is_public(self) -> bool:
        """Whether nothing of the columns was looked up in the table."""
        return all(layout.is_public for layout in self.columns)

    @property
    def learned(self) -> Schema:
        """The columns that a generator learns from, in file order."""
        return Schema(columns=tuple(layout.column for layout in self.columns if layout.treatment == "learned"))

    @property
    def arrow(self) -> pa.Schema | None:
        """The Arrow schema, if the table has one."""
        if self.arrow_schema is None:
            return None
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.arrow_schema)))

    def __getitem__(self, name: str) -> ColumnLayout:
        for layout in self.columns:
            if layout.name == name:
                return layout
        raise KeyError(name)

    def notes(self) -> list[str]:
        """One line for each column that is left out of learning and comes out empty."""
        return [
            f"column {layout.name} is free text: it is left out, and comes out empty"
            for layout in self.columns
            if layout.treatment == "left_out"
        ]


def encoded(schema: pa.Schema) -> str:
    """An Arrow schema as text, for `Layout.arrow_schema`."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")
