"""Building a cohort: two passes over the event stream, and what they leave.

What belongs here: the order of the steps and the files. The first pass makes the spine (`spine.py`), from which
`population.py` makes members; the second reads the events in the members' windows, from which `table.py` makes the
patient table. All files are written beside their targets first and take their places together.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import duckdb

from ehr_pipeline.clinical.items import load_items
from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.frame import stay_events_sql
from ehr_pipeline.cohort.population import FlowStep, create_members
from ehr_pipeline.cohort.spine import create_spine
from ehr_pipeline.cohort.split import split_sql
from ehr_pipeline.cohort.stream import copy_to, event_files, locked_connection, quoted
from ehr_pipeline.cohort.summary import CohortSummary
from ehr_pipeline.cohort.table import create_table
from ehr_pipeline.record import EVENT_SCHEMA
from ehr_pipeline.storage import DataFolder, atomic_file


def build_cohort(definition: CohortDefinition, data: DataFolder) -> CohortSummary:
    """Build one cohort from the event stream.

    Leaves `members`, `events` (columns of the event stream and `member`, the row of `members`; static facts and birth
    of a member's patient included), `stay_events` (the same columns: what frames the stay outside of the window,
    `frame.py`), `table`, `split` and the summary. One row of the table per member; with `occurrence: all` a patient
    can have several.

    Raises
    ------
    NotReady
        There are no events yet, or they cannot be read.
    CheckFailed
        No patient is left; the message names the criterion that removed the last.
    ResourceShort
        Memory or disk ran out; what was there before is whole.
    """
    files = event_files(data)
    folder = data.cohort(definition.name)
    with ExitStack() as writing:
        targets = (folder.summary, folder.members, folder.events, folder.stay_events, folder.table, folder.split)
        said, *written = (writing.enter_context(atomic_file(target)) for target in targets)
        members, events, stay_events, table, split = written
        connection = writing.enter_context(locked_connection(folder.root, files, writable=written))
        create_spine(connection, definition)
        flow = create_members(connection, definition)
        copy_to(connection, _MEMBERS, members)
        copy_to(connection, WINDOW_EVENTS, events)
        copy_to(connection, stay_events_sql(definition), stay_events)
        connection.execute(f"CREATE TEMP VIEW window_events AS FROM read_parquet({quoted(str(events))})")
        copy_to(connection, create_table(connection, definition), table)
        _create_split(connection, definition)
        copy_to(connection, "FROM split ORDER BY subject_id", split)
        summary = _summary(connection, definition, flow, table)
        said.write_text(json.dumps(summary.as_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


_MEMBERS = "SELECT subject_id, hadm_id, stay_id, index_time, start_time, end_time FROM members ORDER BY member"

WINDOW_EVENTS = f"""
    SELECT {", ".join(f"e.{name}" for name in EVENT_SCHEMA.names)}, m.member
    FROM events e JOIN members m
        ON e.subject_id = m.subject_id
            AND (e.time IS NULL OR e.code = 'MEDS_BIRTH' OR e.time BETWEEN m.start_time AND m.end_time)
    ORDER BY m.member, e.time NULLS FIRST, e.code, e.numeric_value"""
"""Events of the members inside their window, with their static facts and births."""


def _create_split(connection: duckdb.DuckDBPyConnection, definition: CohortDefinition) -> None:
    connection.execute(
        f"CREATE TEMP TABLE split AS SELECT DISTINCT subject_id, {split_sql('subject_id')} AS split FROM members",
        [definition.split.salt, definition.split.holdout_share],
    )


def _summary(
    connection: duckdb.DuckDBPyConnection, definition: CohortDefinition, flow: list[FlowStep], table: Path
) -> CohortSummary:
    def counted(query: str) -> tuple[int, ...]:
        return connection.execute(query).fetchone()

    n_members, n_patients = counted("SELECT count(*), count(DISTINCT subject_id) FROM members")
    n_train, n_holdout = counted(
        "SELECT count(*) FILTER (split = 'train'), count(*) FILTER (split = 'holdout') FROM split"
    )
    impossible = connection.execute(
        "SELECT item, max(n) FROM (SELECT item, count(*) AS n FROM measured WHERE is_impossible GROUP BY item, series)"
        " GROUP BY item ORDER BY item"
    ).fetchall()
    return CohortSummary(
        cohort=definition.name,
        title=definition.title,
        definition_sha256=definition.fingerprint,
        n_members=n_members,
        n_patients=n_patients,
        n_train_patients=n_train,
        n_holdout_patients=n_holdout,
        n_events=counted("SELECT count(*) FROM window_events")[0],
        flow=tuple(flow),
        impossible_values=dict(impossible),
        warnings=(*_empty_columns(connection, definition, table), *_unread_units(connection)),
    )


def _empty_columns(connection: duckdb.DuckDBPyConnection, definition: CohortDefinition, table: Path) -> list[str]:
    """A line for each column in which no member has a value."""
    counts = ", ".join(f'count("{name}")' for name in definition.columns)
    found = connection.execute(f"SELECT {counts} FROM read_parquet({quoted(str(table))})").fetchone()
    return [
        f"column {name}: no member has a value" for name, n in zip(definition.columns, found, strict=True) if n == 0
    ]


def _unread_units(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """A line for each item some of whose values carry a unit that the catalogue does not know."""
    rows = connection.execute("""
        SELECT s.item, sum(e.n)
        FROM (SELECT code, count(*) AS n FROM window_events GROUP BY code) e
            JOIN (SELECT DISTINCT item, stem FROM item_sources) s ON starts_with(e.code, s.stem || '//')
        WHERE e.code NOT IN (SELECT code FROM item_sources)
        GROUP BY s.item ORDER BY s.item""").fetchall()
    titles = load_items()
    return [f"{titles[item].title}: {n} values carry an unknown unit and were not read" for item, n in rows]
