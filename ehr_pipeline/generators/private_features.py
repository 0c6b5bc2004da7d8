"""What the networks of private fits know of columns before they learn: a few fixed features of each level.

What belongs here: features, and heads that are made of them. What does not: what is learned (`log_bilinear.py`,
`private_autoencoder.py`, `private_denoiser.py`).

A level l of column k has fixed features f_k(l), standardised by the column's own (noisy) shares s_k: of a number its
normal quantile z, (z^2 - 1) / sqrt(2), heavy ends, missing; of a category one per level. A network reads the features
of a row's levels side by side, x (f of them), says as many numbers y, and its heads are

    log p(x_k = l) = log s_k(l) + f_k(l) . y_k + constant.

So a network has a weight or two for a pair of columns, not one for each pair of levels: noise on the gradients of few
weights is small beside what patients say of them. With y = 0 columns are independent, which is where trainings start.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ehr_pipeline.generators.codec import ColumnCodec, TableCodec
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.training import Network

MOST_FEATURES = 16
"""Features of a category's level at most: with more levels, each has random ones."""
LEAST_SPREAD = 0.2
"""Features that vary less are not blown up to unit variance: few patients would have long gradients."""
MATCH_ROUNDS = 4


class FeatureNetwork(Network):
    """A network over the features of a private codec's levels.

    Shapes: n rows, d columns, f features, m levels of all columns.
    """

    def __init__(self, codec: TableCodec) -> None:
        super().__init__()
        self.n_levels = codec.n_levels
        features = [level_features(column) for column in codec.columns]
        n_features = [table.shape[1] for table in features]
        self.places = [slice(*pair) for pair in itertools.pairwise(np.cumsum([0, *n_features]).tolist())]
        self.levels = [slice(*pair) for pair in itertools.pairwise(np.cumsum([0, *self.n_levels]).tolist())]
        self.width = sum(n_features)
        table = torch.zeros(sum(self.n_levels), self.width)
        for levels, place, one in zip(self.levels, self.places, features, strict=True):
            table[levels, place] = one
        # A row's level adds its features to the row; a head adds what is said to the features' levels.
        self.register_buffer("features", table)
        self.register_buffer("first_level", torch.tensor([one.start for one in self.levels]), persistent=False)
        shares = torch.from_numpy(np.concatenate(codec.level_shares)).float()
        self.register_buffer("log_shares", shares.clamp_min(1e-6).log())
        self.register_buffer("shift", torch.zeros_like(self.log_shares))
        column_of = torch.arange(len(features)).repeat_interleave(torch.tensor(n_features))
        self.register_buffer("column_of", column_of, persistent=False)

    @property
    def usual_norm(self) -> float:
        """Length of a patient's gradient as the training starts, about."""
        raise NotImplementedError

    def match_shares(self) -> None:
        """Shift the heads until rows drawn from the model have the columns' own (noisy) shares; sees no patient."""
        raise NotImplementedError

    @property
    def n_columns(self) -> int:
        """Columns d."""
        return len(self.n_levels)

    def embedded(self, levels: Tensor) -> Tensor:
        """Features of rows: levels (n, d) to (n, f)."""
        return F.embedding(levels + self.first_level, self.features).sum(dim=1)

    def show(self, x: Tensor, k: int, levels: Tensor) -> None:
        """Write the features of column k, whose levels (n,) are known, into x (n, f)."""
        x[:, self.places[k]] = self.features[levels + self.first_level[k], self.places[k]]

    def cross_entropy(self, said: Tensor, levels: Tensor) -> Tensor:
        """-log p of each column's level: what is said (n, f) and levels (n, d) to (n, d)."""
        logits = said @ self.features.T + self.log_shares + self.shift
        normalisers = [column.logsumexp(dim=1) for column in logits.split(self.n_levels, dim=1)]
        return torch.stack(normalisers, dim=1) - logits.gather(1, levels + self.first_level)

    def logits(self, k: int, said: Tensor) -> Tensor:
        """Of column k alone, from what is said of it (n, its features): (n, its levels)."""
        levels = self.levels[k]
        return said @ self.features[levels, self.places[k]].T + self.log_shares[levels] + self.shift[levels]

    @torch.no_grad()
    def draw_columns(
        self,
        n: int,
        said: Callable[[int, Tensor], Tensor],
        generator: torch.Generator,
        *,
        wanted: Mapping[int, int] | None = None,
        match: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Rows column by column: their levels, int64 of shape (n, d), and the chance of the wanted ones, (n,).

        Parameters
        ----------
        said
            From k and the features x (n, f) of the columns before it to what is said of column k.
        wanted
            Levels that are set, by column.
        match
            Shift each column's head first, until these rows have its own (noisy) shares. No patient is looked at.
        """
        wanted = wanted or {}
        x = self.features.new_zeros(n, self.width)
        levels, chance = x.new_zeros(n, self.n_columns, dtype=torch.int64), x.new_ones(n)
        for k in range(self.n_columns):
            said_of_column = said(k, x)
            if match:
                self.match_column(k, said_of_column)
            shares = self.logits(k, said_of_column).softmax(dim=1)
            if k in wanted:
                levels[:, k] = wanted[k]
                chance *= shares[:, wanted[k]]
            else:
                levels[:, k] = drawn(shares, generator)
            self.show(x, k, levels[:, k])
        return levels, chance

    @torch.no_grad()
    def match_column(self, k: int, said: Tensor) -> None:
        """Shift the head of column k until what is said of it, (n, its features), gives its own shares on average."""
        shift, log_shares = self.shift[self.levels[k]], self.log_shares[self.levels[k]]
        for _ in range(MATCH_ROUNDS):
            found = self.logits(k, said).softmax(dim=1).mean(dim=0).clamp_min(1e-6)
            shift += (log_shares - found.log()).clamp(-1.0, 1.0)  # a view: the head moves with it


def drawn(shares: Tensor, generator: torch.Generator) -> Tensor:
    """A level of each row by its shares: (n, n_levels) to int64 of shape (n,)."""
    uniform = torch.rand(len(shares), 1, generator=generator, device=shares.device)
    return (shares.cumsum(dim=1)[:, :-1] < uniform).sum(dim=1)


def level_features(column: ColumnCodec) -> Tensor:
    """The features of a column's levels, float32 of shape (n_levels, n_features)."""
    n = column.n_levels
    shares = torch.from_numpy(column.level_shares).float()
    if isinstance(column, NumberCodec):
        features = number_features(column)
    elif n > MOST_FEATURES:
        features = torch.randn(n, MOST_FEATURES, generator=torch.Generator().manual_seed(n))
    else:  # one level is what the others are not
        features = torch.eye(n)[:, 1:] if n > 1 else torch.zeros(1, 1)
    mean = shares @ features
    spread = (shares @ (features - mean).square()).sqrt().clamp_min(LEAST_SPREAD)
    return (features - mean) / spread


def number_features(column: NumberCodec) -> Tensor:
    """Of the levels of a column of numbers: z, z squared, heavy ends, missing; float32 of shape (n_levels, n)."""
    n, n_numbers = column.n_levels, column.n_number_levels
    z = torch.from_numpy(column.level_positions).float()
    is_missing = torch.arange(n) >= n_numbers
    features = [z, (z.square() - 1) / 2**0.5 * ~is_missing]
    ends = sorted({0, n_numbers - 1}) if n_numbers else []
    features += [(torch.arange(n) == level).float() for level in ends if column.is_heavy_level(level)]
    if column.may_be_missing:
        features.append(is_missing.float())
    return torch.stack(features, dim=1)
