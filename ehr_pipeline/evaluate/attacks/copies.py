"""Attack: look for synthetic rows that equal a real row in every column.

A match with a training row is no proof by itself: in a coarse table strangers coincide. So matches with the
holdout, whom the generator never saw, say how many are chance.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.attacks.people import Suspect
from ehr_pipeline.evaluate.attacks.space import row_keys
from ehr_pipeline.evaluate.encoding import Encoded
from ehr_pipeline.evaluate.intervals import clopper_pearson, upper_rate
from ehr_pipeline.evaluate.scoring import Reading, Readings


class Copies:
    """Exact matches with training and holdout rows."""

    question = "Is a synthetic row an exact copy of a training patient's row?"

    def __init__(self, train: Encoded, holdout: Encoded) -> None:
        self.train = row_keys(train)
        self.holdout = row_keys(holdout)
        self.floor = {
            "exact_copies_train": _share(self.holdout, self.train),
            "exact_copies_holdout": _share(self.train, self.holdout),
        }

    def readings(self, table: Encoded) -> Readings:
        """Share of rows that equal some training row, and some holdout row."""
        keys = row_keys(table)
        return {
            "exact_copies_train": _share(keys, self.train),
            "exact_copies_holdout": _share(keys, self.holdout),
        }

    def planted_value(self, suspect: Suspect) -> float:
        """Share of rows of the twin that equal some training row."""
        kept = np.isin(row_keys(suspect.kept), self.train).sum()
        return float((kept + len(suspect.planted)) / max(suspect.n_rows, 1))

    def chance_limit(self, table: Encoded, level: float) -> float:
        """The share of copies of training rows that chance explains, allowing for how few patients tell it.

        The larger of two upper bounds: holdout rows that fall on training rows, and synthetic rows that fall
        on holdout rows, as many times as the training table is larger than the holdout.
        """
        if not len(self.train) or not len(self.holdout):
            return 1.0
        fresh = int(np.isin(self.holdout, self.train).sum())
        near = int(np.isin(row_keys(table), self.holdout).sum())
        per_row = upper_rate(near, len(table), level) * max(len(self.train) / len(self.holdout), 1)
        return min(max(upper_rate(fresh, len(self.holdout), level), per_row), 1.0)


def _share(rows: np.ndarray, real: np.ndarray) -> Reading:
    if not len(rows) or not len(real):
        return Reading(None, note="no rows to compare")
    hits = int(np.isin(rows, real).sum())
    return Reading(hits / len(rows), *clopper_pearson(hits, len(rows)))
