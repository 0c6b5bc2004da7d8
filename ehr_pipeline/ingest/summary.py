"""What an ingest says when it is done: counts and names, never a value.

What belongs here: the types, and how they stand in `ingest.json`. What does not: how the counts were made.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Form = Literal["mimic-iv", "meds", "mapping"]
"""What a source was read as."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableSummary(_Record):
    """One table of the warehouse. `file` is None where the source doesn't have the table: it is empty then."""

    name: str
    file: str | None
    n_rows: int
    columns: tuple[tuple[str, str], ...]


class EventsSummary(_Record):
    """The event stream. `undated` counts per table the rows that are no events because they have no time."""

    n_events: int
    n_subjects: int
    n_codes: int
    n_files: int
    undated: dict[str, int]


class FileSummary(_Record):
    """What became of the rows of one file, or of files of one layout, of a source that is not MIMIC-IV.

    Attributes
    ----------
    n_events
        Events written; a row can be several.
    untaken
        Rows that the mapping asks nothing of.
    aside
        Events that were not written, by reason: rows with a blank, a time that cannot be read, ...
    odd
        Values that were set to missing since they are no finite number; their events stand.
    unread
        Columns of which nothing was read.
    """

    name: str
    n_files: int
    n_rows: int
    n_events: int
    untaken: int = 0
    aside: dict[str, int] = {}
    odd: int = 0
    unread: tuple[str, ...] = ()

    def __str__(self) -> str:
        others = {
            **{f"set aside {reason}": n for reason, n in self.aside.items()},
            "rows that the mapping asks nothing of": self.untaken,
            "values that are no finite number, set to missing": self.odd,
        }
        told = [f"{self.n_rows:,} rows, {self.n_events:,} events"]
        told += [f"{n:,} {what}" for what, n in others.items() if n]
        told += [f"columns not read: {', '.join(self.unread)}"] if self.unread else []
        return f"{self.name}: {'; '.join(told)}"


class IngestSummary(_Record):
    """What was read.

    Attributes
    ----------
    form, mapping
        What the source was read as, and by which mapping (a title).
    files
        What became of each file's rows, where the source is not MIMIC-IV.
    tables
        Every table of the warehouse by full name, also those that the source lacks.
    notes
        What a reader should know, one line each: absent tables, columns that were left, warnings.
    unchanged
        The source was what it had been at the last ingest, and was not read again.
    """

    tables: dict[str, TableSummary]
    events: EventsSummary
    notes: tuple[str, ...]
    unchanged: bool = False
    form: Form = "mimic-iv"
    mapping: str | None = None
    files: tuple[FileSummary, ...] = ()

    def __str__(self) -> str:
        if self.form != "mimic-iv":
            return self._of_files()
        n_read = sum(table.file is not None for table in self.tables.values())
        n_rows = sum(table.n_rows for table in self.tables.values())
        state = "unchanged since the last ingest" if self.unchanged else "read"
        return (
            f"source {state}: {n_read} tables, {n_rows:,} rows; "
            f"{self.events.n_events:,} events of {self.events.n_subjects:,} patients, {self.events.n_codes:,} codes"
        )

    def _of_files(self) -> str:
        what = "MEDS" if self.form == "meds" else self.mapping
        n_files, n_rows = (sum(getattr(file, name) for file in self.files) for name in ("n_files", "n_rows"))
        state = "unchanged since the last ingest" if self.unchanged else "read"
        return (
            f"source {state} as {what}: {n_files:,} files, {n_rows:,} rows; "
            f"{self.events.n_events:,} events of {self.events.n_subjects:,} patients, {self.events.n_codes:,} codes"
        )
