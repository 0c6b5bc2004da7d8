"""How much there is of a timeline: events, distinct codes, gaps, length, and codes that nobody real has.

What belongs here: measures that pass over what a code is.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.scoring import Readings
from ehr_pipeline.evaluate.timelines.draws import Draws, ks_statistics, mean_over, reading
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.stream import Timelines

Rows = tuple[np.ndarray, np.ndarray]
"""Values and whose they are."""


class Shape:
    """Distances of other patients' timelines from the training patients' in size and pace."""

    def __init__(self, train: Timelines, lists: CodeLists) -> None:
        self.lists = lists
        self.train = {name: np.sort(values) for name, (values, _) in self._measures(train).items()}

    def readings(self, other: Timelines, draws: Draws) -> Readings:
        """`events_per_subject_ks`, `distinct_codes_ks`, `time_gap_ks`, `length_ks` and `unseen_code_share`."""
        found = {
            name: reading(ks_statistics(self.train[name], values, patient, draws), highest=1.0)
            for name, (values, patient) in self._measures(other).items()
        }
        unseen = draws.total(other.patient, (other.code < 0).astype(float)) / np.maximum(draws.total(other.patient), 1)
        return found | {"unseen_code_share": reading(mean_over(unseen), highest=1.0)}

    def _measures(self, timelines: Timelines) -> dict[str, Rows]:
        """KS metrics by name, each with its values."""
        everyone = np.arange(timelines.n_patients)
        first, last = timelines.span()
        has_times = ~np.isnan(last)
        gap_patient, gap = timelines.gaps()
        return {
            "events_per_subject_ks": (np.bincount(timelines.patient, minlength=len(everyone)), everyone),
            "distinct_codes_ks": (_distinct_codes(timelines), everyone),
            "time_gap_ks": (gap.round(6), gap_patient),
            "length_ks": ((last - first)[has_times].round(6), everyone[has_times]),
        }


def _distinct_codes(timelines: Timelines) -> np.ndarray:
    """Distinct codes of each patient, all unseen ones counted as one: int64 [n_patients]."""
    width = int(timelines.code.max(initial=0)) + 2
    pairs = np.unique(timelines.patient * width + timelines.code + 1)
    return np.bincount(pairs // width, minlength=timelines.n_patients)
