"""Distances to the closest real records: DCR and NNDR. Diagnostics only, never a verdict.

They do not follow the risk of membership: a table with planted copies passes them. They are here because
readers ask for them, and because a gross copy machine shows.

One half of the holdout and as many training rows are the references; the other half of the holdout plays
the synthetic table for the floor.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.attacks.space import nearest, points
from ehr_pipeline.evaluate.encoding import Encoded, Encoding, draw
from ehr_pipeline.evaluate.intervals import clopper_pearson, quantile_interval
from ehr_pipeline.evaluate.scoring import Reading, Readings

MAX_ROWS = 10_000
SAME = 1e-9
NAMES = ("dcr_share", "dcr_median_train", "dcr_median_holdout", "nndr_p05")


class Distances:
    """Distances from a table to equally many training and holdout rows."""

    def __init__(self, encoding: Encoding, train: Encoded, holdout: Encoded, rng: np.random.Generator) -> None:
        order = rng.permutation(len(holdout))
        self.encoding = encoding
        self.size = min(len(order) // 2, len(train), MAX_ROWS)
        self.fresh = holdout.take(order[: self.size])
        self.holdout = points(encoding, holdout.take(order[self.size : 2 * self.size]))
        self.train = points(encoding, draw(train, self.size, rng))

    def readings(self, table: Encoded, rng: np.random.Generator) -> Readings:
        """All distances of a table, cut to the size of the references."""
        rows = draw(table, self.size, rng)
        if self.size < 2 or not len(rows):
            return dict.fromkeys(NAMES, Reading(None, note="fewer than four holdout rows"))
        queries = points(self.encoding, rows)
        to_train, to_holdout = nearest(queries, self.train, 2)[0], nearest(queries, self.holdout)[0][:, 0]
        closest, second = to_train.T
        is_tied = np.abs(closest - to_holdout) < SAME
        share = float(((closest < to_holdout) & ~is_tied).mean() + is_tied.mean() / 2)
        ratio = np.where(second < SAME, 1, closest / np.maximum(second, SAME))
        return {
            "dcr_share": Reading(share, *clopper_pearson(round(share * len(rows)), len(rows))),
            "dcr_median_train": Reading(float(np.median(closest)), *quantile_interval(closest, 0.5)),
            "dcr_median_holdout": Reading(float(np.median(to_holdout)), *quantile_interval(to_holdout, 0.5)),
            "nndr_p05": Reading(float(np.quantile(ratio, 0.05)), *quantile_interval(ratio, 0.05)),
        }
