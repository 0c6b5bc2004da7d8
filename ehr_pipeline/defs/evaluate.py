"""Stage evaluate: one asset per generator, `scores/<generator>`."""

import dagster as dg
from pydantic import Field

from ehr_pipeline.defs.automation import hands_off
from ehr_pipeline.defs.boundary import patient_safe
from ehr_pipeline.defs.metadata import OWNERS, PHI
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.generators.registry import TIMELINE_GENERATORS
from ehr_pipeline.progress import lines


class EvaluateConfig(dg.Config):
    """How the evaluation draws."""

    seed: int = Field(0, ge=0, description="seed of bootstrap, folds and attacks")


def scores_asset(generator: str, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset that judges the synthetic table (and events) of `generator` between floor and null."""
    timelines = [["prepared", "timelines"]] if generator in TIMELINE_GENERATORS else []

    @dg.asset(
        key=["scores", generator],
        group_name="evaluate",
        deps=[["synthetic", generator], ["prepared", "table"], ["cohort", "split"], *timelines],
        partitions_def=partitions,
        description=f"Fidelity, utility, privacy and causal scores of {generator}, each with interval, floor and null.",
        kinds={"scikitlearn"},
        owners=OWNERS,
        automation_condition=hands_off(),
        tags=PHI,
    )
    def scores(
        context: dg.AssetExecutionContext, config: EvaluateConfig, pipeline: PipelineData
    ) -> dg.MaterializeResult:
        from ehr_pipeline.evaluate.cohort import evaluate_cohort

        with patient_safe("evaluate"):
            evaluation = evaluate_cohort(
                pipeline.folder,
                pipeline.definition(context.partition_key),
                generator,
                seed=config.seed,
                progress=lines(context.log.info),
            )
        values = {name: score.value for name, score in evaluation.scores.items() if score.value is not None}
        gates = [score.verdict for score in evaluation.scores.values()]
        return dg.MaterializeResult(
            metadata={
                **values,
                "gates_passed": gates.count("passed"),
                "gates_failed": gates.count("failed"),
                "file": dg.MetadataValue.path(str(pipeline.cohort(context.partition_key).generator(generator).scores)),
            }
        )

    return scores
