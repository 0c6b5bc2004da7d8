"""The declared mapping between tables and events (`events.yaml`), read into types.

What belongs here: what the declaration says. What does not: the SQL made of it (`events_sql.py`,
`tables_sql.py`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.mimic.codes import Template
from ehr_pipeline.mimic.tables import Table, read_yaml, tables

IDENTIFIERS = ("subject_id", "hadm_id", "stay_id")


@dataclass(frozen=True, kw_only=True)
class EventKind:
    """One kind of event that the rows of a table become; the fields are explained in `events.yaml`."""

    table: str
    code: Template
    time: str | None
    at: str | None
    numeric: str | None
    text: Template | None
    written: str | None
    when: str | None
    back: tuple[tuple[str, str], ...]

    @property
    def text_column(self) -> str | None:
        """The one column that text_value is, as it stands; None where it is a template or nothing."""
        is_column = self.text is not None and len(self.text.parts) == 1
        return self.text.columns[0] if is_column else None

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns that text_value carries."""
        return self.text.columns if self.text else ()

    @property
    def carried(self) -> tuple[str, ...]:
        """The columns in code, numeric_value and text_value, each once."""
        numeric = (self.numeric,) if self.numeric else ()
        return tuple(dict.fromkeys((*self.code.columns, *numeric, *self.text_columns)))

    @property
    def borrowed(self) -> tuple[str, str] | None:
        """Table and column of a time that another table lends; None for other times."""
        table, _, column = (self.at or "").rpartition(".")
        return (table, column) if table in tables() else None


@dataclass(frozen=True)
class Mapping:
    """A table and the kinds of event that its rows become. `row` is empty where each event is a row."""

    table: Table
    row: tuple[str, ...]
    kinds: tuple[EventKind, ...]

    @property
    def identifiers(self) -> tuple[str, ...]:
        """The patient, admission and stay columns that the table has."""
        return tuple(name for name in IDENTIFIERS if name in self.table.column_names)

    @property
    def columns(self) -> tuple[str, ...]:
        """The mapped columns: those that come back from events, in the table's order."""
        mapped = {*self.identifiers, *self.row}
        for kind in self.kinds:
            mapped.update(kind.carried, (name for name, _ in kind.back), [kind.time] if kind.time else [])
        return tuple(name for name in self.table.column_names if name in mapped)


@functools.cache
def mappings() -> dict[str, Mapping]:
    """Every mapped table by full name."""
    return {name: _mapping(tables()[name], entry) for name, entry in read_yaml("events.yaml").items()}


def mapped_columns() -> dict[str, tuple[str, ...]]:
    """Per mapped table the columns that survive tables -> events -> tables."""
    return {name: mapping.columns for name, mapping in mappings().items()}


def unmapped_columns() -> dict[str, tuple[str, ...]]:
    """Per table the columns that the event stream doesn't carry; tables that lose nothing are left out."""
    mapped = mapped_columns()
    lost = {
        name: tuple(column for column in table.column_names if column not in mapped.get(name, ()))
        for name, table in tables().items()
    }
    return {name: columns for name, columns in lost.items() if columns}


def _mapping(table: Table, entry: dict[str, Any]) -> Mapping:
    kinds = tuple(_kind(table.name, **event) for event in entry["events"])
    return Mapping(table, tuple(entry.get("row", ())), kinds)


def _kind(
    table: str,
    *,
    code: str,
    time: str | None = None,
    at: str | None = None,
    numeric: str | None = None,
    text: str | None = None,
    written: str | None = None,
    when: str | None = None,
    back: dict[str, str] | None = None,
) -> EventKind:
    template = None if text is None else Template.read(text if "{" in text else f"{{{text}}}")
    return EventKind(
        table=table,
        code=Template.read(code),
        time=time,
        at=at,
        numeric=numeric,
        text=template,
        written=written,
        when=when,
        back=tuple((back or {}).items()),
    )
