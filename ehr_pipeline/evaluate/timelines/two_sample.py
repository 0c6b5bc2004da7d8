"""Whether a boosted classifier can tell synthetic patients from real ones of the holdout (`c2st_auc`).

What belongs here: folds and the AUROC. 0.5 is best. What the classifier sees is in `features.py`.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.curves import roc
from ehr_pipeline.evaluate.intervals import around, auc_and_error
from ehr_pipeline.evaluate.learners import MIN_CLASS_ROWS, boosted_scores
from ehr_pipeline.evaluate.scoring import Reading
from ehr_pipeline.evaluate.two_sample import N_FOLDS, TwoSample, grouped_folds


def tell_apart(real: np.ndarray, other: np.ndarray, label: str, seed: int, n_folds: int = N_FOLDS) -> TwoSample:
    """AUROC of gradient boosting over `n_folds` folds of rows, float64 [n, p] and [m, p]; both cut to one size."""
    rng = np.random.default_rng(seed)
    size = min(len(real), len(other))
    if size < 2 * MIN_CLASS_ROWS:
        return TwoSample(Reading(None, note=f"fewer than {2 * MIN_CLASS_ROWS} patients on a side"), None)
    x = np.vstack([side[rng.permutation(len(side))[:size]] for side in (real, other)])
    is_real = np.repeat([1, 0], size)
    fold = np.concatenate([grouped_folds(np.arange(size), rng) for _ in range(2)]) % n_folds
    is_category = np.zeros(x.shape[1], dtype=bool)
    score, aucs, errors = np.full(len(x), 0.5), [], []
    for test in (fold == number for number in range(n_folds)):
        score[test] = boosted_scores(x[~test], is_real[~test], x[test], is_category)
        auc, error = auc_and_error(is_real[test], score[test], np.flatnonzero(test))
        aucs.append(auc)
        errors.append(error)
    value, error = float(np.mean(aucs)), float(np.sqrt(np.square(errors).sum()) / len(errors))
    low, high = around(value, error, highest=1.0)
    return TwoSample(Reading(value, low, high), roc(label, is_real, score, value))
