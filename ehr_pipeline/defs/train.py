"""Stage train: one asset per generator, `model/<generator>`, each cohort a partition."""

import dagster as dg

from ehr_pipeline.defs.automation import hands_off
from ehr_pipeline.defs.boundary import patient_safe
from ehr_pipeline.defs.launchpad import config_from, form_of
from ehr_pipeline.defs.metadata import OWNERS, PHI, picture
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.generators.registry import GENERATORS
from ehr_pipeline.progress import lines


def model_asset(generator: str, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset that fits `generator` to a cohort's training patients."""
    config_type = GENERATORS[generator].config_type
    Form = form_of(config_type)

    @dg.asset(
        key=["model", generator],
        group_name="train",
        deps=[["prepared", "table"], ["cohort", "split"]],
        partitions_def=partitions,
        description=f"{GENERATORS[generator].title}, fitted to the training patients. Weights are patient data.",
        kinds={"torch"},
        owners=OWNERS,
        automation_condition=hands_off(),
        tags=PHI,
        pool="gpu",
    )
    def model(context: dg.AssetExecutionContext, config: Form, pipeline: PipelineData) -> dg.MaterializeResult:
        from ehr_pipeline.generators.cohort_data import load_training_cohort
        from ehr_pipeline.generators.train import train
        from ehr_pipeline.report.loss_curve import loss_curve

        with patient_safe("train"):
            folder = pipeline.cohort(context.partition_key)
            summary = train(
                generator,
                load_training_cohort(folder),
                config_from(config, config_type),
                folder.generator(generator),
                lines(context.log.info),
            )
            if summary.left_out:
                context.log.info(
                    f"{generator} cannot write these columns and leaves them out: {', '.join(summary.left_out)}"
                )
            curve = {"loss_curve": picture(loss_curve(summary.history), "loss by epoch")} if summary.history else {}
        return dg.MaterializeResult(
            metadata={
                "training_rows": summary.n_rows,
                "training_patients": summary.n_patients,
                "columns_left_out": ", ".join(summary.left_out) or "none",
                "duration_s": summary.duration_s,
                "epochs": len(summary.history),
                "device": summary.device,
                "seed": summary.config["seed"],
                "data_fingerprint": summary.data_fingerprint,
                "model": dg.MetadataValue.path(str(folder.generator(generator).model)),
                **curve,
            }
        )

    return model
