"""Evaluation of one generator on one cohort: reads the stored tables, asks the cohort's questions, writes scores.

What belongs here: where the tables come from and what the cohort's definition asks. What does not: any metric.
"""

from __future__ import annotations

import functools
import importlib.metadata
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from ehr_pipeline.cohort import CohortDefinition
from ehr_pipeline.evaluate.plan import EffectQuestion, EvaluationPlan, Task
from ehr_pipeline.evaluate.references import References, prepare_references
from ehr_pipeline.evaluate.result import Evaluation
from ehr_pipeline.evaluate.table import compared_schema, evaluate_table
from ehr_pipeline.evaluate.timelines.cohort import evaluate_cohort_timelines
from ehr_pipeline.generators.registry import TIMELINE_GENERATORS
from ehr_pipeline.generators.train import load_model, require_present_data
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Schema, conform
from ehr_pipeline.release.policy import load_policy
from ehr_pipeline.storage import CohortFolder, DataFolder, read_json, read_parquet, sha256, write_text

PREPARE_FIRST = "prepare the cohort first"
VERSIONS_OF = ("ehr-pipeline", "numpy", "pandas", "scikit-learn", "scipy")


def evaluate_cohort(
    data: DataFolder,
    definition: CohortDefinition,
    generator: str,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Evaluation:
    """Judge the synthetic table of `generator`, and its events if it makes timelines, and write its `scores.json`.

    Raises
    ------
    NotReady
        The cohort is not prepared, or the generator has not sampled from what the cohort holds now.
    """
    started = time.perf_counter()
    folder = data.cohort(definition.name)
    schema = Schema.model_validate(read_json(folder.schema, PREPARE_FIRST))
    synthetic = read_parquet(folder.generator(generator).synthetic, f"sample {generator} first")
    require_present_data(folder, generator)
    hashes = data_hashes(folder, generator)
    plan = plan_of(definition, data)
    is_timeline = generator in TIMELINE_GENERATORS
    real = _real_tables(folder, schema, hashes["prepared_table_sha256"], hashes["split_sha256"])
    evaluation = evaluate_table(
        real.train,
        real.holdout,
        synthetic,
        schema,
        plan=plan,
        seed=seed,
        train_subject_id=real.train_subject_id,
        holdout_subject_id=real.holdout_subject_id,
        references=_references(real, compared_schema(schema, synthetic.columns), plan, seed, len(synthetic)),
        model=None if is_timeline else load_model(folder.generator(generator)).scores,
        progress=progress,
    )
    provenance = {
        "made_at": clock().isoformat(timespec="seconds"),
        "duration_s": round(time.perf_counter() - started, 3),
        "seed": seed,
        "definition_sha256": definition.fingerprint,
        "thresholds": asdict(plan.thresholds),
        "versions": {package: importlib.metadata.version(package) for package in VERSIONS_OF},
        **hashes,
    }
    evaluation = evaluation.model_copy(update={"provenance": provenance})
    if is_timeline:
        asked = {"seed": seed, "thresholds": plan.thresholds, "progress": progress}
        found = evaluate_cohort_timelines(folder, definition, generator, schema, **asked)
        evaluation = evaluation.with_events(found)
    write_text(folder.generator(generator).scores, evaluation.model_dump_json(indent=2) + "\n")
    return evaluation


def plan_of(definition: CohortDefinition, data: DataFolder) -> EvaluationPlan:
    """The cohort's tasks, causal question and sensitive columns, and the limits of the release policy.

    The truth is there where the source is simulated.
    """
    question = definition.causal
    effect = None
    if question is not None:
        truth = read_json(data.truth) if question.truth and data.truth.exists() else {}
        effect = EffectQuestion(
            treatment=question.treatment,
            outcome=question.outcome,
            confounders=question.confounders,
            true_log_odds=truth.get("treatment_log_odds"),
            true_risk_difference=truth.get("treatment_risk_difference"),
        )
    return EvaluationPlan(
        tasks=tuple(Task(task.target, task.level) for task in definition.tasks),
        effect=effect,
        sensitive=definition.sensitive,
        thresholds=load_policy(data).thresholds(),
    )


def data_hashes(folder: CohortFolder, generator: str) -> dict[str, str]:
    """What a verdict is about: SHA-256 of the real tables, the split and the synthetic table as they stand now."""
    return {
        "prepared_table_sha256": sha256(folder.prepared_table),
        "schema_sha256": sha256(folder.schema),
        "split_sha256": sha256(folder.split),
        "synthetic_sha256": sha256(folder.generator(generator).synthetic),
    }


@dataclass(frozen=True, eq=False)
class _RealTables:
    """The prepared rows of training and of holdout patients, and whose they are."""

    train: pd.DataFrame
    holdout: pd.DataFrame
    train_subject_id: np.ndarray
    holdout_subject_id: np.ndarray


@functools.lru_cache(maxsize=1)
def _real_tables(folder: CohortFolder, schema: Schema, table_sha256: str, split_sha256: str) -> _RealTables:
    """The real side of a cohort, kept while its files are the same, so that its generators share the references."""
    table = read_parquet(folder.prepared_table, PREPARE_FIRST)
    split = read_parquet(folder.split, "build the cohort first").set_index("subject_id")["split"]
    side = table["subject_id"].map(split)
    train, holdout = (table[side == name].reset_index(drop=True) for name in ("train", "holdout"))
    return _RealTables(
        train=conform(train, schema),
        holdout=conform(holdout, schema),
        train_subject_id=train["subject_id"].to_numpy(dtype=np.int64),
        holdout_subject_id=holdout["subject_id"].to_numpy(dtype=np.int64),
    )


@functools.lru_cache(maxsize=1)
def _references(real: _RealTables, compared: Schema, plan: EvaluationPlan, seed: int, n_synthetic: int) -> References:
    return prepare_references(
        real.train,
        real.holdout,
        compared,
        plan,
        seed,
        train_subject_id=real.train_subject_id,
        holdout_subject_id=real.holdout_subject_id,
        n_synthetic=n_synthetic,
    )
