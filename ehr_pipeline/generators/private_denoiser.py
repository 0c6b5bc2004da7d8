"""The network of `tabular_diffusion` in a private fit: what is masked, from the features of what stands.

What belongs here: weights, losses, draws. What does not: features and heads (`private_features.py`), training
(`privacy/training.py`), the diffusion itself and its network without a budget (`tabular_diffusion.py`).

What is said of all columns is linear in the features of those that stand and in which of them stand, and what a small
hidden layer adds: which columns stand changes what each of them says of the others.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ehr_pipeline.generators.calibration import match_shares
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import TabularDiffusionConfig
from ehr_pipeline.generators.private_features import FeatureNetwork, drawn

MATCHED_ORDERS, MATCHED_ROWS = 24, 2048
"""Orders of columns, and rows drawn in each, to match the heads to the columns' shares."""


class PrivateDenoiser(FeatureNetwork):
    """p(x_k | z) of all columns k, z with any of them masked."""

    def __init__(self, codec: TableCodec, config: TabularDiffusionConfig) -> None:
        super().__init__(codec)
        d_in = self.width + self.n_columns
        self.register_buffer("mask", torch.tensor(codec.n_levels), persistent=False)
        own = self.column_of[:, None] == torch.cat([self.column_of, torch.arange(self.n_columns)])
        self.register_buffer("is_other", (~own).float(), persistent=False)
        self.weight = nn.Parameter(torch.zeros(self.width, d_in))
        self.hidden = nn.Sequential(
            nn.Linear(d_in, config.private_hidden), nn.Tanh(), nn.Linear(config.private_hidden, self.width)
        )
        nn.init.zeros_(self.hidden[-1].weight)
        nn.init.zeros_(self.hidden[-1].bias)

    @property
    def usual_norm(self) -> float:
        """Length of a row's gradient in the beginning, about, where half of the columns stand."""
        return float(self.width * (self.width + self.n_columns)) ** 0.5

    def losses(self, levels: Tensor, *, share_done: float) -> Tensor:
        """The negative evidence bound of each row at one moment: levels (n, d) to (n,)."""
        levels = levels.long()
        n, d = levels.shape
        n_masked = 1 + (torch.rand(n, device=levels.device) * d).long().clamp_max(d - 1)
        moments = torch.rand(n, d, device=levels.device)
        stands = moments > moments.sort(dim=1).values.gather(1, n_masked[:, None] - 1)
        x = self.embedded(levels) * stands[:, self.column_of]
        cross_entropy = self.cross_entropy(self.said(x, stands.float()), levels)
        return (cross_entropy * ~stands).sum(dim=1) * d / n_masked

    def said(self, x: Tensor, stands: Tensor) -> Tensor:
        """What is said of each column: features (n, f), 0 where masked, and what stands (n, d), to (n, f)."""
        read = torch.cat([x, stands - 0.5], dim=1)
        return read @ (self.weight * self.is_other).T + self.hidden(read)

    @torch.no_grad()
    def reverse_process(
        self, standing: Tensor, order: list[int], generator: torch.Generator, shares: Tensor | None = None
    ) -> Tensor:
        """Draw the columns of `order` one after the other: what stands or is masked, (n, d), to levels.

        The mean probability of each level is added to `shares`, (m,).
        """
        levels = standing.clone()
        stands = (levels < self.mask).float()
        x = self.features.new_zeros(len(levels), self.width)
        for k in stands[0].nonzero()[:, 0].tolist():
            self.show(x, k, levels[:, k])
        for k in order:
            probabilities = self.logits(k, self.said(x, stands)[:, self.places[k]]).softmax(dim=1)
            if shares is not None:
                shares[self.levels[k]] += probabilities.mean(dim=0)
            levels[:, k] = drawn(probabilities, generator)
            self.show(x, k, levels[:, k])
            stands[:, k] = 1.0
        return levels

    def match_shares(self) -> None:
        """Shift the heads until rows drawn from the model have the columns' own (noisy) shares; sees no patient."""
        rng = np.random.default_rng(0)
        orders = [rng.permutation(self.n_columns).tolist() for _ in range(MATCHED_ORDERS)]
        masked = self.mask.repeat(MATCHED_ROWS, 1)

        def shares() -> Tensor:
            generator = torch.Generator(self.shift.device).manual_seed(0)
            found = torch.zeros_like(self.shift)
            for order in orders:
                self.reverse_process(masked, order, generator, found)
            return found / len(orders)

        match_shares(self.shift, self.log_shares.exp(), shares)
