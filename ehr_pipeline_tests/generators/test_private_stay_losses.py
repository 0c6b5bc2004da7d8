"""Losses of single stays with padding: the same as without, and of each patient alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ehr_pipeline.generators.private_stay_losses import LEARNED, StayLosses, padded_stays
from ehr_pipeline.generators.stay_sums import StayLayout
from ehr_pipeline.generators.timeline_batches import piece_losses
from ehr_pipeline.generators.timeline_goals import Goals
from ehr_pipeline.generators.timeline_levels import EventLevels
from ehr_pipeline.generators.timeline_network import Shape, TimelineNetwork
from ehr_pipeline.generators.timeline_sequences import Sequences
from ehr_pipeline.generators.timeline_steps import TimedEvents
from ehr_pipeline.privacy.budget import GaussianMechanism
from ehr_pipeline.privacy.training import (
    STEPS_NAME,
    PrivateSteps,
    dp_optimizer,
    patient_gradients,
    private_step,
    require_rows_apart,
)
from ehr_pipeline_tests.generators.cohorts import timeline_cohort
from ehr_pipeline_tests.timelines.events import stays

LENGTH = 128


@pytest.fixture(scope="module")
def made():
    cohort = timeline_cohort(stays(40, is_calendar=True))
    n, timed = cohort.n_patients, TimedEvents.of(cohort, 1_000)
    layout = StayLayout.learn(timed, n, cohort.clock.window_minutes)
    sums, planned = layout.sums(timed, n), np.array(layout.planned)
    parts = {name: getattr(sums, name) for name in ("counts", "n_other", "n_times", "first_minute", "last_minute")}
    rows = SimpleNamespace(table=sums.frame(layout), features=np.ones((n, 3), dtype=np.float32), **parts)
    levels = EventLevels.learn(timed, planned, gap_levels=16, value_levels=8)
    sequences = Sequences.of(timed, levels, np.arange(n) * 10.0, LENGTH)
    goals = Goals.of(rows, np.arange(n), planned, levels)
    torch.manual_seed(0)
    network = TimelineNetwork(levels, Shape(width=8, layers=1, heads=2, window=32, hidden=8, n_features=3)).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network, sequences, goals


def test_padded_losses_are_those_without_padding(made):
    network, sequences, goals = made
    losses = StayLosses(network).losses(*padded_stays(sequences, goals, LENGTH), share_done=0.0)
    pieces = torch.nonzero(sequences.is_begin).squeeze(1)
    assert len(losses) == 40 and int(sequences.length.max()) < LENGTH
    torch.testing.assert_close(losses * LENGTH, piece_losses(network, sequences, goals, pieces).sum(dim=1))


def test_each_gradient_is_that_of_the_patient_alone(made):
    network, sequences, goals = made
    losses, batch = StayLosses(network), padded_stays(sequences, goals, LENGTH)
    weights = [weight for weight in losses.parameters() if weight.requires_grad]
    together = patient_gradients(losses, batch)
    for k in (0, 7, 39):
        alone = losses.losses(*(part[k : k + 1] for part in batch), share_done=0.0).sum()
        for gradient, own in zip(together, torch.autograd.grad(alone, weights), strict=True):
            torch.testing.assert_close(gradient[k], own, rtol=1e-4, atol=1e-6)
    require_rows_apart(losses, tuple(part[:8] for part in batch))


def test_one_patient_moves_the_sum_of_gradients_by_the_norm_at_most(made):
    network, sequences, goals = made
    losses, batch = StayLosses(network), padded_stays(sequences, goals, LENGTH)
    # The longest gradient that a stay can be made to have: hundreds of times the loss of the others.
    loud = tuple(part[:1].clone() for part in batch)
    loud[-1].mul_(1e4)
    norm = 1e-3
    weights = [weight for weight in losses.parameters() if weight.requires_grad]
    mechanism = GaussianMechanism(name=STEPS_NAME, noise_multiplier=1e-12, sampling_rate=0.5, steps=1)
    sums = []
    for rows in (batch, tuple(torch.cat([part, other]) for part, other in zip(batch, loud, strict=True))):
        optimizer = dp_optimizer(losses, PrivateSteps(mechanism=mechanism, clip_norm=norm, learning_rate=0.0))
        private_step(losses, rows, optimizer)
        sums.append(torch.cat([weight.grad.flatten() for weight in weights]))
    assert (sums[1] - sums[0]).norm() <= norm * 1.001
    assert (sums[1] - sums[0]).norm() > 0


def test_heads_alone_learn(made):
    losses = StayLosses(made[0])
    learned = {name for name, weight in losses.network.named_parameters() if weight.requires_grad}
    assert learned and all(name.startswith(LEARNED) for name in learned)
    assert not any(name.startswith(("blocks", "codes", "read_")) for name in learned)
    assert isinstance(losses, nn.Module)
