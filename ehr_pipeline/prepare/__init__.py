"""Prepare: a cohort's table and events brought onto public units, ranges and vocabularies.

What belongs here: what is deterministic and learns nothing. Whatever is measured on patients is measured inside a
generator's `fit`.
"""

from ehr_pipeline.prepare.prepare import PreparedSummary, load_schema, prepare_cohort
from ehr_pipeline.prepare.schema import build_schema

__all__ = ["PreparedSummary", "build_schema", "load_schema", "prepare_cohort"]
