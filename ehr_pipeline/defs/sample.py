"""Stage sample, and the sanity that goes with it: one asset per generator, `synthetic/<generator>`.

Rows that break a HARD rule are drawn again; the table is checked in the same step and written only if all
its blocking checks pass.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from pydantic import Field

from ehr_pipeline.defs.automation import hands_off
from ehr_pipeline.defs.boundary import patient_safe
from ehr_pipeline.defs.checks import blocking_line, sanity_check_results, sanity_check_specs
from ehr_pipeline.defs.metadata import OWNERS, SYNTHETIC, parquet_metadata, patient_table_schema
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.generators.registry import TIMELINE_GENERATORS
from ehr_pipeline.progress import lines


class SampleConfig(dg.Config):
    """How many synthetic rows, and which."""

    rows: int = Field(0, ge=0, description="synthetic rows; 0 means as many as the real cohort has")
    seed: int = Field(0, ge=0, description="seed of sampling: the same seed gives the same table")


def synthetic_asset(generator: str, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset that draws the synthetic patient table of `generator`."""
    key, is_timeline = ["synthetic", generator], generator in TIMELINE_GENERATORS
    made = "events and patient table" if is_timeline else "patient table"

    @dg.asset(
        key=key,
        group_name="sample",
        deps=[["model", generator], ["prepared", "table"]],
        partitions_def=partitions,
        check_specs=sanity_check_specs(key, partitions),
        description=f"Synthetic {made} of {generator}: drawn until sane, and left only if its checks pass.",
        kinds={"parquet"},
        owners=OWNERS,
        automation_condition=hands_off(),
        tags=SYNTHETIC,
    )
    def synthetic(
        context: dg.AssetExecutionContext, config: SampleConfig, pipeline: PipelineData
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        from ehr_pipeline.sanity.sample import sample_cohort
        from ehr_pipeline.sanity.timelines import sample_timelines

        asked = {"rows": config.rows or None, "seed": config.seed, "progress": lines(context.log.info)}
        with patient_safe("sample"):
            folder = pipeline.cohort(context.partition_key)
            if is_timeline:
                definition = pipeline.definition(context.partition_key)
                model_schema, sanity = sample_timelines(folder, definition, generator, **asked)
            else:
                model_schema, sanity = sample_cohort(folder, generator, **asked)
        checks = sanity_check_results(key, sanity.checks)
        if not sanity.passed:
            yield from checks
            raise dg.Failure(f"synthetic table of {generator} not written: {blocking_line(sanity.checks)}")
        account = sanity.accounting
        yield dg.MaterializeResult(
            metadata={
                **parquet_metadata(folder.generator(generator).synthetic),
                "dagster/column_schema": patient_table_schema(model_schema),
                "drawn": account.n_drawn,
                "rejection_rate": account.rejection_rate,
                **(_events_metadata(folder.generator(generator).events, account.mended) if is_timeline else {}),
            },
            check_results=checks,
        )

    return synthetic


def _events_metadata(events: Path, mended: dict[str, int]) -> dict[str, dg.MetadataValue]:
    """How many events, where they lie, and what was set right in them."""
    shown = "\n".join(f"- {n:,} {what}" for what, n in mended.items() if n)
    return {
        "events": dg.MetadataValue.int(parquet_metadata(events)["dagster/row_count"]),
        "events_file": dg.MetadataValue.path(str(events)),
        "mended": dg.MetadataValue.md(shown or "nothing"),
    }
