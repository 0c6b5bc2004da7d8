"""Mapping -> SQL: one SELECT per kind of event over the rows of a file, all of whose cells are text.

What belongs here: cells to times, numbers, codes and identifiers, and why a row is no event. What does not: reading
files, counting (`mapped.py`). Texts of a mapping stand in the SQL as literals, never as names.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping

from ehr_pipeline.ingest.mapping import Cells, Condition, Event, File, Identifiers, SourceMapping, Time, is_moment
from ehr_pipeline.ingest.reading import sql_text

REASONS = (
    "without a subject",
    "without a value",
    "without a code",
    "without a time",
    "with a time that cannot be read",
    "with a time outside the years 1 to 9999",
)
"""Why a row is no event; `aside` counts from 1 in this order."""
UNREADABLE = 5
MICROSECONDS = {"seconds": 1e6, "minutes": 6e7, "hours": 3.6e9, "days": 8.64e10}

_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NO_NUMBER = "(?i)[+-]?(nan|inf|infinity)"
_ISO = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?"
_ZONE = r"(Z|[+-]\d{2}(:?\d{2})?)"
_CLOCK = r"-?\d{1,7}:[0-5]\d(:[0-5]\d)?"
_WHOLE = r"[+-]?[0-9]+(\.0*)?"
CellOf = Callable[[str], str]
"""SQL of the cell of a column, as text."""
_LONGEST = 3e17
"""Microseconds of the longest distance, some 9,500 years: beyond, years overflow."""


def text_id_sql(text: str) -> str:
    """A stable number of a text id: 63 bits of its SHA-256. It hides nothing: who knows an id can make its number."""
    return f"CAST(('0x' || substr(sha256({text}), 1, 16))::UBIGINT & 9223372036854775807 AS BIGINT)"


def id_sql(text: str, kind: Identifiers) -> str:
    """An identifier as BIGINT; null where a text that should be a whole number is none."""
    if kind == "text":
        return f"CASE WHEN {text} IS NOT NULL THEN {text_id_sql(text)} END"
    whole = f"regexp_replace(trim({text}), '\\.0*$', '')"
    return f"CASE WHEN regexp_full_match(trim({text}), '{_WHOLE}') THEN TRY_CAST({whole} AS BIGINT) END"


def event_sql(mapping: SourceMapping, file: File, event: Event, places: Mapping[str, str], relation: str) -> str:
    """SQL of one kind of event over `relation`, the rows of its file.

    `relation` has subject_id, hadm_id and stay_id (BIGINT), and each column of the mapping as text under the name that
    `places` gives. Columns of the result: those of the event stream; aside (null, or a place in `REASONS`); odd
    (whether a value that is no finite number was set to missing).
    """

    def cell(name: str) -> str:
        return cell_sql(places[name], name, (file, event))

    time = file.time_of(event)
    moment = _time_sql(mapping, time, cell)
    code = _translated(event.template.render_sql({name: cell(name) for name in event.template.columns}), file.codes)
    number, text, odd = _values(event, cell)
    wheres = [_condition_sql(places[name], one) for cells in (file, event) for name, one in cells.where.items()] or [
        "true"
    ]
    visit = "NULL::BIGINT AS hadm_id, NULL::BIGINT AS stay_id" if is_personal(event, time) else "hadm_id, stay_id"
    return (
        f"SELECT subject_id, time, code, numeric_value, text_value, {visit}, "
        f"{_aside_sql(event, time, cell)} AS aside, odd FROM ("
        f"SELECT *, {moment} AS time, {code} AS code, {number} AS numeric_value, {text} AS text_value, "
        f"coalesce({odd}, false) AS odd FROM {relation} WHERE {' AND '.join(wheres)})"
    )


def is_personal(event: Event, time: Time) -> bool:
    """Whether an event is of the patient and of no visit: a static fact, or the birth."""
    return time.static or event.code == "MEDS_BIRTH"


def taken_sql(file: File, places: Mapping[str, str]) -> str:
    """Whether any kind of event takes a row."""
    kinds = []
    for event in file.events:
        tests = [_condition_sql(places[name], one) for cells in (file, event) for name, one in cells.where.items()]
        kinds.append(f"({' AND '.join(tests) or 'true'})")
    return " OR ".join(kinds)


def cell_sql(place: str, name: str, cells: tuple[Cells, ...]) -> str:
    """A cell with the words for missing taken away and others put in place: the file's, then the event's."""
    text = place
    for one in cells:
        if name in one.missing:
            text = f"CASE WHEN {_is_any(text, one.missing[name])} THEN NULL ELSE {text} END"
        if name in one.words:
            whens = " ".join(
                f"WHEN {_is_any(text, (key,))} THEN {'NULL' if word is None else sql_text(word)}"
                for key, word in one.words[name].items()
            )
            text = f"CASE {whens} ELSE {text} END"
    return text


def number_sql(text: str) -> str:
    """The finite float32 that a text writes plainly, else null."""
    number = f"TRY_CAST(trim({text}) AS FLOAT)"  # of a text too large this is infinity
    return f"CASE WHEN regexp_full_match(trim({text}), '{_NUMBER}') AND isfinite({number}) THEN {number} END"


def moment_sql(text: str) -> str:
    """The time that ISO 8601 text writes, in UTC where it names a zone, else null."""
    return (
        f"CASE WHEN regexp_full_match(trim({text}), '{_ISO}') THEN TRY_CAST(trim({text}) AS TIMESTAMP) "
        f"WHEN regexp_full_match(trim({text}), '{_ISO}{_ZONE}') "
        f"THEN TRY_CAST(trim({text}) AS TIMESTAMPTZ) AT TIME ZONE 'UTC' END"
    )


def distance_sql(text: str, unit: str) -> str:
    """The microseconds of a distance in time, as BIGINT; null where the text is none, or longer than all calendars."""
    if unit == "HH:MM":
        part = f"string_split(ltrim(trim({text}), '-'), ':')"
        seconds = f"{part}[1]::BIGINT * 3600 + {part}[2]::BIGINT * 60 + coalesce({part}[3]::BIGINT, 0)"
        sign = f"if(starts_with(trim({text}), '-'), -1, 1)"
        return f"CASE WHEN regexp_full_match(trim({text}), '{_CLOCK}') THEN {sign} * ({seconds}) * 1000000 END"
    number = f"TRY_CAST(trim({text}) AS DOUBLE) * {MICROSECONDS[unit]!r}"
    is_number = f"regexp_full_match(trim({text}), '{_NUMBER}')"
    return f"CASE WHEN {is_number} AND abs({number}) < {_LONGEST!r} THEN round({number})::BIGINT END"


def _time_sql(mapping: SourceMapping, time: Time, cell: CellOf) -> str:
    if time.static:
        return "NULL::TIMESTAMP"
    text = cell(time.column) if time.column is not None else sql_text(time.value or "")
    if time.unit is None:
        return f"try_strptime({text}, {sql_text(time.format)})::TIMESTAMP" if time.format else f"({moment_sql(text)})"
    origin = time.since if time.since is not None else mapping.origin
    assert origin is not None  # refused when the mapping was read
    start = f"TIMESTAMP {sql_text(_iso(origin))}" if is_moment(origin) else f"({moment_sql(cell(str(origin)))})"
    sign = "-" if time.before else "+"
    if time.unit == "years":
        years = f"({number_sql(text)})"
        return (
            f"CASE WHEN abs({years}) < 9000 THEN {start} {sign} to_years(trunc({years})::INTEGER) "
            f"{sign} to_days(round(({years} - trunc({years})) * 365.25)::INTEGER) END"
        )
    return f"({start} {sign} to_microseconds({distance_sql(text, time.unit)}))"


def _iso(moment: object) -> str:
    if isinstance(moment, str):
        moment = datetime.datetime.fromisoformat(moment)
    if isinstance(moment, datetime.datetime) and moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    return moment.isoformat(sep=" ") if isinstance(moment, datetime.datetime) else str(moment)


def _values(event: Event, cell: CellOf) -> tuple[str, str, str]:
    """SQL of the number, the text, and whether a number was set to missing."""
    if event.value is not None:
        value = cell(event.value)
        number, odd = number_sql(value), f"regexp_full_match(trim({value}), '{_NO_NUMBER}')"
        return number, f"CASE WHEN ({number}) IS NULL AND NOT {odd} THEN {value} END", odd
    number, odd, text = "NULL::FLOAT", "false", "NULL::VARCHAR"
    if event.numeric_value is not None:
        value = cell(event.numeric_value)
        number = number_sql(value)
        odd = f"{value} IS NOT NULL AND ({number}) IS NULL"
    if event.text is not None:
        columns = {name: cell(name) for name in event.text.columns}
        if event.text.parts == ((event.text.parts[0][0], True),):
            text = next(iter(columns.values()))
        else:
            rendered = event.text.render_sql(columns)
            text = f"CASE WHEN coalesce({', '.join([*columns.values(), 'NULL'])}) IS NOT NULL THEN {rendered} END"
    return number, text, odd


def _aside_sql(event: Event, time: Time, cell: CellOf) -> str:
    whens = ["subject_id IS NULL"]
    known = [f"{cell(name)} IS NOT NULL" for name in event.values]
    whens.append(f"NOT ({' OR '.join(known)})" if known else "false")
    parts = event.template.parts
    all_columns = all(is_column for _, is_column in parts)
    empty = " AND ".join(f"{cell(name)} IS NULL" for name in event.template.columns)
    whens.append(empty if all_columns else "false")
    columns = [name for name in (time.column, time.since_column) if name]
    whens.append(" OR ".join(f"{cell(name)} IS NULL" for name in columns) or "false")
    whens.append("false" if time.static else "time IS NULL")
    whens.append("NOT isfinite(time) OR time < TIMESTAMP '0001-01-01' OR time >= TIMESTAMP '10000-01-01'")
    cases = " ".join(f"WHEN {when} THEN {place}" for place, when in enumerate(whens, start=1))
    return f"CAST(CASE {cases} END AS UTINYINT)"


def _translated(code: str, codes: Mapping[str, str]) -> str:
    if not codes:
        return code
    whens = " ".join(f"WHEN {sql_text(own)} THEN {sql_text(ours)}" for own, ours in codes.items())
    return f"CASE {code} {whens} ELSE {code} END"


def _condition_sql(place: str, condition: Condition) -> str:
    if condition.any_of is not None:
        return _is_any(place, condition.any_of)
    return f"NOT {_is_any(place, condition.except_ or ())}"


def _is_any(text: str, given: tuple[object, ...]) -> str:
    """Whether a cell is one of these: a number by its value, a text to the letter, null if it is empty."""
    tests = []
    for one in given:
        if one is None:
            tests.append(f"{text} IS NULL")
        elif isinstance(one, str):
            tests.append(f"{text} = {sql_text(one)}")
        else:
            tests.append(f"TRY_CAST({text} AS DOUBLE) = '{float(one)!r}'::DOUBLE")
    return f"coalesce({' OR '.join(tests) or 'false'}, false)"
