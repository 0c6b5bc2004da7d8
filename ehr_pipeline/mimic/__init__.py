"""MIMIC-IV as data: its tables, columns and keys, and the declared mapping between tables and events.

What belongs here: YAML that a reader can check against MIMIC-IV's own SQL, and the few modules that read it
and turn it into SQL text. What does not: reading files (`ingest/`), what a code means (`clinical/`).
"""

from ehr_pipeline.mimic.events_sql import events_sql
from ehr_pipeline.mimic.mapping import mapped_columns, mappings, unmapped_columns
from ehr_pipeline.mimic.tables import Column, Reference, Table, tables
from ehr_pipeline.mimic.tables_sql import tables_sql

__all__ = [
    "Column",
    "Reference",
    "Table",
    "events_sql",
    "mapped_columns",
    "mappings",
    "tables",
    "tables_sql",
    "unmapped_columns",
]
