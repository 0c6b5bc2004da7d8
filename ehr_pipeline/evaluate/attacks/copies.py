"""Attack: look for synthetic rows that equal a real row in every column.

A match with a training row is no proof by itself: in a coarse table strangers coincide. So matches with the
holdout, whom the generator never saw, say how many are chance.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import nbinom

from ehr_pipeline.evaluate.attacks.people import Suspect
from ehr_pipeline.evaluate.attacks.space import row_keys
from ehr_pipeline.evaluate.encoding import Encoded
from ehr_pipeline.evaluate.intervals import clopper_pearson
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
        """The share of copies of training rows that chance explains beside the table's matches with the holdout.

        By chance a match is with a training row as often as training rows are among all real rows, whatever the
        number of matches: Binomial(matches, n_train / (n_train + n_holdout)). The limit is the largest number of
        training matches that this test does not refuse at `level`, given the holdout matches: a quantile of the
        negative binomial distribution.
        """
        if not len(self.train) or not len(self.holdout) or not len(table):
            return 1.0
        n_holdout_hits = int(np.isin(row_keys(table), self.holdout).sum())
        holdout_share = len(self.holdout) / (len(self.train) + len(self.holdout))
        return min(float(nbinom.ppf(level, n_holdout_hits + 1, holdout_share)) / len(table), 1.0)


def _share(rows: np.ndarray, real: np.ndarray) -> Reading:
    if not len(rows) or not len(real):
        return Reading(None, note="no rows to compare")
    hits = int(np.isin(rows, real).sum())
    return Reading(hits / len(rows), *clopper_pearson(hits, len(rows)))
