"""Mapping files: what a source that is not MIMIC-IV holds, as YAML, read into types (`docs/sources.md` teaches one).

What belongs here: what a mapping may say. What does not: reading the YAML and the words for its faults
(`mapping_file.py`), the SQL made of it (`mapping_sql.py`), a source's files (`mapped.py`).
"""

from __future__ import annotations

import datetime
import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ehr_pipeline.mimic.codes import SEPARATOR, Template

STATIC = "static"
_COLUMN = re.compile(r"\{([^{}]+)\}")

Unit = Literal["HH:MM", "seconds", "minutes", "hours", "days", "years"]
Identifiers = Literal["integer", "text"]
Moment = str | datetime.datetime | datetime.date


def _scalar(given: Any) -> Any:
    if given is not None and (isinstance(given, bool) or not isinstance(given, str | int | float)):
        raise ValueError("must be a text, a number or null; yes, no, true, false and dates need quotes")
    return given


def _as_tuple(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else given


def _as_scalars(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else (given,)


Scalar = Annotated[Any, BeforeValidator(_scalar)]
Scalars = Annotated[tuple[Scalar, ...], BeforeValidator(_as_scalars)]
Words = dict[str, dict[Scalar, str | None]]


class Declared(BaseModel):
    """A part of a mapping: nothing in it but what is declared, nothing coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Condition(Declared):
    """Which cells a column may have: these, or (`except`) all but these. An empty cell is null."""

    any_of: Scalars | None = None
    except_: Scalars | None = Field(None, alias="except")

    @model_validator(mode="after")
    def _is_one_list(self) -> Condition:
        if (self.any_of is None) == (self.except_ is None):
            raise ValueError("give a value, a list of values, or {except: ...}")
        return self


class Time(Declared):
    """When an event was: a column's time, or a distance (`unit`) from `since`, a time or a column with one."""

    static: bool = False
    column: str | None = None
    value: str | None = Field(None, description="the same for every row, in place of a column")
    format: str | None = Field(None, description="as strptime has it, such as %d/%m/%Y %H:%M; else ISO 8601")
    unit: Unit | None = None
    since: Moment | None = None
    before: bool = Field(False, description="the distance goes back in time, as an age does")

    @model_validator(mode="after")
    def _is_one_time(self) -> Time:
        if (self.column is not None) + (self.value is not None) + self.static != 1:
            raise ValueError(f"a time has a column or a value, or is {STATIC}")
        if self.unit is not None and self.format is not None:
            raise ValueError("format is for times on a calendar, unit for distances; keep one")
        if self.unit is None and (self.since is not None or self.before):
            raise ValueError("since and before are of distances; name their unit")
        return self

    @property
    def since_column(self) -> str | None:
        """The column that the distance counts from, if it is one."""
        return str(self.since) if self.since is not None and not is_moment(self.since) else None


def _as_time(given: Any) -> Any:
    if isinstance(given, str):
        return {STATIC: True} if given == STATIC else {"column": given}
    return given


def _as_condition(given: Any) -> Any:
    return given if isinstance(given, dict) else {"any_of": given}


When = Annotated[Time, BeforeValidator(_as_time)]
Where = dict[str, Annotated[Condition, BeforeValidator(_as_condition)]]


class Join(Declared):
    """Columns that another file lends to each row, found by a key that stands there once."""

    file: str
    by: str | dict[str, str] = Field(description="the key's column, or {own column: column there}")
    columns: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_as_tuple)]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","

    @field_validator("by")
    @classmethod
    def _is_one_key(cls, by: str | dict[str, str]) -> str | dict[str, str]:
        if isinstance(by, dict) and len(by) != 1:
            raise ValueError("name one column: {own column: column there}")
        return by

    @property
    def keys(self) -> tuple[str, str]:
        """The key's column here and there."""
        return (self.by, self.by) if isinstance(self.by, str) else next(iter(self.by.items()))


class Cells(Declared):
    """How cells are read, and which rows: for a file, and beside that for one kind of event of it."""

    missing: dict[str, Scalars] = {}
    words: Words = {}
    where: Where = {}


class Event(Cells):
    """One kind of event that the rows of a file become."""

    code: str
    unit: str | None = Field(None, description="a constant or {column}: the last part of the code")
    time: When | None = None
    numeric_value: str | None = None
    text_value: str | None = None
    value: str | None = Field(None, description="a column: a number where it is one, else text")

    @model_validator(mode="after")
    def _values_are_told_once(self) -> Event:
        if self.value is not None and (self.numeric_value is not None or self.text_value is not None):
            raise ValueError("value stands for numeric_value and text_value; take those out")
        return self

    @field_validator("code", "unit", "text_value")
    @classmethod
    def _is_a_template(cls, text: str | None) -> str | None:
        if text is not None:
            template(text)
        return text

    @cached_property
    def template(self) -> Template:
        """The code with its unit."""
        return template(self.code if self.unit is None else f"{self.code}{SEPARATOR}{self.unit}")

    @cached_property
    def text(self) -> Template | None:
        """What text_value is made of; a name alone is a column."""
        if self.text_value is None:
            return None
        return template(self.text_value if "{" in self.text_value else f"{{{self.text_value}}}")

    @property
    def carried(self) -> tuple[str, ...]:
        """The columns in code, numeric_value, text_value and value, each once."""
        others = (self.numeric_value, *(self.text.columns if self.text else ()), self.value)
        return tuple(dict.fromkeys((*self.template.columns, *(name for name in others if name))))

    @property
    def values(self) -> tuple[str, ...]:
        """The columns of its values, or of its code where it has none: without any of them it says nothing."""
        of_values = tuple(name for name in self.carried if name not in self.template.columns)
        return of_values or self.template.columns


class File(Cells):
    """One file, or several of one layout, and the events of its rows."""

    file: str = Field(description="path in the folder, * and ? allowed; .csv, .csv.gz and .parquet may be left out")
    optional: bool = False
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    subject_id: str
    hadm_id: str | None = None
    stay_id: str | None = None
    time: When | None = None
    codes: dict[str, str] = Field({}, description="codes in place of others, once a code is put together")
    joins: Annotated[tuple[Join, ...], BeforeValidator(_as_tuple)] = ()
    events: Annotated[tuple[Event, ...], Field(min_length=1), BeforeValidator(_as_tuple)]

    @model_validator(mode="after")
    def _every_event_has_a_time(self) -> File:
        for place, event in enumerate(self.events, start=1):
            if event.time is None and self.time is None:
                raise ValueError(f"event {place} has no time; name a column, or say time: {STATIC}")
        return self

    def time_of(self, event: Event) -> Time:
        """The time of an event: its own, else the file's."""
        time = event.time or self.time
        assert time is not None  # refused when the file was read
        return time

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Every column that the mapping names for its rows, those of joins included, each once."""
        names: list[str | None] = [self.subject_id, self.hadm_id, self.stay_id]
        for cells in (self, *self.events):
            names += [*cells.missing, *cells.words, *cells.where]
        for event in self.events:
            time = self.time_of(event)
            names += [*event.carried, time.column, time.since_column]
        return tuple(dict.fromkeys(name for name in names if name))

    @property
    def own_columns(self) -> tuple[str, ...]:
        """Those of the file itself, the keys of joins included."""
        lent = {name for join in self.joins for name in join.columns}
        names = (*(name for name in self.columns if name not in lent), *(join.keys[0] for join in self.joins))
        return tuple(dict.fromkeys(names))


class SourceMapping(Declared):
    """A whole mapping. `name` is the stem of its file."""

    name: str
    title: str
    subject_ids: Identifiers = Field("integer", description="text ids become stable numbers")
    visit_ids: Identifiers = Field("integer", description="the same of hadm_id and stay_id")
    origin: Moment | None = Field(None, description="where distances count from")
    files: Annotated[tuple[File, ...], Field(min_length=1), BeforeValidator(_as_tuple)]

    @model_validator(mode="after")
    def _distances_have_an_origin(self) -> SourceMapping:
        if self.origin is not None and not is_moment(self.origin):
            raise ValueError("origin must be a time, such as 2000-01-01")
        for file in self.files:
            times = [file.time_of(event) for event in file.events]
            if self.origin is None and any(time.unit and time.since is None for time in times):
                raise ValueError(f"a distance of {file.file} needs since, or the mapping an origin: 2000-01-01")
        return self


def template(text: str) -> Template:
    """The template that a mapping writes: parts joined by `//`, each a fixed word or one `{column}`.

    Raises
    ------
    ValueError
        A part is neither.
    """
    parts = []
    for part in text.split(SEPARATOR):
        match = _COLUMN.fullmatch(part)
        if match is None and (not part or "{" in part or "}" in part):
            raise ValueError("its parts, joined by //, are each a word or one {column}, such as LAB//{code}//{unit}")
        parts.append((match[1], True) if match else (part, False))
    return Template(tuple(parts))


def is_moment(given: Moment) -> bool:
    """Whether a `since` is itself a time and not a column's name."""
    if not isinstance(given, str):
        return True
    try:
        datetime.datetime.fromisoformat(given)
    except ValueError:
        return False
    return True
