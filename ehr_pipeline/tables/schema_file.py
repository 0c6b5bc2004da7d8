"""The schema file: what a user says of a table's columns, read strictly, and written for editing.

What belongs here: YAML to columns and back. What does not: inference (`table.py`). What stands in the file counts as
public knowledge. What is written into it is kinds, decimals and what was declared: levels and ranges are never
written, because those of a table are its patients'; a generator learns them in its `fit`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.record import Column, Kind, Role
from ehr_pipeline.storage import write_text
from ehr_pipeline.tables.layout import ColumnLayout, Layout

_HEADER = """\
# The columns of {source} as they were read. Edit, and give it back with --schema; what it leaves out is inferred.
# kind      continuous, integer, binary (0 and 1), categorical, time, text (left out), id (made anew)
# unit, minimum, maximum, decimals, levels, missing (true or false), role (feature, outcome, treatment, sensitive,
# site): public knowledge, for you to add. Levels and ranges are not filled in: those of the table are its patients'.
"""


class _Entry(BaseModel):
    """What may be said of a column."""

    model_config = ConfigDict(extra="forbid", strict=False)

    kind: Kind
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    decimals: int | None = None
    levels: tuple[str | int | float | bool, ...] | None = None
    missing: bool = True
    role: Role = "feature"


def read_schema_file(path: Path) -> tuple[Column, ...]:
    """The columns that a schema file declares, in its order.

    Raises
    ------
    DefinitionError
        It is not there, no YAML, or says something unknown; the message names the column and the key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise DefinitionError(f"{path} cannot be read; --schema takes a YAML file") from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise DefinitionError(f"{path} is no YAML{'' if line is None else f': line {line + 1}'}") from None
    if not isinstance(content, dict) or set(content) != {"columns"} or not isinstance(content["columns"], dict):
        raise DefinitionError(f"{path} must hold `columns:` and nothing else, with one entry per column under it")
    return tuple(_column(path, str(name), entry) for name, entry in content["columns"].items())


def write_schema_file(path: Path, layout: Layout) -> Path:
    """Write what is known of a table's columns; returns `path`."""
    entries = {one.name: _said(one.column) | _words(one) for one in layout.columns}
    body = yaml.safe_dump({"columns": entries}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    return write_text(path, _HEADER.format(source=layout.source) + body)


def schema_path(out: Path) -> Path:
    """Where the schema of what is written to `out` lies: `patients.csv.gz` has `patients.schema.yaml` beside it."""
    name = out.name.removesuffix(".gz")
    return out.with_name(f"{name.rpartition('.')[0] or name}.schema.yaml")


def schema_lines(layout: Layout) -> list[str]:
    """The columns as a small table for a person: name, kind, and what becomes of it."""
    said = {
        "constant": "the same in all rows",
        "empty": "empty in all rows",
        "identifier": "made anew",
        "left_out": "free text, left out: comes out empty",
        "learned": "",
    }
    wide = min(40, max(len(column.name) for column in layout.columns))
    return [f"{c.name:{wide}}  {c.column.kind:12}{said[c.treatment]}".rstrip() for c in layout.columns]


def _column(path: Path, name: str, entry: Any) -> Column:
    try:
        said = _Entry.model_validate(entry)
        levels = None if said.levels is None else tuple(_level(level) for level in said.levels)
        return Column(name=name, **(said.model_dump() | {"levels": levels}))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the entry"
        raise DefinitionError(f"{path}, column {name}, {key}: {first['msg']}") from None


def _level(level: Any) -> str:
    """A level as the file spells it; YAML reads some words as something else."""
    return str(level)


def _words(layout: ColumnLayout) -> dict[str, Any]:
    """The two words of a binary column, if they are not known by themselves."""
    return {} if layout.spelled is None or layout.spelled == ("0", "1") else {"levels": list(layout.spelled)}


def _said(column: Column) -> dict[str, Any]:
    said = column.model_dump(mode="json", exclude_defaults=True, exclude={"name", "title", "item", "statistic"})
    return {"kind": said.pop("kind")} | said
