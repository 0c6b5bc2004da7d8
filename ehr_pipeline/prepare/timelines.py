"""Prepared timelines: one per member, for generators of timelines.

What belongs here: the files and the counts. How the frame of a stay becomes facts is in `fold.py`. Deterministic;
nothing is learned.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.stream import copy_to, locked_connection, quoted
from ehr_pipeline.errors import NotReady
from ehr_pipeline.prepare.fold import COLUMNS, INDEX_WORDS, timelines_sql
from ehr_pipeline.storage import DataFolder, atomic_file, read_json, require


@dataclass(frozen=True, kw_only=True)
class TimelinesSummary:
    """What `prepared/timelines.json` says: counts, and the public window.

    Attributes
    ----------
    hours_before, hours_after
        The window around the index event; `hours_after` is None where only the end of the stay limits it.
    n_static
        Static facts, those that were folded included.
    n_doubles
        Events that stood there twice, to the letter, and were left out.
    """

    cohort: str
    definition_sha256: str
    hours_before: float
    hours_after: float | None
    n_timelines: int
    n_events: int
    n_static: int
    n_folded: int
    n_doubles: int

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain JSON."""
        return asdict(self)


def prepare_timelines(definition: CohortDefinition, data: DataFolder) -> TimelinesSummary:
    """Write the timelines of a cohort that is built and prepared.

    Leaves `prepared/timelines.parquet`: the columns of the event stream and `member`, sorted by member and time with
    static facts first; and `prepared/timelines.json`. The events are those of `prepared/events.parquet` (one unit per
    code, impossible values missing) in the stream's own codes. Sorting and counting spill to disk.

    Raises
    ------
    NotReady
        The cohort is not built and prepared by this definition.
    ResourceShort
        Memory or disk ran out; what was there before is whole.
    """
    folder = data.cohort(definition.name)
    mend = f"build and prepare the cohort {definition.name} first"
    for path in (folder.members, folder.stay_events, folder.prepared_events):
        require(path, mend)
    if read_json(folder.summary, mend)["definition_sha256"] != definition.fingerprint:
        raise NotReady(f"the definition of {definition.name} has changed since the cohort was built; build it again")
    with ExitStack() as writing:
        said, target = (
            writing.enter_context(atomic_file(path)) for path in (folder.timelines_summary, folder.prepared_timelines)
        )
        readable = [folder.prepared_events, folder.stay_events, folder.members]
        connection = writing.enter_context(locked_connection(folder.root, readable[:1], [*readable[1:], target]))
        connection.execute(f"""
            CREATE TEMP VIEW members AS SELECT file_row_number AS member, hadm_id, stay_id, index_time
            FROM read_parquet({quoted(str(folder.members))}, file_row_number = true)""")
        stay_events = f"read_parquet({quoted(str(folder.stay_events))})"
        told = timelines_sql("events", stay_events, "members", INDEX_WORDS[definition.index])
        connection.execute(f"CREATE TEMP TABLE timelines AS {told}")
        columns = ", ".join(COLUMNS)
        order = "member, time NULLS FIRST, code, numeric_value, text_value"
        copy_to(connection, f"SELECT {columns} FROM timelines ORDER BY {order}", target)
        n_timelines, n_events, n_static, n_folded, n_all = connection.execute(
            "SELECT count(DISTINCT member), count(*), count(*) FILTER (time IS NULL), count(*) FILTER (is_folded),"
            " sum(n) FROM timelines"
        ).fetchone()
        summary = TimelinesSummary(
            cohort=definition.name,
            definition_sha256=definition.fingerprint,
            hours_before=definition.window.hours_before,
            hours_after=definition.window.hours_after,
            n_timelines=n_timelines,
            n_events=n_events,
            n_static=n_static,
            n_folded=n_folded,
            n_doubles=int(n_all - n_events),
        )
        said.write_text(json.dumps(summary.as_dict(), indent=2) + "\n", encoding="utf-8")
    return summary
