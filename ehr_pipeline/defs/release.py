"""Stage release: one asset per generator, `release_bundle/<generator>`, made when a human asks and the gate opens.

The gate reads what the stages left on disk, so that a run without its checks cannot get around it.
"""

import dagster as dg
from pydantic import Field

from ehr_pipeline.defs.boundary import patient_safe
from ehr_pipeline.defs.metadata import OWNERS, RELEASED
from ehr_pipeline.defs.resources import PipelineData


class ReleaseConfig(dg.Config):
    """What a human says with a release."""

    tier: str = Field("", description="non-private, said out loud for a model without a budget; else empty")
    approved_by: list[str] = Field([], description="people who approve, as many as the policy asks for")


def release_asset(generator: str, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset that releases the synthetic table of `generator` as a signed bundle."""

    @dg.asset(
        key=["release_bundle", generator],
        group_name="release",
        deps=[["synthetic", generator], ["scores", generator], ["validation_report"]],
        partitions_def=partitions,
        description=f"Signed bundle of {generator}: refused unless every stored verdict on exactly this data passes.",
        kinds={"html", "duckdb"},
        owners=OWNERS,
        tags=RELEASED,
    )
    def release_bundle(
        context: dg.AssetExecutionContext, config: ReleaseConfig, pipeline: PipelineData
    ) -> dg.MaterializeResult:
        from ehr_pipeline.release.release import release
        from ehr_pipeline.release.verify import verify

        with patient_safe("release"):
            made = release(
                pipeline.folder,
                context.partition_key,
                generator,
                tier=config.tier or None,
                approvers=config.approved_by,
                why=f"run {context.run.run_id}",
                say=context.log.info,
            )
            verified = verify(made.folder)
        return dg.MaterializeResult(
            metadata={
                "release": made.release,
                "tier": made.tier,
                "bundle": dg.MetadataValue.path(str(made.folder)),
                "report": dg.MetadataValue.url(made.report.as_uri()),
                "privacy_statement": dg.MetadataValue.url(made.statement.as_uri()),
                "verified": not verified.problems,
                "signed_by": made.key,
                "files": made.n_files,
            }
        )

    return release_bundle
