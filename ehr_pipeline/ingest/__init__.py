"""Ingest: MIMIC-IV files into the warehouse and the event stream.

What belongs here: finding and reading the files, checking them, building to one side and renaming. What does
not: what the tables are and how they become events (`mimic/`).
"""

from ehr_pipeline.ingest.checks import CheckResult, check_tables
from ehr_pipeline.ingest.connection import connect
from ehr_pipeline.ingest.ingest import ingest, known_sources
from ehr_pipeline.ingest.summary import EventsSummary, IngestSummary, TableSummary

__all__ = [
    "CheckResult",
    "EventsSummary",
    "IngestSummary",
    "TableSummary",
    "check_tables",
    "connect",
    "ingest",
    "known_sources",
]
