"""Cohorts: a YAML definition becomes members, their events, a patient table and a split.

What belongs here: what a cohort file may say, and how it is turned into parameterised SQL over the event stream.
What does not: units, ranges, code sets (`clinical/`), or anything learned from patients.
"""

from ehr_pipeline.cohort.build import build_cohort
from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.loading import COHORTS_VARIABLE, folders_of_cohorts, load_definition, load_definitions
from ehr_pipeline.cohort.split import split_of
from ehr_pipeline.cohort.summary import CohortSummary, load_summary

__all__ = [
    "COHORTS_VARIABLE",
    "CohortDefinition",
    "CohortSummary",
    "build_cohort",
    "folders_of_cohorts",
    "load_definition",
    "load_definitions",
    "load_summary",
    "split_of",
]
