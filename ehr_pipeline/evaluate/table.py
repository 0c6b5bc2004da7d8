"""The evaluation of one synthetic table, from start to end.

What belongs here: the order of things. Every measurement lives in the file of its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.attacks.model_scores import MemberScores
from ehr_pipeline.evaluate.columns import compare_columns, compare_correlations
from ehr_pipeline.evaluate.encoding import COMPARED_KINDS, Encoded, draw
from ehr_pipeline.evaluate.epidemiology import epidemiology
from ehr_pipeline.evaluate.plan import EvaluationPlan
from ehr_pipeline.evaluate.references import References, equal_size, prepare_references, references_key
from ehr_pipeline.evaluate.result import Evaluation, Score
from ehr_pipeline.evaluate.scoring import assemble
from ehr_pipeline.evaluate.subgroups import Subgroups
from ehr_pipeline.evaluate.two_sample import two_sample
from ehr_pipeline.evaluate.unheld import unjudged
from ehr_pipeline.evaluate.verdicts import gate_by_null
from ehr_pipeline.progress import Progress, Step, silent
from ehr_pipeline.record import Schema, conform, shown_count

PARTS = ("references", "distributions", "two-sample test", "prediction", "effects", "attacks", "subgroups")


def compared_schema(schema: Schema, synthetic_columns: Iterable[str]) -> Schema:
    """The columns that can be compared: those that the synthetic table has, less text and identifiers."""
    there = set(synthetic_columns)
    return schema.without(c.name for c in schema.columns if c.name not in there or c.kind not in COMPARED_KINDS)


def evaluate_table(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema,
    *,
    plan: EvaluationPlan,
    seed: int,
    train_subject_id: np.ndarray | None = None,
    holdout_subject_id: np.ndarray | None = None,
    references: References | None = None,
    is_holdout_unseen: bool = True,
    model: MemberScores | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a synthetic table against the real one, between floor and null, and attack it.

    Parameters
    ----------
    train, holdout
        What the generator saw, and real rows of other patients that it never saw; both conform to `schema`.
    synthetic
        The synthetic rows. Columns of the schema that it lacks are listed in `left_out`, the rest compared.
    plan
        Tasks, causal question, sensitive columns, thresholds.
    train_subject_id, holdout_subject_id
        The patient of each row; without them each row is its own patient.
    references
        From `prepare_references`, shared between the generators of one cohort. Used where they were made
        from the same tables, plan and seed; else computed here.
    is_holdout_unseen
        Whether the generator never saw the holdout's patients. If it did, privacy and utility are not judged.
    model
        The fitted generator's own score of real rows, where it is at hand: then the model is attacked too.

    Raises
    ------
    DefinitionError
        A table cannot be read as the schema says.
    """
    compared = compared_schema(schema, synthetic.columns)
    left_out = [name for name in schema.names if name not in compared]
    made = conform(synthetic, compared)
    tell = _teller(progress or silent)
    patients = {"train_subject_id": train_subject_id, "holdout_subject_id": holdout_subject_id}
    size = equal_size(len(train), len(holdout), len(made))
    key = references_key(train, holdout, compared, plan, seed, size=size, **patients)
    if references is None or references.key != key:
        references = prepare_references(train, holdout, compared, plan, seed, n_synthetic=len(made), **patients)
    tell()
    rng = np.random.default_rng(seed)
    encoding = references.encoding
    whole = encoding.encode(made)
    cut = draw(whole, references.size, rng)
    readings = references.marginals.readings(cut, rng) | references.dependence.readings(cut, rng)
    tell()
    told = two_sample(encoding, references.holdout, cut, "synthetic rows", seed)
    readings["c2st_auc"] = told.reading
    tell()
    utility_readings, trained = references.utility.readings(cut)
    readings |= utility_readings
    tell()
    effect = None
    if references.effects:
        estimates = references.effects.estimate(cut)
        readings |= references.effects.readings(estimates)
        effect = references.effects.as_result(references.effect_in_holdout, estimates)
    tell()
    scores = assemble(readings, references.floor, references.null)
    scores = gate_by_null(scores, plan.thresholds, references.panel.n_patients)
    privacy, attacks = references.panel.assess(
        references.panel.people.encoding.encode(made),
        plan.thresholds,
        rng,
        model=model,
        real=(conform(train, schema), conform(holdout, schema)),
    )
    scores, not_judged = scores | privacy, {}
    if not is_holdout_unseen:
        (scores, not_judged), attacks = unjudged(scores), []
    tell()
    tables = {"train": references.train, "holdout": references.holdout, "synthetic": whole}
    groups = Subgroups(tables, encoding, references.utility, trained, references.trained_on_real)
    found_groups = groups.of(_group_columns(plan, compared))
    tell()
    return Evaluation(
        scores=scores,
        columns=compare_columns(tables, encoding, compared, references.marginals, cut=cut, floor=references.fresh),
        correlation=compare_correlations(tables, encoding, compared),
        two_sample=[t.curve for t in (told, references.two_sample_floor) if t.curve],
        tasks=references.utility.comparisons(trained, references.trained_on_real),
        attacks=attacks,
        subgroups=found_groups,
        epidemiology=epidemiology(references.train, whole, encoding, compared),
        effect=effect,
        n_rows={**{place: len(table) for place, table in tables.items()}, "compared": references.size},
        left_out=left_out,
        warnings=_warnings(tables, plan, left_out, scores),
        not_judged=not_judged,
    )


def _group_columns(plan: EvaluationPlan, schema: Schema) -> tuple[str, ...]:
    by_role = [column.name for role in ("sensitive", "site") for column in schema.with_role(role)]
    return tuple(dict.fromkeys([*plan.sensitive, *by_role]))


def _warnings(
    tables: dict[str, Encoded], plan: EvaluationPlan, left_out: list[str], scores: dict[str, Score]
) -> list[str]:
    """What a reader must know before trusting the numbers."""
    found = []
    n_train, n_holdout = (len(np.unique(tables[place].patient)) for place in ("train", "holdout"))
    least = plan.thresholds.min_patients
    if min(n_train, n_holdout) < least:
        sides = f"{shown_count(n_train)} training and {shown_count(n_holdout)} holdout patients"
        found.append(
            f"Only {sides}. With fewer than {least} on either side "
            "neither closeness nor safety can be shown: every gate is failed, and all numbers are rough."
        )
    if left_out:
        found.append(f"Not compared: {', '.join(left_out)} (absent in the synthetic table, text, or ids).")
    undefined = [name for name, score in scores.items() if score.value is None]
    if undefined:
        found.append(f"{len(undefined)} scores cannot be computed on these tables; each says why.")
    blind = [score.name for score in scores.values() if score.verdict == "failed" and score.note and _is_within(score)]
    if blind and min(n_train, n_holdout) >= least:
        found.append(f"Failed because the data cannot tell, not because of what was measured: {', '.join(blind)}.")
    return found


def _is_within(score: Score) -> bool:
    if score.value is None or score.threshold is None:
        return False
    return score.value >= score.threshold if score.better == "higher" else score.value <= score.threshold


def _teller(progress: Progress) -> Callable[[], None]:
    """A function that reports the next part of `PARTS` as done."""
    start, done = time.monotonic(), 0

    def tell() -> None:
        nonlocal done
        done += 1
        elapsed = time.monotonic() - start
        progress(
            Step(task=f"evaluate ({PARTS[done - 1]})", done=done, total=len(PARTS), unit="parts", elapsed_s=elapsed)
        )

    return tell
