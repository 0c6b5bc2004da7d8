"""An evaluation as a few lines of plain text, for a terminal or a notebook.

What belongs here: which scores are the main ones, and how they line up. What does not: the page (`report/`).
"""

from __future__ import annotations

from ehr_pipeline.evaluate.result import Evaluation, Score

MAIN = (
    "c2st_auc",
    "ks_mean",
    "tvd_mean",
    "correlation_error",
    "tvd2_mean",
    "tvd3_mean",
    "tstr_hgb",
    "tstr_lr",
    "causal_log_odds_error",
    "exact_copies_train",
    "exact_copies_holdout",
    "dcr_share",
    "membership_auc[all]",
    "membership_tpr_at_1%[all]",
    "membership_tpr_at_1%[isolated]",
)
HEADS = ("", "value", "floor", "null", "verdict")


def printed(evaluation: Evaluation) -> str:
    """Rows compared, the main scores with value, floor, null and verdict, then what a reader must know.

    Every score that failed is among them, whether it is a main one or not.
    """
    scores = evaluation.scores
    shown = [score for main in MAIN for name, score in scores.items() if main in (name, name.split("[")[0])]
    shown += [score for score in scores.values() if score.verdict == "failed" and score not in shown]
    table = [HEADS, *(_cells(score) for score in shown)]
    widths = [max(len(row[place]) for row in table) for place in range(len(HEADS))]
    lines = [", ".join(f"{name} {n:,}" for name, n in evaluation.n_rows.items()) + " rows"]
    for name, *numbers, verdict in table:
        aligned = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=False)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned, verdict]).rstrip())
    lines += [f"{dimension} was not judged: {why}" for dimension, why in evaluation.not_judged.items()]
    return "\n".join(lines + evaluation.warnings)


def _cells(score: Score) -> tuple[str, ...]:
    numbers = ("-" if n is None else f"{n:.4f}" for n in (score.value, score.floor, score.null))
    return (score.name, *numbers, score.verdict)
