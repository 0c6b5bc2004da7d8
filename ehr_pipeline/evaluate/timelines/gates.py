"""The three gates of timelines; every other score is a diagnostic.

What belongs here: which scores gate, and the mean that one of them is of. The limits and their reasons are in
`evaluate/thresholds.py`, the rule in `evaluate/verdicts.py`.

A two-sample AUC near 1 is what the best published generators have, so a limit on it would tell nobody anything: it
enters the mean instead.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.score import Score
from ehr_pipeline.evaluate.scoring import metric_of
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.evaluate.timelines.plausibility import NAME as IMPLAUSIBLE
from ehr_pipeline.evaluate.verdicts import decide, is_worse

MEAN = "mean_normalised"
AVERAGED = (
    "distinct_codes_ks",
    "prevalence_r2",
    "prevalence_error",
    "cooccurrence_r2",
    "bigram_tvd",
    "autocorrelation_error",
    "value_correlation_error",
    "c2st_auc",
    "tstr_auc",
)
"""Scores whose normalised values make the mean, each at least 0."""
SHUFFLED_PASSES = "shuffled events or chance would pass as well: the data cannot tell here"


def with_mean(scores: dict[str, Score]) -> dict[str, Score]:
    """The scores and the mean of the normalised ones that there are of `AVERAGED`."""
    parts = [scores[name].normalised for name in AVERAGED if name in scores and scores[name].normalised is not None]
    metric = metric_of(MEAN)
    value = float(np.mean(np.maximum(parts, 0))) if parts else None
    mean = Score(
        name=MEAN,
        dimension=metric.dimension,
        value=value,
        floor=0.0 if parts else None,
        null=1.0 if parts else None,
        normalised=value,
        better=metric.better,
        note=f"of {len(parts)} scores" if parts else "no score can be normalised here",
    )
    return scores | {MEAN: mean}


def gated(
    scores: dict[str, Score], thresholds: Thresholds, n_patients: int, real_share: float | None
) -> dict[str, Score]:
    """The scores with the verdicts of the gates; `real_share` of real patients are implausible themselves."""
    limits: dict[str, float | None] = {MEAN: thresholds.timeline_normalised}
    if "tstr_auc" in scores:
        floor = scores["tstr_auc"].floor
        limits["tstr_auc"] = None if floor is None else floor - thresholds.tstr_gap
    if scores[IMPLAUSIBLE].value is not None:  # where no rule reads the events there is nothing to hold them to
        limits[IMPLAUSIBLE] = None if real_share is None else real_share + thresholds.implausible_excess
    found = dict(scores)
    for name, limit in limits.items():
        null = scores[name].null
        found[name] = decide(
            scores[name],
            limit,
            control_is_caught=limit is not None and null is not None and is_worse(name, null, limit),
            when_not=SHUFFLED_PASSES,
            thresholds=thresholds,
            n_patients=n_patients,
        )
    return found
