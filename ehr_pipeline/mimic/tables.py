"""The tables of MIMIC-IV, MIMIC-IV-ED and our extension, as declared in the YAML files beside this module.

What belongs here: names, types, keys, references. What does not: whether a source keeps to them
(`ingest/checks.py`).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

# Folder of a source -> schema of the warehouse; one YAML file per folder.
SCHEMAS = {"hosp": "mimiciv_hosp", "icu": "mimiciv_icu", "ed": "mimiciv_ed", "extension": "extension"}

# Postgres types of create.sql -> DuckDB types. FLOAT is 64 bits wide in Postgres and 32 in DuckDB; the length of
# a text is not enforced; NUMERIC without a scale has no equal in DuckDB.
_TYPES = {
    "VARCHAR": "VARCHAR",
    "CHAR": "VARCHAR",
    "TEXT": "VARCHAR",
    "FLOAT": "DOUBLE",
    "DOUBLE PRECISION": "DOUBLE",
    "NUMERIC": "DOUBLE",
    "REAL": "FLOAT",
    "INTEGER": "INTEGER",
    "SMALLINT": "SMALLINT",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
}
_DECLARATION = re.compile(r"(?P<type>[A-Z ]+?)(?P<size>\([\d, ]+\))?(?P<not_null> NOT NULL)?")
_REFERENCE = re.compile(r"(?P<table>[a-z_]+\.[a-z_]+) \((?P<columns>[a-z_, ]+)\)")


@dataclass(frozen=True)
class Column:
    """A column: its name, its type in the warehouse, and whether it may be empty."""

    name: str
    type: str
    not_null: bool

    @property
    def may_be_infinite(self) -> bool:
        """Whether its type has values that are no number or moment: NaN and infinity."""
        return self.type in ("DOUBLE", "FLOAT", "TIMESTAMP", "DATE")


@dataclass(frozen=True)
class Reference:
    """A foreign key from one table's columns to another's. `strict`: MIMIC-IV declares it, an orphan is an error."""

    columns: tuple[str, ...]
    table: str
    table_columns: tuple[str, ...]
    strict: bool

    def __str__(self) -> str:
        return f"{', '.join(self.columns)} -> {self.table}"


@dataclass(frozen=True)
class Table:
    """One table, by its full name such as `mimiciv_hosp.patients`."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    references: tuple[Reference, ...]
    required: bool

    @property
    def short_name(self) -> str:
        """The name without its schema: also the name of its file."""
        return self.name.split(".")[1]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}")

    def create_sql(self) -> str:
        """DDL of the table. Keys are checked by query, not by index: indexes of 433 M rows don't fit in memory."""
        lines = ",\n".join(f"    {column.name} {column.type}" for column in self.columns)
        return f"CREATE TABLE {self.name} (\n{lines}\n)"


@functools.cache
def tables() -> dict[str, Table]:
    """Every table by full name, in the order of the YAML files."""
    return {
        table.name: table
        for folder, schema in SCHEMAS.items()
        for name, declaration in read_yaml(f"{folder}.yaml").items()
        for table in [_table(f"{schema}.{name}", declaration)]
    }


def read_yaml(name: str) -> dict[str, Any]:
    """Read a YAML file of this package."""
    return yaml.safe_load(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _table(name: str, declaration: dict[str, Any]) -> Table:
    references = [_reference(*entry, strict=True) for entry in declaration.get("references", {}).items()]
    references += [_reference(*entry, strict=False) for entry in declaration.get("links", {}).items()]
    return Table(
        name=name,
        columns=tuple(_column(*entry) for entry in declaration["columns"].items()),
        key=tuple(declaration.get("key", ())),
        references=tuple(references),
        required=declaration.get("required", False),
    )


def _column(name: str, declaration: str) -> Column:
    match = _DECLARATION.fullmatch(declaration)
    assert match is not None, f"not a column type: {declaration}"
    return Column(name, _TYPES[match["type"]], match["not_null"] is not None)


def _reference(columns: str, target: str, *, strict: bool) -> Reference:
    match = _REFERENCE.fullmatch(target)
    assert match is not None, f"not a reference: {target}"
    return Reference(tuple(columns.split(", ")), match["table"], tuple(match["columns"].split(", ")), strict)
