"""Stage cohort: members, their events, the patient table and the split of one cohort, in one step."""

from collections.abc import Iterator

import dagster as dg

from ehr_pipeline.defs.automation import hands_off
from ehr_pipeline.defs.boundary import patient_safe
from ehr_pipeline.defs.checks import cohort_check
from ehr_pipeline.defs.ingest import EVENTS
from ehr_pipeline.defs.metadata import OWNERS, PHI, parquet_metadata
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.record import shown_count

MEANING = {
    "members": "Who is in the cohort: patient, admission, stay, index event, window.",
    "events": "The members' events inside their window.",
    "stay_events": "What frames the members' stays outside of their window.",
    "table": "Patient table: the cohort's features, one row per member.",
    "split": "Each patient is for training or held out, by a salted hash.",
}


def cohort_assets(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The outputs of a cohort, and a warning where it has too few patients for an honest result."""
    specs = [
        dg.AssetSpec(
            ["cohort", name],
            group_name="cohort",
            deps=[EVENTS],
            description=meaning,
            kinds={"duckdb", "parquet"},
            owners=OWNERS,
            tags=PHI,
            automation_condition=hands_off(),
        )
        for name, meaning in MEANING.items()
    ]
    enough = cohort_check(
        "enough_patients",
        ["cohort", "members"],
        partitions,
        "Enough patients on both sides of the split for an honest result; a warning only.",
        blocking=False,
    )

    @dg.multi_asset(name="cohort", specs=specs, partitions_def=partitions, check_specs=[enough])
    def cohort(context: dg.AssetExecutionContext, pipeline: PipelineData) -> Iterator[dg.MaterializeResult]:
        """Compile the cohort's definition to SQL over the event stream, and run it."""
        from ehr_pipeline.cohort.build import build_cohort

        with patient_safe("cohort"):
            definition = pipeline.definition(context.partition_key)
            summary = build_cohort(definition, pipeline.folder)
        for warning in summary.warnings:
            context.log.info(warning)
        folder = pipeline.cohort(context.partition_key)
        said = {
            "members": {
                "patients": summary.n_patients,
                "definition_sha256": summary.definition_sha256,
                "flow": dg.MetadataValue.md(_flow_table(summary.flow)),
            },
            "events": {},
            "stay_events": {},
            "table": {"title": definition.title},
            "split": {"train": summary.n_train_patients, "holdout": summary.n_holdout_patients},
        }
        files = (folder.members, folder.events, folder.stay_events, folder.table, folder.split)
        for name, path in zip(MEANING, files, strict=True):
            yield dg.MaterializeResult(
                asset_key=dg.AssetKey(["cohort", name]), metadata={**parquet_metadata(path), **said[name]}
            )
        yield dg.AssetCheckResult(
            asset_key=dg.AssetKey(["cohort", "members"]),
            check_name="enough_patients",
            passed=not summary.is_small,
            severity=dg.AssetCheckSeverity.WARN,
            description=summary.small_reason,
        )

    return cohort


def _flow_table(flow: tuple) -> str:
    """How the cohort came to be, as a Markdown table; counts of few patients are not shown."""
    rows = [f"| {step.criterion} | {shown_count(step.n_patients)} |" for step in flow]
    return "\n".join(["| criterion | patients left |", "|---|---|", *rows])
