"""The network of `tabular_vae` in a private fit: its heads read the columns before theirs, and a few latents.

What belongs here: weights, losses, draws. What does not: features and heads (`private_features.py`), training
(`privacy/training.py`), the network of a fit without a budget (`tabular_vae.py`).

As there, latents carry what the columns before a column do not say of it linearly. They are drawn from N(0, I): a
mixture fitted to encoded patients would cost budget, and at beta = 1 differs little.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import TabularVAEConfig
from ehr_pipeline.generators.log_bilinear import MATCHED_ROWS, LogBilinearNetwork

WARM_UP_SHARE = 0.2
"""Share of the training in which the KL term grows to its full weight."""


class PrivateAutoencoder(LogBilinearNetwork):
    """p(z) prod_k p(x_k | z, x_before k), and q(z | x)."""

    def __init__(self, codec: TableCodec, config: TabularVAEConfig) -> None:
        super().__init__(codec)
        self.beta, self.latent, d_hidden = config.beta, config.private_latent, config.private_hidden
        self.encoder = nn.Sequential(nn.Linear(self.width, d_hidden), nn.Tanh(), nn.Linear(d_hidden, 2 * self.latent))
        self.decoder = nn.Sequential(nn.Linear(self.latent, d_hidden), nn.Tanh(), nn.Linear(d_hidden, self.width))
        nn.init.zeros_(self.decoder[-1].weight)
        nn.init.zeros_(self.decoder[-1].bias)

    def losses(self, levels: Tensor, *, share_done: float) -> Tensor:
        """The negative evidence lower bound of each row, its KL term weighed by beta: levels (n, d) to (n,)."""
        levels = levels.long()
        x = self.embedded(levels)
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        log_variance = log_variance.clamp(-12.0, 6.0)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        reconstruction = self.cross_entropy(self.said(x) + self.decoder(z), levels).sum(dim=1)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return reconstruction + self.beta * min(1.0, share_done / WARM_UP_SHARE) * kl

    @torch.no_grad()
    def draw(
        self, z: Tensor, generator: torch.Generator, wanted: Mapping[int, int] | None = None, *, match: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Levels (n, d) of rows with the latents z (n, latent), the wanted ones set, and the chance of these, (n,)."""
        own = self.decoder(z)
        return self.draw_columns(
            len(z), lambda k, x: own[:, self.places[k]] + self.said_of(k, x), generator, wanted=wanted, match=match
        )

    def match_shares(self) -> None:
        """Shift the heads until rows drawn from the model have the columns' own (noisy) shares; sees no patient."""
        generator = torch.Generator(self.shift.device).manual_seed(0)
        z = torch.randn(MATCHED_ROWS, self.latent, generator=generator, device=self.shift.device)
        self.draw(z, generator, match=True)
