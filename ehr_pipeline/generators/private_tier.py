"""The private tier of generators that train a network: its settings' plan, and the patients as it may see them.

What belongs here: what these generators share. What does not: the column codec (`private_codec.py`), the training
(`privacy/training.py`), networks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import PrivateTierConfig
from ehr_pipeline.generators.private_codec import OneRowEach, codec_mechanism, learn_private_codec, require_public
from ehr_pipeline.generators.private_features import FeatureNetwork
from ehr_pipeline.generators.training import data_tensors, enough_memory, one_thread, pick_device, seeded
from ehr_pipeline.privacy.accountant import accounted, noise_for, total_noise
from ehr_pipeline.privacy.budget import Budget, GaussianMechanism, PrivacyPlan
from ehr_pipeline.privacy.training import STEPS_NAME, PrivateSteps, steps_of, train_privately
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Schema


def private_plan(schema: Schema, config: PrivateTierConfig, budget: Budget, *others: GaussianMechanism) -> PrivacyPlan:
    """Histograms of the columns, `others`, and with what is left the training of the network; reads no patient.

    Raises
    ------
    DefinitionError
        A column lacks what a private fit must not look up.
    OptionError
        The budget is too small for any noise.
    """
    require_public(schema)
    histogram_noise = total_noise(budget) * math.sqrt(len(schema.columns) / config.private_histograms)
    histograms = codec_mechanism(schema, histogram_noise)
    noise = _training_noise((histograms, *others), config.private_rate, config.private_steps, budget)
    mechanisms = (histograms, *others, _training(noise, config.private_rate, config.private_steps))
    return PrivacyPlan(budget=budget, mechanisms=mechanisms, accounted=accounted(mechanisms, budget.delta))


@dataclass(frozen=True, kw_only=True)
class PrivateFit:
    """What a private fit leaves: codec, network, and the number of patients, noise included."""

    codec: TableCodec
    network: FeatureNetwork
    n_patients: int


def fit_private_network(
    network_of: Callable[[TableCodec], FeatureNetwork],
    schema: Schema,
    cohort: TrainingCohort,
    plan: PrivacyPlan,
    config: PrivateTierConfig,
    *,
    task: str,
    progress: Progress | None,
) -> PrivateFit:
    """Learn the columns and then the network that `network_of` makes of them, by the plan.

    One row stands for each patient. Memory: four bytes per patient and column at most.
    """
    rows = OneRowEach(cohort)
    codec, n_patients = private_codec(schema, rows, plan, config)
    network = train_private_network(
        network_of, codec, rows, plan, config, n_patients=n_patients, task=task, progress=progress
    )
    return PrivateFit(codec=codec, network=network, n_patients=n_patients)


def train_private_network(
    network_of: Callable[[TableCodec], FeatureNetwork],
    codec: TableCodec,
    rows: OneRowEach,
    plan: PrivacyPlan,
    config: PrivateTierConfig,
    *,
    n_patients: int,
    task: str,
    progress: Progress | None,
) -> FeatureNetwork:
    """The network that `network_of` makes of columns that noise has told already; `n_patients` is noisy too."""
    device = pick_device(config.device)
    with enough_memory(task, "take fewer columns"), one_thread():
        with seeded(config.seed, device):
            network = network_of(codec).to(device)
        clip_norm = config.private_clip_norm * network.usual_norm
        train_privately(
            network,
            data_tensors(device, codec.small_levels(rows)),
            private_steps(plan, config, clip_norm, n_patients),
            example=(example_levels(codec, device),),
            task=task,
            progress=progress,
        )
        network.match_shares()
    return network


def private_codec(
    schema: Schema, rows: OneRowEach, plan: PrivacyPlan, config: PrivateTierConfig
) -> tuple[TableCodec, int]:
    """The columns' codec and the number of patients by the plan's noisy histograms."""
    return learn_private_codec(schema, rows, plan.mechanisms[0].noise_multiplier, n_levels=config.private_levels)


def private_steps(plan: PrivacyPlan, config: PrivateTierConfig, clip_norm: float, n_patients: int) -> PrivateSteps:
    """The training of the plan, with a rate that suits the (noisy) number of patients.

    Where all patients of a step together can say less than its noise, steps are shorter in proportion: a training on
    a handful of patients stays near where it starts, at independent columns.
    """
    steps = steps_of(plan)
    said = steps.sampling_rate * n_patients / (steps.noise_multiplier * clip_norm)
    return PrivateSteps(
        mechanism=steps, clip_norm=clip_norm, learning_rate=config.private_learning_rate * min(1.0, said)
    )


def example_levels(codec: TableCodec, device: torch.device, n: int = 8) -> torch.Tensor:
    """Levels of rows that are made up, int64 of shape (n, d)."""
    levels = np.random.default_rng(0).integers(codec.n_levels, size=(n, len(codec.n_levels)))
    return torch.from_numpy(levels).to(device)


def _training(noise: float, rate: float, n_steps: int) -> GaussianMechanism:
    return GaussianMechanism(name=STEPS_NAME, noise_multiplier=noise, sampling_rate=rate, steps=n_steps)


@functools.cache  # a plan is made to be told, and again to be kept to
def _training_noise(others: tuple[GaussianMechanism, ...], rate: float, n_steps: int, budget: Budget) -> float:
    return noise_for(lambda noise: (*others, _training(noise, rate, n_steps)), budget)
