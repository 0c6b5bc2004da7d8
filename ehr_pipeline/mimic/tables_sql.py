"""Events -> tables: the SQL made of the declared mapping, the inverse of `events_sql.py`.

What belongs here: one SELECT per table that gives its mapped columns in their declared types. What does not:
columns that events don't carry (`mapping.unmapped_columns`).
"""

from __future__ import annotations

from typing import Literal

from ehr_pipeline.mimic.mapping import IDENTIFIERS, EventKind, Mapping, mappings


def tables_sql(events: str = "events", cast: Literal["CAST", "TRY_CAST"] = "CAST") -> dict[str, str]:
    """Per mapped table the SQL of its mapped columns, read from the relation `events`.

    With `cast` TRY_CAST a value that its column can't hold becomes null, as a synthetic stream may have one.

    What went in comes out, but for three things: numbers are float32; a text that said just its number comes
    back as that number is written shortest (`7.40` as `7.4`), also where the text was missing; and of rows
    that carry nothing, or have no time, nothing comes back.
    """
    return {name: _table_sql(mapping, events, cast) for name, mapping in mappings().items()}


def _table_sql(mapping: Mapping, events: str, cast: str) -> str:
    found = {name: name if name in IDENTIFIERS else "time" for name in (*mapping.identifiers, *mapping.row)}
    for kind in mapping.kinds:
        for name, value in _values(kind).items():
            found.setdefault(name, _of_kind(mapping, kind, value))
    for kind in mapping.kinds:
        for name, expression in kind.back:
            found[name] = expression.format(time=_of_kind(mapping, kind, "time"), **found)
    columns = ", ".join(f"{cast}({found[name]} AS {mapping.table[name].type}) AS {name}" for name in mapping.columns)
    matches = " OR ".join(f"({kind.code.match_sql()})" for kind in mapping.kinds)
    if not mapping.row:
        return f"SELECT {columns}\nFROM {events}\nWHERE {matches}"
    keys = [found[name] for name in mapping.row]
    return f"SELECT {columns}\nFROM {events}\nWHERE ({matches}) AND {keys[-1]} IS NOT NULL\nGROUP BY {', '.join(keys)}"


def _of_kind(mapping: Mapping, kind: EventKind, value: str) -> str:
    """The value from the one event of this kind among the events of a row."""
    return f"min({value}) FILTER (WHERE {kind.code.match_sql()})" if mapping.row else f"({value})"


def _values(kind: EventKind) -> dict[str, str]:
    """SQL of each column that an event of this kind gives back as it carries it."""
    values = {name: kind.code.part_sql(name) for name in kind.code.columns}
    if kind.time:
        values[kind.time] = "time"
    if kind.numeric and kind.numeric != kind.written:
        values[kind.numeric] = "numeric_value"
    for name in kind.text_columns:
        text = "text_value" if kind.text_column else kind.text.part_sql(name, "text_value")
        values[name] = f"coalesce({text}, {_number_text()})" if name == kind.written else text
    return values


def _number_text() -> str:
    """A float32 as people write it: no `.0` behind whole numbers."""
    is_whole = "numeric_value = trunc(numeric_value) AND abs(numeric_value) < 1e7"
    whole = "CAST(CAST(numeric_value AS BIGINT) AS VARCHAR)"
    return f"CASE WHEN {is_whole} THEN {whole} ELSE CAST(numeric_value AS VARCHAR) END"
