"""The private fit of `tabular_gan`: a critic trained by DP-SGD, noisy moments, and a generator that sees only these.

What belongs here: the plan, the critic's loss, the moments, the turns of critic and generator. What does not: the
networks (`gan_networks.py`), DP-SGD itself (`privacy/training.py`).

DPGAN (Xie et al. 2018, https://arxiv.org/abs/1802.06739, algorithm 1): patients meet the critic alone, so whatever the
generator learns from it is post-processing.

# NOTE[DIFF] The critic is bounded by the spectral norm of its layers instead of a gradient penalty, whose points mix a
#   patient with a drawn row and need a second derivative; a patient's gradient is that of one D(fake) - D(real).
# NOTE[DIFF] The moments that the generator matches are measured once, with noise. A critic under noise finds which
#   columns go together slowly; its moments say so.
# NOTE[DIFF] Conditions of the training are lent by drawn rows, never by real ones.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import TabularGANConfig
from ehr_pipeline.generators.gan_networks import MOST_PRODUCTS, Critic, Moments, RowGenerator
from ehr_pipeline.generators.gan_rows import RowLayout
from ehr_pipeline.generators.private_codec import OneRowEach
from ehr_pipeline.generators.private_tier import private_codec, private_plan, private_steps
from ehr_pipeline.generators.training import data_tensors, enough_memory, one_thread, pick_device, seeded
from ehr_pipeline.privacy.accountant import total_noise
from ehr_pipeline.privacy.budget import Budget, GaussianMechanism, PrivacyPlan
from ehr_pipeline.privacy.noise import noisy_counts
from ehr_pipeline.privacy.training import train_privately
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Schema

MOMENTS_NAME = "means and products of columns"
GRID = 1024
"""Steps of the grid, for each standard deviation, on which products are counted exactly."""
LEAST_SPREAD = 0.25
"""Entries that vary less are not blown up to unit variance: patients with a rare level would be clipped."""
AVERAGE_POWER = 7
"""The average of the generator is over about the last ninth of the steps."""


def plan(schema: Schema, config: TabularGANConfig, budget: Budget) -> PrivacyPlan:
    """What a private GAN does with patients: histograms, means and products of columns, then the critic.

    Raises
    ------
    OptionError
        Histograms and moments leave nothing to the critic.
    """
    if config.private_histograms + config.private_moments >= 1:
        raise OptionError("private_histograms and private_moments leave nothing of the budget to the critic")
    noise = total_noise(budget) / math.sqrt(config.private_moments)
    return private_plan(schema, config, budget, GaussianMechanism(name=MOMENTS_NAME, noise_multiplier=noise))


def fit(
    schema: Schema,
    cohort: TrainingCohort,
    plan: PrivacyPlan,
    config: TabularGANConfig,
    *,
    task: str,
    progress: Progress | None,
) -> tuple[TableCodec, RowGenerator, int]:
    """The columns' codec, the generator of rows, and the noisy number of patients, by the plan."""
    rows, device = OneRowEach(cohort), pick_device(config.device)
    codec, n_patients = private_codec(schema, rows, plan, config)
    layout = RowLayout.of(codec)
    moments_noise = next(one.noise_multiplier for one in plan.mechanisms if one.name == MOMENTS_NAME)
    with enough_memory(task, "take fewer columns"), one_thread():
        data = data_tensors(device, *layout.encoded(rows))
        moments = NoisyMoments(layout, data, moments_noise, n_patients).to(device)
        with seeded(config.seed, device):
            generator = RowGenerator(layout, config).to(device)
            critic = PrivateCritic(layout, config).to(device)
        turns = GeneratorTurns(generator, critic, moments, config, plan.mechanisms[-1].steps)
        train_privately(
            critic,
            data,
            private_steps(plan, config, config.private_clip_norm, n_patients),
            example=_example(layout, device),
            task=task,
            beside=turns.drawn,
            after_step=turns.take,
            progress=progress,
        )
    return codec, turns.average, n_patients


class PrivateCritic(Critic):
    """The critic in fewer weights, of which no layer stretches anything."""

    def __init__(self, layout: RowLayout, config: TabularGANConfig) -> None:
        small = {"critic_hidden": config.private_critic_hidden, "products": config.private_products}
        super().__init__(layout, config.model_copy(update=small))
        self.layout = layout
        # Nothing is given where patients are seen, and a constant is the same for both rows of a pair.
        self.read_given.requires_grad_(requires_grad=False)
        self.layers[-1].bias.requires_grad_(requires_grad=False)
        self.bound()

    def losses(self, choices: Tensor, ranks: Tensor, drawn: Tensor, *, share_done: float) -> Tensor:
        """D(drawn) - D(real) of pairs of a patient and a drawn row (n, width), of shape (n,)."""
        real = self.layout.vectors_apart(choices, ranks)
        given = ranks.new_zeros(len(real), len(self.layout.pieces))
        return self(drawn, given) - self(real, given)

    @torch.no_grad()
    def bound(self) -> None:
        """Shorten each layer to a spectral norm of 1."""
        for layer in (self.read_row, self.factors, self.read_products, *self.layers):
            if isinstance(layer, nn.Linear):
                layer.weight /= torch.linalg.matrix_norm(layer.weight, ord=2).clamp_min(1.0)


class NoisyMoments(Moments):
    """Means and products of the patients' rows, measured once with Gaussian noise.

    Entries are standardised by the columns' noisy shares, put on a grid, and each patient's products (with 1 as one
    more entry) are clipped to a norm C, so that sums are whole numbers that one patient moves by at most C.
    """

    def __init__(self, layout: RowLayout, data: tuple[Tensor, Tensor], noise: float, n_patients: int) -> None:
        nn.Module.__init__(self)
        mean, variance = _by_shares(layout)
        entries = variance.argsort(descending=True, stable=True)[:MOST_PRODUCTS]
        self.register_buffer("entries", entries, persistent=False)
        self.register_buffer("column_of_entry", torch.from_numpy(layout.column_of_entry)[entries], persistent=False)
        self.register_buffer("mean", mean[entries], persistent=False)
        self.register_buffer("scale", variance[entries].sqrt().clamp_min(LEAST_SPREAD), persistent=False)
        products = self._noisy_products(layout, data, noise) / n_patients
        # A column of d is given in a d-th of the rows, and `_products` weighs what is given by the root of d.
        of_told = products.clone()
        of_told[:-1] *= len(layout.pieces) ** -0.5
        self.register_buffer("wanted", torch.stack([products, of_told]), persistent=False)
        self.register_buffer("drawn", torch.zeros_like(self.wanted))

    def _noisy_products(self, layout: RowLayout, data: tuple[Tensor, Tensor], noise: float) -> Tensor:
        """Sums of products over patients, noise included: float32 of shape (entries + 1, entries)."""
        n = len(self.entries) + 1
        longest = n * GRID**2
        total = np.zeros((n, n), dtype=np.int64)
        for choices, ranks in zip(*(tensor.cpu().split(layout.block_rows) for tensor in data), strict=True):
            scaled = (layout.vectors(choices, ranks)[:, self.entries] - self.mean) / self.scale
            whole = clipped_to_grid(F.pad(scaled, (0, 1), value=1.0).double().numpy(), longest)
            total += (whole.T @ whole).astype(np.int64)  # whole numbers below 2^53: exact
        upper = np.triu_indices(n)
        noisy = np.zeros((n, n))
        noisy[upper] = noisy_counts(total[upper], noise, sensitivity=float(longest)) / GRID**2
        both = noisy + np.triu(noisy, 1).T
        return torch.from_numpy(both[:, :-1]).float()


def clipped_to_grid(rows: np.ndarray, longest: float) -> np.ndarray:
    """Rows in whole steps of 1 / `GRID`, shortened until their products x_i x_j, i <= j, have a norm of `longest`.

    float64 of shape (n, k) to the same. Rounding is towards 0, so that no product grows.
    """
    rows = rows * GRID
    square = np.square(rows).sum(axis=1)
    norm = np.sqrt((square**2 + np.power(rows, 4).sum(axis=1)) / 2)
    return np.trunc(rows * np.sqrt(np.minimum(1.0, longest * (1 - 1e-9) / np.maximum(norm, 1e-9)))[:, None])


class GeneratorTurns:
    """The generator's part of the training: it sees the critic and the noisy moments, and no patient."""

    def __init__(
        self,
        generator: RowGenerator,
        critic: PrivateCritic,
        moments: NoisyMoments,
        config: TabularGANConfig,
        n_private_steps: int,
    ) -> None:
        self.generator, self.critic, self.moments, self.config = generator, critic, moments, config
        self.average = copy.deepcopy(generator).requires_grad_(requires_grad=False)
        self.n_steps = n_private_steps * config.private_generator_steps
        self.n_done = 0
        layout, like = critic.layout, generator.logits
        self.given = like.new_zeros(config.batch_rows, len(layout.pieces)).detach()
        self.lent = like.new_zeros(config.batch_rows, layout.width).detach()
        self.optimizer = torch.optim.AdamW(
            generator.parameters(), lr=config.learning_rate, betas=(0.0, 0.99), weight_decay=0.0
        )

    @torch.no_grad()
    def drawn(self, n: int) -> tuple[Tensor]:
        """`n` rows for the critic, (n, width)."""
        return (self.generator(n)[0],)

    def take(self, step: int) -> None:
        """Bound the critic after a private step, and take the generator's steps that follow it."""
        self.critic.bound()
        for _ in range(self.config.private_generator_steps):
            self._take_one()

    def _take_one(self) -> None:
        n, n_columns = self.config.batch_rows, len(self.critic.layout.pieces)
        n_told = round(self.config.conditioned_share * n)
        given, lent = self.given.zero_(), self.lent
        if n_told:
            (lent[n - n_told :],) = self.drawn(n_told)
            column = torch.randint(n_columns, (n_told, 1), device=given.device)
            given[n - n_told :].scatter_(1, column, 1.0)
        rows, _, _ = self.generator(n, given, lent)
        match, _ = self.moments(rows, given, n_told, self.n_done + 1)
        wish = self.config.moments * match - self.critic(rows, torch.zeros_like(given)).mean()
        self.optimizer.zero_grad(set_to_none=True)
        wish.backward(inputs=list(self.generator.parameters()))
        nn.utils.clip_grad_norm_(self.generator.parameters(), self.config.clip_norm)
        self.optimizer.param_groups[0]["lr"] = (
            self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * self.n_done / self.n_steps))
        )
        self.optimizer.step()
        self.n_done += 1
        weight = 1 - (1 - 1 / self.n_done) ** (AVERAGE_POWER + 1)
        for mean, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.detach().lerp_(new.detach(), weight)


def _by_shares(layout: RowLayout) -> tuple[Tensor, Tensor]:
    """Mean and variance of each entry of a row, by the codec's shares: float32 of shape (width,) both."""
    mean, variance = torch.zeros(layout.width), torch.ones(layout.width)
    for piece in layout.choices:
        share = torch.from_numpy(layout.shares(piece)).float()
        first = piece.start + piece.has_rank
        mean[first : first + piece.n_levels], variance[first : first + piece.n_levels] = share, share * (1 - share)
    return mean, variance


def _example(layout: RowLayout, device: torch.device, n: int = 8) -> tuple[Tensor, Tensor]:
    """Rows that are made up, as `RowLayout.encoded` gives them."""
    rng = np.random.default_rng(0)
    choices = rng.integers([piece.n_levels for piece in layout.choices], size=(n, len(layout.choices)))
    ranks = rng.normal(size=(n, len(layout.ranked)))
    return torch.from_numpy(choices.astype(np.int32)).to(device), torch.from_numpy(ranks).float().to(device)
