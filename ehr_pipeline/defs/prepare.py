"""Stage prepare: one unit per item, impossible values to missing, public vocabularies; checked by the rules."""

from collections.abc import Iterator

import dagster as dg

from ehr_pipeline.defs.automation import TIMELINES, hands_off
from ehr_pipeline.defs.boundary import patient_safe
from ehr_pipeline.defs.checks import blocking_line, sanity_check_results, sanity_check_specs
from ehr_pipeline.defs.metadata import OWNERS, PHI, parquet_metadata, patient_table_schema
from ehr_pipeline.defs.resources import PipelineData

TABLE = ["prepared", "table"]
EVENTS = ["prepared", "events"]


def prepared_assets(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The prepared table and events of a cohort; nothing is learned here."""
    common = {
        "group_name": "prepare",
        "kinds": {"parquet"},
        "owners": OWNERS,
        "tags": PHI,
        "automation_condition": hands_off(),
    }
    specs = [
        dg.AssetSpec(
            TABLE,
            deps=[["cohort", "table"]],
            description="Patient table on public units, ranges and vocabularies, with its schema.",
            **common,
        ),
        dg.AssetSpec(
            EVENTS,
            deps=[["cohort", "members"], ["cohort", "events"]],
            description="Events with one unit per item and hours from the index event.",
            **common,
        ),
    ]

    @dg.multi_asset(
        name="prepared", specs=specs, partitions_def=partitions, check_specs=sanity_check_specs(TABLE, partitions)
    )
    def prepared(
        context: dg.AssetExecutionContext, pipeline: PipelineData
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """Prepare the cohort and run the clinical rules on the real table first."""
        from ehr_pipeline.prepare import prepare_cohort
        from ehr_pipeline.sanity.real import check_prepared

        folder = pipeline.cohort(context.partition_key)
        with patient_safe("prepare"):
            summary = prepare_cohort(pipeline.definition(context.partition_key), pipeline.folder)
            schema, sanity = check_prepared(folder)
        checks = sanity_check_results(TABLE, sanity.checks)
        if not sanity.passed:
            yield from checks
            raise dg.Failure(f"prepared table refused: {blocking_line(sanity.checks)}", allow_retries=False)
        yield dg.MaterializeResult(
            asset_key=dg.AssetKey(TABLE),
            metadata={
                **parquet_metadata(folder.prepared_table),
                "dagster/column_schema": patient_table_schema(schema),
                "impossible_values": sum(summary.impossible_values.values()),
                "schema": dg.MetadataValue.path(str(folder.schema)),
            },
            check_results=checks,
        )
        yield dg.MaterializeResult(asset_key=dg.AssetKey(EVENTS), metadata=parquet_metadata(folder.prepared_events))

    return prepared


def timelines_asset(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The prepared timelines of a cohort, which only generators of timelines need."""

    @dg.asset(
        key=TIMELINES,
        group_name="prepare",
        deps=[EVENTS, ["cohort", "stay_events"], ["cohort", "members"]],
        partitions_def=partitions,
        description="One timeline per member: the window's events, and what frames the stay as static facts.",
        kinds={"parquet"},
        owners=OWNERS,
        tags=PHI,
        automation_condition=hands_off(),
    )
    def timelines(context: dg.AssetExecutionContext, pipeline: PipelineData) -> dg.MaterializeResult:
        from ehr_pipeline.prepare.timelines import prepare_timelines

        with patient_safe("prepare"):
            summary = prepare_timelines(pipeline.definition(context.partition_key), pipeline.folder)
        if summary.n_doubles:
            context.log.info(f"{summary.n_doubles:,} events stood there twice, to the letter, and were left out")
        return dg.MaterializeResult(
            metadata={
                **parquet_metadata(pipeline.cohort(context.partition_key).prepared_timelines),
                "timelines": summary.n_timelines,
                "static_facts": summary.n_static,
                "folded_facts": summary.n_folded,
                "doubles_left_out": summary.n_doubles,
            }
        )

    return timelines
