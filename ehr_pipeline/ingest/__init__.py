"""Ingest: MIMIC-IV tables, MEDS events or files that a mapping describes into the warehouse and the event stream.

What belongs here: finding and reading the files, checking them, building to one side and renaming. What does
not: what MIMIC-IV's tables are and how they become events (`mimic/`).
"""

from ehr_pipeline.ingest.checks import CheckResult, check_tables
from ehr_pipeline.ingest.connection import connect
from ehr_pipeline.ingest.ingest import ingest, known_mapping, known_sources
from ehr_pipeline.ingest.summary import EventsSummary, FileSummary, IngestSummary, TableSummary

__all__ = [
    "CheckResult",
    "EventsSummary",
    "FileSummary",
    "IngestSummary",
    "TableSummary",
    "check_tables",
    "connect",
    "ingest",
    "known_mapping",
    "known_sources",
]
