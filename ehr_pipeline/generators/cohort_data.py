"""Reads what a generator may learn from: the prepared table of a cohort, training patients only.

What belongs here: the one place where the split meets the table. What does not: any learning.
"""

from __future__ import annotations

import pandas as pd

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.record import Schema, conform
from ehr_pipeline.storage import CohortFolder, read_json, read_parquet


def load_training_cohort(cohort_folder: CohortFolder) -> TrainingCohort:
    """The rows of training patients, in the order of the prepared table.

    A patient that the split does not name never trains.

    Raises
    ------
    NotReady
        The cohort was not prepared, or not split.
    DefinitionError
        No row belongs to a training patient.
    """
    schema = Schema.model_validate(read_json(cohort_folder.schema, "prepare the cohort first"))
    table = read_parquet(cohort_folder.prepared_table, "prepare the cohort first")
    split = read_parquet(cohort_folder.split, "build the cohort first")
    training_patients = pd.Index(split.loc[split["split"] == "train", "subject_id"])
    table = table[table["subject_id"].isin(training_patients)].reset_index(drop=True)
    if table.empty:
        raise DefinitionError(f"{cohort_folder.split.name} leaves no training patient in {cohort_folder.root.name}")
    subject_id = table["subject_id"].to_numpy(dtype="int64")
    return TrainingCohort(schema=schema, table=conform(table, schema), subject_id=subject_id)
