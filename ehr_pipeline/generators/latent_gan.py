"""WGAN-GP on embeddings: noise to what encoders make of patients (Gulrajani et al. 2017, as EHR-Safe has it).

What belongs here: the two networks, their losses, their training. What does not: where embeddings come from.

Critic: E[D(fake)] - E[D(real)] + penalty * E[(|grad D(x)| - 1)^2] with x between real and fake (equation 3).
Generator: -E[D(fake)].

# NOTE[DIFF] Embeddings are turned to uncorrelated numbers of variance 1 first, and what is drawn is moved and turned to
#   their mean and covariance at the end: both are known, and the game leaves them only nearly right.
# NOTE[DIFF] Embeddings are drawn from an average of the generator over its last steps, as in `tabular_gan.py`.
"""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor, nn

from ehr_pipeline.generators.checkpoint import Checkpoint, TrainingState
from ehr_pipeline.generators.configs import EHRSafeConfig
from ehr_pipeline.generators.training import Plan, seeded, train_epochs
from ehr_pipeline.progress import Progress

AVERAGE_POWER = 7
CRITIC_STEPS = 3
"""Steps of the critic for each of the generator."""
N_MATCHED = 8192
"""Drawn embeddings by which mean and covariance are matched."""
LEAST_VARIANCE = 1e-3
"""Directions that vary less, as a share of the largest variance, are not learned."""


class LatentGAN(nn.Module):
    """Generator and critic of embeddings; `mean`, `turn`, `scale` take uncorrelated numbers back to embeddings."""

    def __init__(self, n_directions: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.n_noise = n_directions
        self.generator = _layers(self.n_noise, hidden, n_directions)
        self.critic = _layers(n_directions, hidden, 1)
        self.average = copy.deepcopy(self.generator).requires_grad_(requires_grad=False)
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("back", torch.zeros(n_directions, latent))
        self.register_buffer("drawn_mean", torch.zeros(n_directions))
        self.register_buffer("drawn_turn", torch.eye(n_directions))

    @classmethod
    def of(cls, embeddings: Tensor, hidden: int) -> tuple[Self, Tensor]:
        """Networks for embeddings (n, latent), and these as uncorrelated numbers (n, n_directions)."""
        mean = embeddings.mean(dim=0)
        centred = embeddings - mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(embeddings))
        kept = variances > LEAST_VARIANCE * variances.max().clamp_min(1e-12)
        scale, directions = variances[kept].sqrt(), directions[:, kept]
        network = cls(int(kept.sum()), embeddings.shape[1], hidden).to(embeddings.device)
        network.mean.copy_(mean)
        network.back.copy_(scale[:, None] * directions.T)
        return network, centred @ directions / scale

    def critic_losses(self, real: Tensor, fake: Tensor, share: Tensor, penalty: float) -> Tensor:
        """Of each pair of rows; `share` (n, 1) says where between them the slope is measured."""
        between = (share * real + (1 - share) * fake).detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        length = (slope.square().sum(dim=1) + 1e-12).sqrt()
        of_real, of_fake = self.critic(torch.cat([real, fake]))[:, 0].chunk(2)
        return of_fake - of_real + penalty * (length - 1.0).square()

    def fake(self, n: int) -> Tensor:
        """`n` rows from noise, of the generator in training."""
        noise = torch.randn(n, self.n_noise, device=self.mean.device)
        return noise + self.generator(noise)

    @torch.no_grad()
    def draw(self, n: int) -> Tensor:
        """`n` embeddings, of shape (n, latent); torch's seed is the caller's."""
        return self.mean + (self._uncorrelated(n) - self.drawn_mean) @ self.drawn_turn @ self.back

    @torch.no_grad()
    def match(self) -> None:
        """Learn the mean and covariance of what is drawn, so that `draw` sets them right."""
        rows = self._uncorrelated(N_MATCHED)
        self.drawn_mean.copy_(rows.mean(dim=0))
        centred = rows - self.drawn_mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(rows))
        self.drawn_turn.copy_(directions @ torch.diag(variances.clamp_min(1e-4).rsqrt()) @ directions.T)

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Move the average towards the generator after `step` (from 1) steps."""
        weight = 1 - (1 - 1 / step) ** (AVERAGE_POWER + 1)
        for mean, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(new, weight)

    def _uncorrelated(self, n: int) -> Tensor:
        noise = torch.randn(n, self.n_noise, device=self.mean.device)
        return noise + self.average(noise)


def train_latent_gan(
    network: LatentGAN,
    rows: Tensor,
    config: EHRSafeConfig,
    *,
    task: str,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, float]]:
    """Fit the network to rows (n, n_directions) in place. Call it inside `seeded`.

    Returns one record per epoch: epoch, loss (the critic's), distance (its estimate of Wasserstein's), rows_per_s.
    """
    batch = min(config.gan_batch_rows, len(rows))
    n_epochs = min(40, config.gan_updates)
    plan = Plan(n_rows=len(rows), batch_rows=batch, updates_per_epoch=config.gan_updates // n_epochs, n_epochs=n_epochs)
    of_critic, of_generator = list(network.critic.parameters()), list(network.generator.parameters())
    groups = [{"params": part, "lr": config.gan_learning_rate} for part in (of_critic, of_generator)]
    optimizer = torch.optim.AdamW(groups, betas=(0.0, 0.9), weight_decay=0.0, fused=True)
    state = TrainingState(network, optimizer, rows.device)

    def train_epoch() -> dict[str, float]:
        totals = torch.zeros(2, device=rows.device)
        for k in range(plan.updates_per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = config.gan_learning_rate * plan.rate_share(state.history, k)
            for _ in range(CRITIC_STEPS):
                real = rows[torch.randint(len(rows), (batch,), device=rows.device)]
                fake = network.fake(batch).detach()
                share = torch.rand(batch, 1, device=rows.device)
                loss = network.critic_losses(real, fake, share, config.penalty).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward(inputs=of_critic)
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            wish = -network.critic(network.fake(batch)).mean()
            wish.backward(inputs=of_generator)
            optimizer.step()
            network.update_average(state.epoch * plan.updates_per_epoch + k + 1)
            with torch.no_grad():
                distance = (network.critic(real) - network.critic(fake)).mean()
            totals += torch.stack([loss.detach(), distance])
        loss, distance = (totals / plan.updates_per_epoch).tolist()
        return {"loss": loss, "distance": distance}

    train_epochs(state, plan, train_epoch, task=task, patience=n_epochs, progress=progress, checkpoint=checkpoint)
    with seeded(0, rows.device):
        network.match()
    return state.history


def _layers(d_in: int, hidden: int, d_out: int) -> nn.Sequential:
    activation = nn.LeakyReLU(0.2)
    return nn.Sequential(
        nn.Linear(d_in, hidden), activation, nn.Linear(hidden, hidden), activation, nn.Linear(hidden, d_out)
    )
