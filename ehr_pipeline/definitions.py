"""The only wiring: stages, generators and cohorts become one Dagster code location."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from ehr_pipeline.cohort import folders_of_cohorts, load_definitions
from ehr_pipeline.defs.automation import jobs, new_source_sensor, weekly
from ehr_pipeline.defs.cohort import cohort_assets
from ehr_pipeline.defs.console import PLAIN, plain_console
from ehr_pipeline.defs.evaluate import scores_asset
from ehr_pipeline.defs.ingest import raw_assets
from ehr_pipeline.defs.partitions import cohort_partitions
from ehr_pipeline.defs.prepare import prepared_assets, timelines_asset
from ehr_pipeline.defs.release import release_asset
from ehr_pipeline.defs.report import report_asset
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.defs.sample import synthetic_asset
from ehr_pipeline.defs.train import model_asset
from ehr_pipeline.defs.what_if import what_if_job
from ehr_pipeline.generators.registry import GENERATORS, TIMELINE_GENERATORS, default_generators
from ehr_pipeline.storage import DataFolder


def build_defs(*, pipeline: PipelineData | None = None) -> dg.Definitions:
    """Wire everything.

    Parameters
    ----------
    pipeline
        Where the data lies and the user's cohorts; from the environment where not said.
    """
    own = [str(folder) for folder in folders_of_cohorts(DataFolder.find())]
    pipeline = pipeline or PipelineData(cohort_folders=own)
    cohorts = load_definitions([Path(folder) for folder in pipeline.cohort_folders])
    partitions = cohort_partitions(cohorts)
    generators = [*GENERATORS, *TIMELINE_GENERATORS]
    assets = [
        raw_assets(),
        cohort_assets(partitions),
        prepared_assets(partitions),
        timelines_asset(partitions),
        *(model_asset(generator, partitions) for generator in generators),
        *(synthetic_asset(generator, partitions) for generator in generators),
        *(scores_asset(generator, partitions) for generator in generators),
        report_asset(generators, partitions),
        *(release_asset(generator, partitions) for generator in generators),
    ]
    ingest, refresh_cohort = jobs(default_generators())
    return dg.Definitions(
        assets=assets,
        jobs=[ingest, refresh_cohort, what_if_job(partitions)],
        schedules=[weekly(refresh_cohort, partitions)],
        sensors=[new_source_sensor(ingest)],
        resources={"pipeline": pipeline},
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, PLAIN: plain_console},
    )


defs = build_defs()
