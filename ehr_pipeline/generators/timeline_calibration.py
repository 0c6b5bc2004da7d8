"""Gaps of drawn stays made as common as those of real ones: what errors of single steps add up to, taken back.

What belongs here: the match, after training. What does not: training (`timeline_training.py`), drawing.

A network that was taught on real pasts draws its own, and what it does not do again comes a little too often: an odd
time here makes the next ones odd. So stays are drawn from the plans of real ones, and each level of gaps gets a bias,
log of its real share over its drawn one, again until they agree: iterative proportional fitting of one margin (Deming
and Stephan 1940), with the drawing itself as the model.
"""

from __future__ import annotations

import numpy as np
import torch

from ehr_pipeline.generators.timeline_decoding import Drawing
from ehr_pipeline.generators.timeline_goals import Goals
from ehr_pipeline.generators.timeline_levels import EventLevels
from ehr_pipeline.generators.timeline_network import TimelineNetwork
from ehr_pipeline.generators.timeline_sequences import Sequences
from ehr_pipeline.generators.timeline_steps import TimedEvents

MOST_STAYS, MOST_EVENTS = 384, 150_000
"""Stays that are drawn in each round: at most so many, of so many events together."""
PACE = 0.9
"""How much of the difference a round takes back."""
PRIOR = 5.0
"""Gaps that each level counts besides: rare ones move little."""


@torch.no_grad()
def match_gaps(
    network: TimelineNetwork,
    levels: EventLevels,
    sequences: Sequences,
    goals: Goals,
    *,
    rounds: int,
    window: int,
    rng: np.random.Generator,
    wanted: np.ndarray | None = None,
) -> None:
    """Set the bias of each level of gaps; `goals` are those of the training stays, seen for `window` minutes.

    `wanted` says how often each level should come, where the training stays do not.
    """
    if not levels.gaps.n_number_levels:
        return
    patient = sequences.patient.repeat_interleave(sequences.length).cpu().numpy()
    minute = sequences.minute.cpu().numpy()
    stays = rng.permutation(len(goals.counts))[:MOST_STAYS]
    events = np.cumsum(np.bincount(patient, minlength=len(goals.counts))[stays])
    stays = np.sort(stays[: max(1, int((events <= MOST_EVENTS).sum()))])
    real = _level_counts(patient, minute, levels, stays) if wanted is None else wanted
    some, begin = goals.at(torch.from_numpy(stays).to(goals.counts.device)), sequences.begin[stays]
    for _ in range(rounds):
        drawn = Drawing(network, levels, some, begin=begin, closed=None, window=window, rng=rng).events().sorted()
        made = _level_counts(drawn.patient, drawn.minute, levels, np.arange(len(stays)))
        change = np.log((real + PRIOR) / real.sum()) - np.log((made + PRIOR) / max(1.0, made.sum()))
        network.gap_bias += PACE * torch.from_numpy(change).to(network.gap_bias)


def gap_counts(timed: TimedEvents, levels: EventLevels) -> np.ndarray:
    """Gaps of each level that stays have: float64 of shape (n_number_levels,)."""
    return _level_counts(timed.patient, timed.minute, levels, np.arange(len(timed.is_cut)))


def _level_counts(patient: np.ndarray, minute: np.ndarray, levels: EventLevels, stays: np.ndarray) -> np.ndarray:
    """Gaps of each level that the chosen stays have: float64 of shape (n_number_levels,)."""
    gap = np.diff(minute)
    is_gap = (patient[1:] == patient[:-1]) & (gap > 0) & np.isin(patient[1:], stays)
    level = levels.gaps.levels(gap[is_gap].astype(np.float64))
    return np.bincount(level, minlength=levels.gaps.n_number_levels).astype(np.float64)
