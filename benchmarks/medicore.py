"""Quality and speed of every generator on the case study's table, judged by the project's own evaluation.

    python benchmarks/medicore.py [--patients 50000] [--seed 0] [--faithful]

Train and holdout are two draws of the structural equations, so the truth is known and the floor is a fresh sample.
Prints a table; CPU seconds are of this process, so run it with OMP_NUM_THREADS=1 to compare.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pandas as pd

from ehr_pipeline.cohort import load_definitions
from ehr_pipeline.evaluate.plan import EffectQuestion, EvaluationPlan, Task
from ehr_pipeline.evaluate.references import prepare_references
from ehr_pipeline.evaluate.table import evaluate_table
from ehr_pipeline.generators.base import GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.registry import GENERATORS, generator_type
from ehr_pipeline.prepare import build_schema
from ehr_pipeline.record import conform
from ehr_pipeline.simulate.medicore import simulate_medicore

SHOWN = (
    "c2st_auc",
    "ks_mean",
    "correlation_error",
    "tvd3_mean",
    "tstr_hgb[adverse_event]",
    "causal_log_odds_error",
    "membership_auc[all]",
    "membership_tpr_at_1%[all]",
    "exact_copies_train",
)


def main() -> None:
    """Fit, sample and judge each generator in turn."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--patients", type=int, default=50_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--faithful", action="store_true", help="also the case study's own autoencoder")
    asked = options.parse_args()
    definition = load_definitions()["medicore"]
    schema = build_schema(definition)
    rng = np.random.default_rng(asked.seed)
    train, holdout = (conform(simulate_medicore(asked.patients, rng), schema) for _ in range(2))
    question = definition.causal
    assert question is not None  # the case study is about it
    plan = EvaluationPlan(
        tasks=(Task("adverse_event"),),
        effect=EffectQuestion(question.treatment, question.outcome, question.confounders, true_log_odds=-0.8),
    )
    started = time.process_time()
    references = prepare_references(train, holdout, schema, plan, asked.seed, n_synthetic=len(train))
    rows: dict[str, dict[str, float | None]] = {}
    cohort = TrainingCohort(schema=schema, table=train, subject_id=np.arange(len(train)))
    print(f"references: {time.process_time() - started:.0f} CPU s")
    configs: list[tuple[str, str, GeneratorConfig]] = [
        (name, name, entry.config_type(seed=asked.seed)) for name, entry in GENERATORS.items()
    ]
    if asked.faithful:
        config = GENERATORS["tabular_vae"].config_type.model_validate({"faithful": True})
        configs.append(("tabular_vae, faithful", "tabular_vae", config))
    for label, name, config in configs:
        clock = [time.process_time()]
        model = generator_type(name).fit(cohort, config)
        clock.append(time.process_time())
        synthetic = model.sample(asked.patients, asked.seed)
        clock.append(time.process_time())
        found = evaluate_table(
            train, holdout, synthetic, schema, plan=plan, seed=asked.seed, references=references
        ).scores
        clock.append(time.process_time())
        fit_s, sample_s, evaluate_s = np.diff(clock)
        rows.setdefault("floor", {score: found[score].floor for score in SHOWN})
        rows.setdefault("null", {score: found[score].null for score in SHOWN})
        rows[label] = {score: found[score].value for score in SHOWN}
        rows[label] |= {"fit CPU s": fit_s, "sample CPU s": sample_s, "evaluate CPU s": evaluate_s}
    print(pd.DataFrame(rows).T.round(4).to_string())
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
