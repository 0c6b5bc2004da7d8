"""What the columns before a column say of it, linearly: the part of a decoder that latents need not carry.

What belongs here: the weights and their mask. What does not: latents (`tabular_vae.py`), or a network whose columns
know each other by anything but a linear map (`column_autoregressive.py`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.codec import TableCodec

N_TOLD = 4
"""Numbers that a level tells the columns after its own."""


class EarlierColumns(nn.Module):
    """What the columns before each column say of it.

    A level tells the columns after its own `N_TOLD` numbers, which are learned; what is said of a column is linear in
    them: a shift and a spread of its whole distribution if it is one of numbers, else a number per level.
    """

    def __init__(self, codec: TableCodec) -> None:
        super().__init__()
        n_columns = len(codec.columns)
        self.register_buffer("first_level", torch.from_numpy(np.cumsum([0, *codec.n_levels[:-1]])), persistent=False)
        self.is_number = codec.is_number.tolist()
        self.n_said = [2 if is_number else n for is_number, n in zip(self.is_number, codec.n_levels, strict=True)]
        self.told = nn.Embedding(sum(codec.n_levels), N_TOLD)
        self.weight = nn.Parameter(torch.zeros(sum(self.n_said), n_columns * N_TOLD))
        target = torch.arange(n_columns).repeat_interleave(torch.tensor(self.n_said))
        source = torch.arange(n_columns).repeat_interleave(N_TOLD)
        self.register_buffer("is_before", (source < target[:, None]).float(), persistent=False)
        for k, column in enumerate(codec.columns):
            if self.is_number[k]:
                position = torch.from_numpy(column.level_positions).float()
                shape = torch.stack([position, (position**2 - 1) * (position != 0)])
                self.register_buffer(f"shape{k}", shape, persistent=False)
                with torch.no_grad():
                    self.told.weight[self.first_level[k] : self.first_level[k] + len(position), :2] = shape.T

    def forward(self, levels: Tensor) -> tuple[Tensor, ...]:
        """What is said of each column: levels (rows, d) to (rows, n_said) each."""
        told = self.told(levels + self.first_level).flatten(1)
        return F.linear(told, self.weight * self.is_before).split(self.n_said, dim=1)

    def tell(self, k: int, levels: Tensor) -> Tensor:
        """The numbers of the k-th column's levels: (rows,) to (rows, N_TOLD)."""
        return self.told(levels + self.first_level[k])

    def say(self, k: int, told: Tensor) -> Tensor:
        """What is said of the k-th column alone: told (rows, d * N_TOLD) to (rows, n_said)."""
        start, n_before = sum(self.n_said[:k]), k * N_TOLD
        return F.linear(told[:, :n_before], self.weight[start : start + self.n_said[k], :n_before])

    def joined(self, k: int, own: Tensor, said: Tensor) -> Tensor:
        """The k-th column's logits: what z says of its levels and what the columns before it say."""
        return own + (said @ getattr(self, f"shape{k}") if self.is_number[k] else said)
