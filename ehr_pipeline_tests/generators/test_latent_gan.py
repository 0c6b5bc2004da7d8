"""The game on embeddings: its losses are the formulas, and noise becomes what it was shown."""

from __future__ import annotations

import pytest
import torch

from ehr_pipeline.generators.configs import EHRSafeConfig
from ehr_pipeline.generators.latent_gan import LatentGAN, train_latent_gan
from ehr_pipeline.generators.training import seeded

CPU = torch.device("cpu")


def embeddings(n: int = 1200) -> torch.Tensor:
    """Two clusters along one direction, correlated numbers besides, one constant."""
    side = (torch.rand(n, 1) < 0.3).float()
    first = 6 * side - 2 + 0.3 * torch.randn(n, 1)
    second = 0.9 * first + torch.randn(n, 1)
    return torch.cat([first, second, torch.randn(n, 2), torch.full((n, 1), 7.0)], dim=1)


@pytest.fixture(scope="module")
def trained() -> tuple[LatentGAN, torch.Tensor, list[dict[str, float]]]:
    config = EHRSafeConfig(gan_updates=300, gan_batch_rows=128, gan_learning_rate=3e-3, penalty=1.0)
    with seeded(0, CPU):
        shown = embeddings()
        network, rows = LatentGAN.of(shown, 64)
        return network, shown, train_latent_gan(network, rows, config, task="embeddings")


def test_rows_are_uncorrelated_and_what_does_not_vary_is_left_out():
    with seeded(0, CPU):
        network, rows = LatentGAN.of(embeddings(), 8)
    assert network.n_noise == 4
    torch.testing.assert_close(rows.T @ rows / len(rows), torch.eye(4), atol=1e-3, rtol=0)


def test_the_penalty_is_the_squared_distance_of_the_slope_from_1():
    """A linear critic has the same slope everywhere: D(x) = w x + b."""
    network = LatentGAN(3, 3, 8)
    network.critic = torch.nn.Linear(3, 1)
    real, fake, share = torch.randn(5, 3), torch.randn(5, 3), torch.rand(5, 1)
    slope = network.critic.weight.norm()
    wanted = (network.critic(fake) - network.critic(real))[:, 0] + 10.0 * (slope - 1) ** 2
    torch.testing.assert_close(network.critic_losses(real, fake, share, 10.0), wanted, atol=1e-4, rtol=1e-4)


def test_the_slope_is_taken_between_real_and_fake():
    """D(x) = |x|^2 / 2 has the slope |x| at x."""
    network = LatentGAN(2, 2, 8)
    network.critic = torch.nn.Module()
    network.critic.forward = lambda rows: rows.square().sum(dim=1, keepdim=True) / 2
    real, fake, share = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[0.25]])
    loss = network.critic_losses(real, fake, share, 10.0)
    torch.testing.assert_close(loss, torch.tensor([-8.0 + 0.0]), atol=1e-3, rtol=0)  # at (1, 0) the slope is 1
    loss = network.critic_losses(real, fake, torch.tensor([[0.75]]), 10.0)
    torch.testing.assert_close(loss, torch.tensor([-8.0 + 10.0 * 4.0]), atol=1e-3, rtol=0)


def test_the_penalty_reaches_the_critic_s_weights():
    network = LatentGAN(3, 3, 8)
    same = torch.randn(6, 3)
    network.critic_losses(same, same, torch.rand(6, 1), 10.0).mean().backward()
    assert network.critic[0].weight.grad.abs().sum() > 0
    assert network.generator[0].weight.grad is None


def test_losses_are_told(trained):
    _, _, history = trained
    assert [record["epoch"] for record in history] == list(range(1, 41))
    assert {"loss", "distance", "rows_per_s"} <= history[0].keys()


def test_noise_becomes_what_was_shown(trained):
    network, shown, _ = trained
    with seeded(1, CPU):
        drawn = network.draw(4000)
    torch.testing.assert_close(drawn.mean(dim=0), shown.mean(dim=0), atol=0.25, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), shown.T.cov(), atol=0.8, rtol=0)
    # Both clusters, and fewer between them than the half that a Gaussian of this mean and variance has.
    first = drawn[:, 0]
    assert 0.2 < float((first > 1).float().mean()) < 0.45
    assert float(((first > -1) & (first < 3)).float().mean()) < 0.35


def test_the_same_seed_draws_the_same(trained):
    network, _, _ = trained
    drawn = []
    for _ in range(2):
        with seeded(3, CPU):
            drawn.append(network.draw(10))
    assert torch.equal(*drawn)
