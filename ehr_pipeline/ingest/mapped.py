"""A source that a mapping describes: finding its files, reading them as text, and making events of their rows.

What belongs here: files, joins, identifiers, and counting what became of every row. What does not: what a mapping says
(`mapping.py`) and the SQL of one kind of event (`mapping_sql.py`).

Memory: half of the machine's at most; rows and events lie in temporary tables, which DuckDB spills beside the new
warehouse.
"""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ehr_pipeline.errors import SourceError
from ehr_pipeline.ingest.header import column_names
from ehr_pipeline.ingest.mapping import File, Join, SourceMapping
from ehr_pipeline.ingest.mapping_sql import REASONS, UNREADABLE, event_sql, id_sql, taken_sql
from ehr_pipeline.ingest.reading import MAX_FAULTS, plain_error, refuse_faults, sql_text
from ehr_pipeline.ingest.source import SUFFIXES
from ehr_pipeline.ingest.summary import FileSummary
from ehr_pipeline.progress import Progress, Step

STAGED = "staged_events"
"""Temporary table of all events, in the columns of the event stream."""
_IDS = {"subject_id": "subject_ids", "hadm_id": "visit_ids", "stay_id": "visit_ids"}


@dataclass(frozen=True)
class FoundFile:
    """One file on disk, and the place of each column that is needed of it."""

    path: Path
    header: tuple[str, ...]
    places: dict[str, int]

    @property
    def read(self) -> frozenset[int]:
        """The places that are needed."""
        return frozenset(self.places.values())


@dataclass(frozen=True)
class FoundLayout:
    """The files of one entry of a mapping, and those that lend it columns."""

    file: File
    found: tuple[FoundFile, ...]
    lenders: tuple[tuple[FoundFile, ...], ...]

    @property
    def unread(self) -> tuple[str, ...]:
        """Columns of the files that the mapping does not name, in order."""
        names = (one.header[place] for one in self.found for place in range(len(one.header)) if place not in one.read)
        return tuple(dict.fromkeys(names))


def find_layouts(folder: Path, mapping: SourceMapping) -> tuple[FoundLayout, ...]:
    """The files of a folder that a mapping names; looks at headers alone.

    Raises
    ------
    SourceError
        A file that is not optional is missing, is not what its name says, or lacks a column.
    """
    layouts = []
    for file in mapping.files:
        paths = matching(folder, file.file)
        if not paths and not file.optional:
            raise SourceError(f"{folder} holds no file {file.file!r}, with or without .csv, .csv.gz or .parquet")
        if paths:
            found = tuple(_look_into(path, file.own_columns, file.delimiter) for path in paths)
            lenders = tuple(_lender(folder, join) for join in file.joins)
            layouts.append(FoundLayout(file, found, lenders))
    if not layouts:
        names = ", ".join(file.file for file in mapping.files)
        raise SourceError(f"{folder} holds none of the files that the mapping names: {names}")
    return tuple(layouts)


def matching(folder: Path, pattern: str) -> list[Path]:
    """The files that a mapping's path means, in order.

    Raises
    ------
    SourceError
        The path leads out of the folder, or one file is there in two formats.
    """
    parts = Path(pattern).parts
    if not parts or Path(pattern).is_absolute() or ".." in parts:
        raise SourceError(f"the mapping's file {pattern!r} must be a path inside the source's folder")
    patterns = [pattern] if "." in parts[-1] else [pattern + suffix for suffix in SUFFIXES]
    paths = sorted({path for one in patterns for path in folder.glob(one) if path.is_file()})
    stems = [_stem(path) for path in paths]
    if twice := [stem for stem, n in Counter(stems).items() if n > 1]:
        raise SourceError(f"{twice[0].name} is there in two formats in {twice[0].parent}; keep one of them")
    return paths


def stage(
    con: duckdb.DuckDBPyConnection, mapping: SourceMapping, layouts: Sequence[FoundLayout], progress: Progress
) -> tuple[FileSummary, ...]:
    """Make the table `STAGED` of all events of the files, and count what became of every row.

    Raises
    ------
    SourceError
        A file is damaged or a row malformed; an identifier is no whole number, or two texts have one number; no time
        of a kind of event can be read; a file lends two rows for one key; there is no event at all.
    ResourceShort
        Memory or disk ran out.
    """
    con.execute(
        f"CREATE TEMP TABLE {STAGED} (subject_id BIGINT, time TIMESTAMP, code VARCHAR, numeric_value FLOAT, "
        "text_value VARCHAR, hadm_id BIGINT, stay_id BIGINT)"
    )
    con.execute("CREATE TEMP TABLE text_ids (text VARCHAR, number BIGINT)")
    begin, summaries = time.monotonic(), []
    for done, layout in enumerate(layouts, start=1):
        try:
            summaries.append(_stage_layout(con, mapping, layout))
        except duckdb.Error as error:
            raise plain_error(error, layout.file.file) from None
        elapsed_s = time.monotonic() - begin
        progress(Step(task="read", done=done, total=len(layouts), unit="files", elapsed_s=elapsed_s))
    _refuse_collisions(con)
    if not sum(one.n_events for one in summaries):
        told = "; ".join(str(one) for one in summaries)
        raise SourceError(f"the source holds no event: {told}")
    return tuple(summaries)


def _stage_layout(con: duckdb.DuckDBPyConnection, mapping: SourceMapping, layout: FoundLayout) -> FileSummary:
    file = layout.file
    places = {name: f"v{place}" for place, name in enumerate(file.columns)}
    _load(con, mapping, layout, places)
    aside: Counter[str] = Counter()
    n_events = n_odd = 0
    for number, event in enumerate(file.events, start=1):
        select = event_sql(mapping, file, event, places, "source_rows")
        con.execute(f"CREATE OR REPLACE TEMP TABLE made AS {select}")
        (n_made,) = con.execute(
            f"INSERT INTO {STAGED} SELECT * EXCLUDE (aside, odd) FROM made WHERE aside IS NULL"
        ).fetchone()
        counts = dict(con.execute("SELECT aside, count(*) FROM made WHERE aside IS NOT NULL GROUP BY 1").fetchall())
        if counts.get(UNREADABLE) and not n_made:
            raise SourceError(_no_time(file, number))
        n_odd += con.execute("SELECT count(*) FROM made WHERE odd AND aside IS NULL").fetchone()[0]
        n_events += n_made
        aside.update({REASONS[place - 1]: n for place, n in counts.items()})
    n_rows, n_taken = con.execute(
        f"SELECT count(*), count(*) FILTER (WHERE {taken_sql(file, places)}) FROM source_rows"
    ).fetchone()
    for name in ("made", "source_rows"):
        con.execute(f"DROP TABLE {name}")
    return FileSummary(
        name=layout.found[0].path.name if len(layout.found) == 1 else file.file,
        n_files=len(layout.found),
        n_rows=n_rows,
        n_events=n_events,
        untaken=n_rows - n_taken,
        aside={reason: aside[reason] for reason in REASONS if aside[reason]},
        odd=n_odd,
        unread=layout.unread,
    )


def _no_time(file: File, number: int) -> str:
    time_ = file.time_of(file.events[number - 1])
    how = time_.unit or time_.format or "ISO 8601, such as 2020-12-31 10:00"
    where = f"column {time_.column}" if time_.column else f"value {time_.value!r}"
    return f"{file.file}: no {where} can be read as a time ({how}) for event {number}; mend its time in the mapping"


def _load(con: duckdb.DuckDBPyConnection, mapping: SourceMapping, layout: FoundLayout, places: dict[str, str]) -> None:
    """Make the table `source_rows`: each column as text, empty cells null, and the identifiers as numbers."""
    file = layout.file
    columns = ", ".join(f"{place} VARCHAR" for place in places.values())
    con.execute(f"CREATE TEMP TABLE source_rows (subject_id BIGINT, hadm_id BIGINT, stay_id BIGINT, {columns})")
    lent = {}
    for number, (join, found) in enumerate(zip(file.joins, layout.lenders, strict=True)):
        lent |= {name: f"lent{number}.c{place}" for place, name in enumerate(join.columns, start=1)}
        _load_lender(con, f"lent{number}", join, found)
    for one in layout.found:
        cells = {name: f"own.c{place}" for name, place in one.places.items()}
        joins = "".join(
            f" LEFT JOIN lent{number} ON {_cell(cells[join.keys[0]])} = lent{number}.c0"
            for number, join in enumerate(file.joins)
        )
        texts = {name: lent[name] if name in lent else _cell(cells[name]) for name in places}
        ids = {name: getattr(file, name) for name in _IDS}
        numbers = [
            id_sql(texts[column], getattr(mapping, _IDS[name])) if column else "NULL::BIGINT"
            for name, column in ids.items()
        ]
        select = f"SELECT {', '.join([*numbers, *texts.values()])} FROM {_relation(one, file.delimiter)} AS own{joins}"
        _insert(con, f"INSERT INTO source_rows {select}", one.path)
    for name, column in ids.items():
        if column and getattr(mapping, _IDS[name]) == "text":
            known = f"SELECT DISTINCT {places[column]}, {name} FROM source_rows WHERE {name} IS NOT NULL"
            con.execute(f"INSERT INTO text_ids {known}")
        elif column:
            _refuse_no_integers(con, file, name, places[column])
    for number in range(len(file.joins)):
        con.execute(f"DROP TABLE lent{number}")


def _load_lender(con: duckdb.DuckDBPyConnection, table: str, join: Join, found: tuple[FoundFile, ...]) -> None:
    names = (join.keys[1], *join.columns)
    con.execute(f"CREATE TEMP TABLE {table} ({', '.join(f'c{place} VARCHAR' for place in range(len(names)))})")
    for one in found:
        cells = ", ".join(_cell(f"own.c{one.places[name]}") for name in names)
        _insert(con, f"INSERT INTO {table} SELECT {cells} FROM {_relation(one, join.delimiter)} AS own", one.path)
    con.execute(f"DELETE FROM {table} WHERE c0 IS NULL")
    n_keys, n_twice = con.execute(
        f"SELECT count(*), count(*) FILTER (WHERE n > 1) FROM (SELECT count(*) AS n FROM {table} GROUP BY c0)"
    ).fetchone()
    if n_twice:
        raise SourceError(
            f"{found[0].path}: column {names[0]} must name each row once to be joined on; "
            f"{n_twice:,} of {n_keys:,} values stand more than once"
        )


def _insert(con: duckdb.DuckDBPyConnection, insert: str, path: Path) -> None:
    try:
        con.execute(insert)
        if path.suffix.lower() != ".parquet":
            refuse_faults(con, path, {})
    except duckdb.Error as error:
        raise plain_error(error, str(path)) from None


def _refuse_no_integers(con: duckdb.DuckDBPyConnection, file: File, name: str, place: str) -> None:
    (n_bad,) = con.execute(f"SELECT count(*) FROM source_rows WHERE {place} IS NOT NULL AND {name} IS NULL").fetchone()
    if n_bad:
        raise SourceError(
            f"{file.file}: {n_bad:,} rows have no whole number in column {getattr(file, name)} ({name}); "
            f"if they are texts, say {_IDS[name]}: text in the mapping"
        )


def _refuse_collisions(con: duckdb.DuckDBPyConnection) -> None:
    (n_shared,) = con.execute(
        "SELECT count(*) FROM (SELECT number FROM text_ids GROUP BY number HAVING count(DISTINCT text) > 1)"
    ).fetchone()
    if n_shared:
        raise SourceError(
            f"{n_shared:,} text ids share a number with another (63 bits of SHA-256); number them yourself, as integers"
        )


def _cell(place: str) -> str:
    """A cell; one of blanks alone is missing."""
    return f"CASE WHEN trim({place}) <> '' THEN {place} END"


def _relation(found: FoundFile, delimiter: str) -> str:
    """SQL of a file with the columns c0, c1, ... as text, so that no name of a file stands in SQL but as a literal."""
    path = sql_text(found.path)
    if found.path.suffix.lower() == ".parquet":
        columns = ", ".join(
            f'CAST("{name.replace(chr(34), chr(34) * 2)}" AS VARCHAR) AS c{place}'
            for place, name in enumerate(found.header)
            if place in found.read
        )
        return f"(SELECT {columns} FROM read_parquet({path}))"
    types = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(found.header)))
    return (
        f"read_csv({path}, columns = {{{types}}}, header = true, auto_detect = false, delim = {sql_text(delimiter)}, "
        f"quote = '\"', escape = '\"', store_rejects = true, rejects_limit = {MAX_FAULTS})"
    )


def _look_into(path: Path, wanted: Sequence[str], delimiter: str) -> FoundFile:
    """Where the wanted columns of a file are: by their names, else by these in other capitals."""
    header = column_names(path, delimiter)
    lower = [name.lower() for name in header]
    places = {}
    for name in wanted:
        found = [place for place, own in enumerate(header) if own == name]
        found = found or [place for place, own in enumerate(lower) if own == name.lower()]
        if len(found) > 1:
            raise SourceError(f"{path} has the column {name} twice; keep one of them")
        if not found:
            near = difflib.get_close_matches(name, header, 1, 0.6)
            hint = f"; is it {near[0]}?" if near else ", which the mapping names"
            raise SourceError(f"{path} lacks the column {name}{hint}")
        places[name] = found[0]
    return FoundFile(path, tuple(header), places)


def _lender(folder: Path, join: Join) -> tuple[FoundFile, ...]:
    paths = matching(folder, join.file)
    if not paths:
        raise SourceError(f"{folder} holds no file {join.file!r}, which lends columns")
    return tuple(_look_into(path, (join.keys[1], *join.columns), join.delimiter) for path in paths)


def _stem(path: Path) -> Path:
    """A path without its suffix, `.csv.gz` being one."""
    lengths = [len(suffix) for suffix in SUFFIXES if path.name.lower().endswith(suffix)]
    return path.with_name(path.name[: -max(lengths)]) if lengths else path
