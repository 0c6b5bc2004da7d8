"""Stage train: one asset per generator, `model/<generator>`, each cohort a partition."""

from typing import Any

import dagster as dg

from ehr_pipeline.defs.automation import hands_off
from ehr_pipeline.defs.boundary import patient_safe
from ehr_pipeline.defs.launchpad import budget_from, config_from, form_of
from ehr_pipeline.defs.metadata import OWNERS, PHI, picture
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.errors import CheckFailed
from ehr_pipeline.generators.registry import TIMELINE_GENERATORS, entry_of
from ehr_pipeline.privacy.account import Account
from ehr_pipeline.privacy.budget import PrivacyPlan
from ehr_pipeline.progress import lines


def model_asset(generator: str, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset that fits `generator` to a cohort's training patients."""
    entry, is_timeline = entry_of(generator), generator in TIMELINE_GENERATORS
    config_type = entry.config_type
    Form = form_of(config_type)

    @dg.asset(
        key=["model", generator],
        group_name="train",
        deps=[["prepared", "timelines" if is_timeline else "table"], ["cohort", "split"]],
        partitions_def=partitions,
        description=f"{entry.title}, fitted to the training patients. Weights are patient data.",
        kinds={"torch"},
        owners=OWNERS,
        automation_condition=hands_off(),
        tags=PHI,
        pool="gpu",
    )
    def model(context: dg.AssetExecutionContext, config: Form, pipeline: PipelineData) -> dg.MaterializeResult:
        from ehr_pipeline.generators.cohort_data import load_training_cohort
        from ehr_pipeline.generators.timeline_data import load_timeline_cohort, timelines_fingerprint
        from ehr_pipeline.generators.train import train
        from ehr_pipeline.report.loss_curve import loss_curve

        with patient_safe("train"):
            folder = pipeline.cohort(context.partition_key)
            budget = budget_from(config, pipeline.definition(context.partition_key))
            if budget is not None:
                refuse_retry(context)
            if is_timeline:
                cohort = load_timeline_cohort(folder, is_private=budget is not None)
            else:
                cohort = load_training_cohort(folder)
            why = f"run {context.run.run_id}"
            if not context.run.job_name.startswith("__"):  # Dagster's own, for assets that were selected
                why = f"job {context.run.job_name}, {why}"
            summary = train(
                generator,
                cohort,
                config_from(config, config_type),
                folder.generator(generator),
                lines(context.log.info),
                budget=budget,
                account=Account(data=pipeline.folder, why=why, universe=config.universe or None),
                fingerprint=timelines_fingerprint(folder) if is_timeline else None,
                say=context.log.info,
            )
            if summary.left_out:
                context.log.info(
                    f"{generator} cannot write these columns and leaves them out: {', '.join(summary.left_out)}"
                )
            for note in summary.notes:
                context.log.info(note)
            curve = {"loss_curve": picture(loss_curve(summary.history), "loss by epoch")} if summary.history else {}
        return dg.MaterializeResult(
            metadata={
                "training_rows": summary.n_rows,
                "training_patients": summary.n_patients,
                **({"training_events": summary.n_events} if summary.n_events else {}),
                "columns_left_out": ", ".join(summary.left_out) or "none",
                "duration_s": summary.duration_s,
                "epochs": len(summary.history),
                "device": summary.device,
                "seed": summary.config["seed"],
                "data_fingerprint": summary.data_fingerprint,
                "model": dg.MetadataValue.path(str(folder.generator(generator).model)),
                "ledger_entry": summary.ledger_entry,
                **privacy_metadata(summary.privacy),
                **curve,
            }
        )

    return model


def refuse_retry(context: dg.AssetExecutionContext) -> None:
    """Let no one but a person train again within a budget: each training spends it anew.

    Raises
    ------
    CheckFailed
        Dagster itself started this run or step again.
    """
    if context.op_execution_context.retry_number or "dagster/retry_number" in context.run.tags:
        raise CheckFailed("a training within a budget is not retried, for it would spend again; start a run by hand")


def privacy_metadata(record: dict[str, Any] | None) -> dict[str, dg.MetadataValue]:
    """What a training spent, for the UI; nothing for one without a budget."""
    if record is None:
        return {}
    plan = PrivacyPlan.of_record(record)
    return {
        "epsilon": dg.MetadataValue.float(plan.accounted.epsilon),
        "delta": dg.MetadataValue.float(plan.accounted.delta),
        "privacy": dg.MetadataValue.md("\n".join(f"- {line.strip()}" for line in plan.lines())),
    }
