"""Attacks on streams of events: score each event, then each patient by their events.

What belongs here: the way from events to patients. What does not: a score of one event; that is the attack's, or the
model's own (`Generator.member_scores`). The unit is the patient: rates and intervals over events would count one
patient many times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.attacks.rates import hits_at, ranking_auc
from ehr_pipeline.evaluate.scoring import Readings

EventScores = Callable[[pd.DataFrame], np.ndarray]
"""From events (`record.EVENT_SCHEMA`) to one score each, float [n events]: higher is more typical of training."""
Aggregate = Literal["mean", "highest", "mean of highest"]
HIGHEST = 5


def per_patient(score: np.ndarray, subject_id: np.ndarray, aggregate: Aggregate) -> pd.Series:
    """One score per patient, indexed by `subject_id`, from scores of events [n] and whose they are [n].

    `mean` sees a record that is known throughout, `highest` one event known by heart, `mean of highest` (the five
    highest, or all there are) a passage of it. A patient's highest scores grow with the number of events, in training
    and holdout alike, so that the two stay comparable as long as they are split by patient.

    >>> per_patient(np.array([1.0, 3.0, 2.0]), np.array([7, 7, 8]), "mean").to_dict()
    {7: 2.0, 8: 2.0}
    """
    scores = pd.Series(np.asarray(score, dtype=float)).groupby(np.asarray(subject_id), sort=True)
    if aggregate == "mean":
        return scores.mean()
    if aggregate == "highest":
        return scores.max()
    highest = scores.nlargest(HIGHEST)
    return highest.groupby(level=0).mean()


def stream_membership(
    members: pd.DataFrame, outsiders: pd.DataFrame, score: EventScores, aggregate: Aggregate = "mean of highest"
) -> Readings:
    """Membership over patients from events of training and of holdout patients, scored one by one.

    Raises
    ------
    ValueError
        A patient has events on both sides.
    """
    shared = np.intersect1d(members["subject_id"].unique(), outsiders["subject_id"].unique())
    if len(shared):
        raise ValueError(f"{len(shared)} patients have events among members and among outsiders; split by patient")
    inside, outside = (
        per_patient(score(events), events["subject_id"].to_numpy(), aggregate).to_numpy()
        for events in (members, outsiders)
    )
    return {
        "stream_membership_auc": ranking_auc(inside, outside),
        "stream_membership_tpr_at_1%": hits_at(inside, outside, 0.01),
    }
