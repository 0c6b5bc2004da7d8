"""What-if cohorts as a job: patients on request from a model that is there, one run each, typed in the launchpad.

Not an asset: a cohort has as many of them as are asked for, and none makes the ordinary synthetic table stale.
"""

import dagster as dg
from pydantic import Field

from ehr_pipeline.defs.boundary import patient_safe
from ehr_pipeline.defs.metadata import SYNTHETIC, parquet_metadata
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.progress import lines


class WhatIfConfig(dg.Config):
    """Which patients, from which model."""

    generator: str = Field("tabular_vae", description="generator that is trained on the partition's cohort")
    name: str = Field("example", description="name of the what-if cohort; one of that name is replaced")
    conditions: dict[str, str] = Field(
        {}, description="column to value that every row has, an empty value means missing; for example diabetes: '1'"
    )
    balance: dict[str, dict[str, float]] = Field(
        {}, description="column to share of rows by level, {} for equal shares; for example sex: {F: 0.5, M: 0.5}"
    )
    rows: int = Field(1000, ge=0, description="rows; 0 means as many as the real cohort has")
    seed: int = Field(0, ge=0, description="seed of sampling: the same seed gives the same table")


@dg.op(description="Draw patients on request; rows that break a HARD rule are drawn again.", tags=SYNTHETIC)
def what_if_cohort(context: dg.OpExecutionContext, config: WhatIfConfig, pipeline: PipelineData) -> None:
    """Draws one what-if cohort of the run's partition, and says what it cost."""
    from ehr_pipeline.sanity.what_if import WhatIf, sample_what_if

    with patient_safe("what-if"):
        folder = pipeline.cohort(context.partition_key)
        asked = WhatIf(conditions=config.conditions, balance=config.balance, rows=config.rows or None, seed=config.seed)
        files = folder.generator(config.generator).what_if(config.name)
        made = sample_what_if(folder, config.generator, asked, files, lines(context.log.info))
    context.add_output_metadata(
        {
            **parquet_metadata(made.files.table),
            "acceptance_rate": made.acceptance_rate,
            "rejection_rate": made.rejection_rate,
            "parts": len(made.parts),
            "record": dg.MetadataValue.path(str(made.files.record)),
        }
    )


def what_if_job(partitions: dg.PartitionsDefinition) -> dg.JobDefinition:
    """The job, one cohort per run."""

    @dg.job(
        name="what_if",
        partitions_def=partitions,
        executor_def=dg.in_process_executor,
        description="Patients on request (conditions, balance) from a trained model, beside its synthetic table.",
    )
    def job() -> None:
        what_if_cohort()

    return job
