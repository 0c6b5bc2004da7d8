"""The network of `column_autoregressive` in a private fit: each column given those before it, in few weights.

What belongs here: weights and losses. What does not: features and heads (`private_features.py`), training
(`privacy/training.py`), the network of a fit without a budget (`column_network.py`).

What is said of column k is linear in the features of the columns before it, y_k = W_k x_before k + c_k: the chain rule
with log-bilinear factors (Mnih and Hinton 2007, https://doi.org/10.1145/1273496.1273577, section 4, for words).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.private_features import FeatureNetwork

MATCHED_ROWS = 32_768
"""Rows drawn from the model to match its heads to the columns' shares."""


class LogBilinearNetwork(FeatureNetwork):
    """p(x_k | x_before k) of all columns k."""

    def __init__(self, codec: TableCodec) -> None:
        super().__init__(codec)
        self.register_buffer("sees", (self.column_of[:, None] > self.column_of).float(), persistent=False)
        self.weight = nn.Parameter(torch.zeros(self.width, self.width))
        self.bias = nn.Parameter(torch.zeros(self.width))

    @property
    def usual_norm(self) -> float:
        """Length of a row's gradient in the beginning, about: features have unit variance, weights a pair of them."""
        return float(self.sees.sum() + self.width) ** 0.5

    def losses(self, levels: Tensor, *, share_done: float) -> Tensor:
        """The negative log-likelihood of each row, in nats: levels (n, d) to (n,)."""
        levels = levels.long()
        return self.cross_entropy(self.said(self.embedded(levels)), levels).sum(dim=1)

    def said(self, x: Tensor) -> Tensor:
        """What the columns before each say of it: x (n, f) to (n, f)."""
        return F.linear(x, self.weight * self.sees, self.bias)

    def said_of(self, k: int, x: Tensor) -> Tensor:
        """What is said of column k alone: x (n, f) to (n, features of k)."""
        place = self.places[k]
        return F.linear(x[:, : place.start], self.weight[place, : place.start], self.bias[place])

    @torch.no_grad()
    def probabilities(self, k: int, x: Tensor, until: int) -> Tensor:
        """The distribution of column k: (n, n_levels of k), whatever comes after it (`until` is not looked at)."""
        return self.logits(k, self.said_of(k, x)).softmax(dim=1)

    def match_shares(self) -> None:
        """Shift the heads until rows drawn from the model have the columns' own (noisy) shares; sees no patient."""
        generator = torch.Generator(self.shift.device).manual_seed(0)
        self.draw_columns(MATCHED_ROWS, self.said_of, generator, match=True)
