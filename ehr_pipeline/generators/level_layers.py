"""Layers between a table's levels and a network: what is read of a level, and softmax heads over levels.

What belongs here: layers that know columns. What does not: what is read and predicted when (each generator's file).

Levels of numbers are ordered. A few features say where a level lies, and what is learned are weights of these:
neighbouring levels share what they are taught, which a few patients can do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.category_codec import CategoryCodec
from ehr_pipeline.generators.codec import ColumnCodec
from ehr_pipeline.generators.number_codec import NumberCodec

CENTRES = np.linspace(-2.4, 2.4, 7)
"""Where the curves over the levels of numbers have their peaks, as standard normal numbers."""
OWN_SHARE = 0.04
"""A level of numbers that holds this share of the rows, such as a point mass, has weights of its own."""
PADDING = -1e4
"""Logit of a level that is not there."""


def level_features(column: NumberCodec) -> np.ndarray:
    """What a network reads of the levels of a column of numbers: float64 of shape (n_levels, features).

    Where the level lies (z, and z squared), triangles around `CENTRES`, and one column each for missing and for the
    levels that have weights of their own.
    """
    z = column.level_positions[:, None]
    triangles = np.maximum(0.0, 1 - np.abs(z - CENTRES) / (CENTRES[1] - CENTRES[0]))
    curves = np.hstack([z, (z**2 - 1) / 2, triangles])
    is_own = column.level_shares >= OWN_SHARE
    if column.may_be_missing:
        curves[-1] = 0.0
        is_own[-1] = True
    return np.hstack([curves, np.eye(column.n_levels)[:, is_own]])


class LevelVectors(nn.Module):
    """One vector per level of each column, and one more, its last, for masked.

    A category's vectors are free, a number's are mixed of the features of its levels. A row is read as the sum of
    its columns' vectors: a linear layer on one-hot columns that never makes them.
    """

    def __init__(self, columns: Sequence[ColumnCodec], d_hidden: int) -> None:
        super().__init__()
        features, sizes = [], []
        for column in columns:
            if isinstance(column, NumberCodec):
                features.append(np.pad(level_features(column), (0, 1)))
                features[-1][-1, -1] = 1.0  # masked
            else:
                sizes.append(column.n_levels + 1)
        self.register_buffer("features", _padded(features), persistent=False)
        n_numbers, n_vectors, n_features = self.features.shape
        scale = 0.5 * len(columns) ** -0.5
        self.categories = nn.Parameter(scale * torch.randn(sum(sizes), d_hidden))
        self.numbers = nn.Parameter(scale * torch.randn(n_numbers, n_features, d_hidden))
        # Vectors lie by column: first all categories, then the numbers, as many for each as the longest has.
        starts = {
            False: iter(np.cumsum([0, *sizes]).tolist()),
            True: iter((sum(sizes) + n_vectors * np.arange(n_numbers)).tolist()),
        }
        first = [next(starts[isinstance(column, NumberCodec)]) for column in columns]
        self.register_buffer("first", torch.tensor(first), persistent=False)

    def forward(self) -> Tensor:
        """All vectors, (vectors, d_hidden); that of level l of column k is at `first[k] + l`."""
        return torch.cat([self.categories, torch.bmm(self.features, self.numbers).flatten(0, 1)])


class NumberHeads(nn.Module):
    """Softmax heads of columns of numbers: weights of the features of a column's levels."""

    def __init__(self, columns: Sequence[NumberCodec], d_hidden: int) -> None:
        super().__init__()
        self.n_levels = [column.n_levels for column in columns]
        features = _padded([level_features(column) for column in columns]).transpose(1, 2)
        self.register_buffer("features", features.contiguous(), persistent=False)
        self.start = nn.Parameter(_start(columns))
        self.heads = nn.Linear(d_hidden, features.shape[0] * features.shape[1], bias=False)
        nn.init.zeros_(self.heads.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits of all columns: (rows, d_hidden) to (columns, rows, most levels)."""
        weights = self.heads(hidden).unflatten(1, self.features.shape[:2]).transpose(0, 1)
        return torch.baddbmm(self.start[:, None], weights, self.features)

    def of_column(self, hidden: Tensor, j: int) -> Tensor:
        """Logits of the j-th column alone: (rows, d_hidden) to (rows, its levels)."""
        n, width = self.n_levels[j], self.features.shape[1]
        weights = F.linear(hidden, self.heads.weight[j * width : (j + 1) * width])
        return torch.addmm(self.start[j, :n], weights, self.features[j, :, :n])


class CategoryHeads(nn.Module):
    """Softmax heads of columns of categories, with free weights for each level."""

    def __init__(self, columns: Sequence[CategoryCodec], d_hidden: int) -> None:
        super().__init__()
        self.n_levels = [column.n_levels for column in columns]
        start = _start(columns)
        self.shape = start.shape
        self.heads = nn.Linear(d_hidden, start.numel())
        nn.init.zeros_(self.heads.weight)
        with torch.no_grad():
            self.heads.bias.copy_(start.flatten())

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits of all columns: (rows, d_hidden) to (columns, rows, most levels)."""
        return self.heads(hidden).unflatten(1, self.shape).transpose(0, 1)

    def of_column(self, hidden: Tensor, j: int) -> Tensor:
        """Logits of the j-th column alone: (rows, d_hidden) to (rows, its levels)."""
        levels = slice(j * self.shape[1], j * self.shape[1] + self.n_levels[j])
        return F.linear(hidden, self.heads.weight[levels], self.heads.bias[levels])


def _padded(features: list[np.ndarray]) -> Tensor:
    """Matrices of several sizes as one float32 tensor of shape (matrices, most rows, most columns), with zeros."""
    padded = np.zeros((len(features), *np.max([f.shape for f in features] or [(0, 0)], axis=0)), dtype=np.float32)
    for j, one in enumerate(features):
        padded[j, : one.shape[0], : one.shape[1]] = one
    return torch.from_numpy(padded)


def _start(columns: Sequence[ColumnCodec]) -> Tensor:
    """Logits that give each column its own shares, (columns, most levels): training starts at independent columns."""
    start = np.full((len(columns), max(column.n_levels for column in columns)), PADDING, dtype=np.float32)
    for j, column in enumerate(columns):
        start[j, : column.n_levels] = np.log(np.maximum(column.level_shares, 1e-6))
    return torch.from_numpy(start)
