"""What an ingest says when it is done: counts and names, never a value.

What belongs here: the types, and how they stand in `ingest.json`. What does not: how the counts were made.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


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


class IngestSummary(_Record):
    """What was read.

    Attributes
    ----------
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

    def __str__(self) -> str:
        n_read = sum(table.file is not None for table in self.tables.values())
        n_rows = sum(table.n_rows for table in self.tables.values())
        state = "unchanged since the last ingest" if self.unchanged else "read"
        return (
            f"source {state}: {n_read} tables, {n_rows:,} rows; "
            f"{self.events.n_events:,} events of {self.events.n_subjects:,} patients, {self.events.n_codes:,} codes"
        )
