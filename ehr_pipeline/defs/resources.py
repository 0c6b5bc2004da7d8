"""What every asset is given: the data folder, the cohort definitions, and where raw tables come from."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from pydantic import Field

from ehr_pipeline.cohort import CohortDefinition, load_definitions
from ehr_pipeline.storage import CohortFolder, DataFolder


class PipelineData(dg.ConfigurableResource):
    """The data folder and a user's own cohort folders."""

    root: str = Field("", description="data folder; empty means EHR_PIPELINE_DATA, else data/")
    cohort_folders: list[str] = Field([], description="folders with a user's own cohort files")

    @property
    def folder(self) -> DataFolder:
        """The data folder."""
        return DataFolder.find(self.root or None)

    def cohort(self, name: str) -> CohortFolder:
        """The folder of one cohort."""
        return self.folder.cohort(name)

    def definition(self, name: str) -> CohortDefinition:
        """The definition of one cohort, read anew, so that a run uses the file as it stands."""
        return load_definitions([Path(folder) for folder in self.cohort_folders])[name]
