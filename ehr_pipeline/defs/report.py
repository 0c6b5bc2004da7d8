"""Stage report: `validation_report`, one page and one JSON per cohort, all generators side by side."""

from collections.abc import Sequence

import dagster as dg

from ehr_pipeline.defs.automation import hands_off
from ehr_pipeline.defs.boundary import patient_safe
from ehr_pipeline.defs.metadata import OWNERS, PHI, picture
from ehr_pipeline.defs.resources import PipelineData


def report_asset(generators: Sequence[str], partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset that writes a cohort's report from every generator whose scores stand for its present data."""

    @dg.asset(
        key=["validation_report"],
        group_name="report",
        deps=[["scores", generator] for generator in generators],
        partitions_def=partitions,
        description="Offline page and JSON: verdicts, fidelity, utility, effects, privacy, sanity, lineage, limits.",
        kinds={"html"},
        owners=OWNERS,
        automation_condition=hands_off(),
        tags=PHI,
    )
    def validation_report(context: dg.AssetExecutionContext, pipeline: PipelineData) -> dg.MaterializeResult:
        from ehr_pipeline.report.cohort import report_cohort

        with patient_safe("report"):
            report = report_cohort(pipeline.folder, pipeline.definition(context.partition_key))
        folder = pipeline.cohort(context.partition_key)
        return dg.MaterializeResult(
            metadata={
                "report": dg.MetadataValue.path(str(folder.report_page)),
                "picture": picture(report.thumbnail, "correlation matrices: real, synthetic, difference"),
                **report.key_scores,
            }
        )

    return validation_report
