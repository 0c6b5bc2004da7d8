"""ROC curves thin enough to draw and too thin to read single patients from."""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.score import Curve

MAX_POINTS = 100


def roc(label: str, is_positive: np.ndarray, score: np.ndarray, auc: float) -> Curve:
    """The ROC curve of scores [n] against 0/1 labels [n], at most `MAX_POINTS` points, three decimals."""
    order = np.argsort(-score, kind="stable")
    positive, sorted_score = is_positive[order] == 1, score[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(sorted_score)), len(score) - 1)
    true_rate = np.concatenate([[0], np.cumsum(positive)[last_of_tie] / max(positive.sum(), 1)])
    false_rate = np.concatenate([[0], np.cumsum(~positive)[last_of_tie] / max((~positive).sum(), 1)])
    grid = np.linspace(0, 1, MAX_POINTS)
    along = (true_rate + false_rate) / 2  # rises along the curve, also where it is vertical
    return Curve(
        label=label,
        false_positive_rate=np.interp(grid, along, false_rate).round(3).tolist(),
        true_positive_rate=np.interp(grid, along, true_rate).round(3).tolist(),
        auc=auc,
    )
