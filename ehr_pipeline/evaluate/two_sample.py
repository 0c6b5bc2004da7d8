"""Whether a boosted classifier can tell synthetic rows from real rows of the holdout (`c2st_auc`).

What belongs here: the folds and the AUROC. 0.5 is best; far below 0.5 means rows shared with the holdout.
The folds are grouped by patient, so that one patient's rows never stand on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.curves import roc
from ehr_pipeline.evaluate.encoding import Encoded, Encoding, draw
from ehr_pipeline.evaluate.intervals import around, auc_and_error
from ehr_pipeline.evaluate.learners import MIN_CLASS_ROWS, boosted_scores
from ehr_pipeline.evaluate.score import Curve
from ehr_pipeline.evaluate.scoring import Reading

MAX_ROWS = 20_000
N_FOLDS = 5


@dataclass(frozen=True)
class TwoSample:
    """The AUROC of telling real from other rows, and its curve (None where it could not be tried)."""

    reading: Reading
    curve: Curve | None


def two_sample(encoding: Encoding, real: Encoded, other: Encoded, label: str, seed: int) -> TwoSample:
    """5-fold AUROC of gradient boosting; both sides cut to one size, at most `MAX_ROWS` rows."""
    rng = np.random.default_rng(seed)
    size = min(len(real), len(other), MAX_ROWS)
    if size < 2 * MIN_CLASS_ROWS:
        return TwoSample(Reading(None, note=f"fewer than {2 * MIN_CLASS_ROWS} rows on a side"), None)
    sides = [draw(side, size, rng) for side in (real, other)]
    (x, is_category), (x_other, _) = (encoding.features(side) for side in sides)
    x, is_real = np.vstack([x, x_other]), np.repeat([1, 0], size)
    patient = np.concatenate([sides[0].patient, sides[1].patient + sides[0].patient.max() + 1])
    fold = np.concatenate([grouped_folds(side.patient, rng) for side in sides])
    score, aucs, errors = np.full(len(x), 0.5), [], []
    for test in (fold == number for number in range(N_FOLDS)):
        if len(np.unique(is_real[test])) < 2:
            continue
        score[test] = boosted_scores(x[~test], is_real[~test], x[test], is_category)
        auc, error = auc_and_error(is_real[test], score[test], patient[test])
        aucs.append(auc)
        errors.append(error)
    if not aucs:
        return TwoSample(Reading(None, note="all rows of a side are one patient's"), None)
    value, error = float(np.mean(aucs)), float(np.sqrt(np.square(errors).sum()) / len(errors))
    low, high = around(value, error, highest=1.0)
    return TwoSample(Reading(value, low, high), roc(label, is_real, score, value))


def grouped_folds(patient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The fold of each row, int [n]: patients dealt out at random, as evenly as can be."""
    _, position = np.unique(patient, return_inverse=True)
    return (rng.permutation(position.max() + 1) % N_FOLDS)[position]
