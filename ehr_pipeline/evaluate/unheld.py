"""What cannot be judged where the generator has seen every real row: no rows are left that stand for strangers.

What belongs here: which scores then say nothing, which can still fail, and why. What does not: any measurement.

An attack on membership tells training rows from rows that the generator never saw. Where it saw both it scores one
half, whatever the table gives away, so its value is not shown. A model that is tested on rows which its training table
may repeat can do badly honestly, but not well: utility may fail, and does not pass.
"""

from __future__ import annotations

from ehr_pipeline.evaluate.score import Dimension, Score

WHY_NOT: dict[Dimension, str] = {
    "privacy": "no holdout was given, so that there are no real rows which the generator never saw",
    "utility": "no holdout was given, so that models are tested on rows which the synthetic table may repeat",
}
MEANINGLESS = ("membership", "attribute", "linkage", "singled_out", "near_copies", "model", "dcr_share")


def unjudged(scores: dict[str, Score]) -> tuple[dict[str, Score], dict[Dimension, str]]:
    """The scores less the verdicts that need a true holdout, and the dimensions that lose theirs, with the reason.

    A dimension that fails all the same keeps its verdict.
    """
    found = {name: _unjudged(score) for name, score in scores.items()}
    measured = {score.dimension for score in found.values()}
    failed = {score.dimension for score in found.values() if score.verdict == "failed"}
    return found, {dimension: why for dimension, why in WHY_NOT.items() if dimension in measured - failed}


def _unjudged(score: Score) -> Score:
    why = f"not judged: {WHY_NOT.get(score.dimension)}"
    if score.name.startswith(MEANINGLESS):
        return Score(name=score.name, dimension=score.dimension, value=None, better=score.better, note=why)
    if score.dimension == "privacy":
        return score.model_copy(update={"threshold": None, "verdict": "diagnostic", "note": why})
    if score.dimension == "utility" and score.verdict == "passed":
        return score.model_copy(update={"verdict": "diagnostic", "note": why})
    return score
