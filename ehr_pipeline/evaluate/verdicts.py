"""How a score comes to be shown as passed or failed. Fail closed: what cannot be told is failed.

What belongs here: the rule. The limits and their reasons are in `thresholds.py`.

A gate passes only if the score is within its limit, its own control is outside (the null for fidelity and
utility, the twin with the planted leak for privacy), and there are enough holdout patients to speak of at all.
A gate whose control is inside is failed, with one exception: where another gate of the same attack catches the
plant, it is a diagnostic with a limit, failed beyond it and never passed.
"""

from __future__ import annotations

from ehr_pipeline.evaluate.score import Score, Verdict
from ehr_pipeline.evaluate.scoring import metric_of
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.record import shown_count

GATED = ("c2st_auc", "correlation_error", "tstr_hgb")
NULL_CANNOT_TELL = "independent columns or chance would pass as well: the data cannot tell here"


def gate_by_null(scores: dict[str, Score], thresholds: Thresholds, n_patients: int) -> dict[str, Score]:
    """Give fidelity and utility scores their verdicts; scores without a threshold stay diagnostics."""
    gated = {}
    for name, score in scores.items():
        if name.split("[")[0] not in GATED:
            gated[name] = score
            continue
        limit = _limit(score, thresholds)
        control_is_caught = limit is not None and score.null is not None and is_worse(name, score.null, limit)
        gated[name] = decide(
            score,
            limit,
            control_is_caught=control_is_caught,
            when_not=NULL_CANNOT_TELL,
            thresholds=thresholds,
            n_patients=n_patients,
        )
    return gated


def decide(
    score: Score,
    limit: float | None,
    *,
    control_is_caught: bool,
    when_not: str,
    thresholds: Thresholds,
    n_patients: int,
    verdict_when_not: Verdict = "failed",
) -> Score:
    """A score with its verdict; where the verdict is not about the value, the note is why (`when_not`, or too few).

    `verdict_when_not` is the verdict of a value within its limit whose control is not caught.
    """
    note, verdict = score.note, "passed"
    if score.value is None or limit is None:
        verdict, note = "failed", score.note or when_not
    elif is_worse(score.name, score.value, limit):
        verdict = "failed"
    elif n_patients < thresholds.min_patients:
        verdict, note = (
            "failed",
            f"only {shown_count(n_patients)} patients on the smaller real side: so few cannot show it",
        )
    elif not control_is_caught:
        verdict, note = verdict_when_not, when_not
    return score.model_copy(update={"threshold": limit, "verdict": verdict, "note": note})


def is_worse(name: str, value: float, limit: float) -> bool:
    """Whether a value is on the wrong side of its limit."""
    return value < limit if metric_of(name).better == "higher" else value > limit


def _limit(score: Score, thresholds: Thresholds) -> float | None:
    """The limit in the unit of the score's value; None where its references do not allow one."""
    if score.name == "c2st_auc":
        return thresholds.c2st_auc
    if score.name == "correlation_error":
        if score.normalised is None:
            return None
        return score.floor + thresholds.correlation_normalised * (score.null - score.floor)
    return None if score.floor is None else score.floor - thresholds.tstr_gap
