"""The network of `column_autoregressive`: one small head per column, each reading the columns that it may see.

What belongs here: features, weights, masks, losses. What does not: training, sampling, conditions
(`column_autoregressive.py`).

Shapes: B rows, d columns, h hidden units, f features of all columns together. All heads are computed at once: the
first layer is one product with masked weights (as in MADE, Germain et al. 2015, https://arxiv.org/abs/1502.03509,
section 4), the others one batched product each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.codec import ColumnCodec, TableCodec
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.training import Network

MOST_FEATURES = 4
"""A column of categories looks like this many features at most: what its levels share, and nothing of a rare one's."""
START_OF_FEATURES = 0.1
"""Spread of the random features that many categories start from; what the data say moves them further."""
N_BENDS = 8
"""Fixed functions of a number's level."""
OWN_PACE = 0.25
"""How fast the weights of a single level of numbers learn, against those that bend all of them."""
MOST_HEADS_PER_STEP = 48
"""Heads that one step trains at most, drawn anew each time: the cost of a step grows with d, not with its square."""
GROWTH_OF_BUCKETS = 4
"""Heads whose number of levels differs by less than this are padded to one size."""


@dataclass(frozen=True)
class Bucket:
    """Columns whose heads end in one padded product: which, and the number of levels that they are padded to."""

    columns: tuple[int, ...]
    n_levels: int


class ColumnNetwork(Network):
    """For each column k, the distribution of its levels given the levels of the columns it sees.

    Head k sees the columns before it, and those after it that stand in the condition C: the factors of
    p(x_rest | x_C) = prod_k p(x_k | x_before k, x_C), for any C. In training C is empty for three quarters of the rows
    and random for the others, so that one network holds all of them.

    Parameters
    ----------
    codec
        The columns; the heads start at their levels' shares.
    hidden
        Units h in each of a head's two hidden layers.
    dropout
        Share of hidden units dropped in training.
    penalty
        Loss in training per unit of length of all weights by which a head reads one column, times the square root of
        the column's features: a group lasso (Yuan and Lin 2006, section 2). Most pairs of columns have little to say to
        each other, and what a head reads there it knows by heart.
    """

    def __init__(self, codec: TableCodec, hidden: int, dropout: float, penalty: float = 0.0) -> None:
        super().__init__()
        self.n_levels = codec.n_levels
        self.penalty = penalty
        d, h = len(self.n_levels), hidden
        self.register_buffer("first_level", torch.from_numpy(np.cumsum([0, *self.n_levels[:-1]])), persistent=False)
        features = [level_features(column) for column in codec.columns]
        n_features = [table.shape[1] for table in features]
        widest = max(n_features)
        start = torch.cat([F.pad(table, (0, widest - table.shape[1])) for table in features])
        self.register_buffer("start", start)
        self.moved = nn.Parameter(torch.zeros_like(start))
        may_move = ~torch.from_numpy(np.repeat(codec.is_number, self.n_levels))[:, None]
        self.register_buffer("may_move", may_move, persistent=False)
        is_used = torch.arange(widest) < torch.tensor(n_features)[:, None]
        self.register_buffer("used", is_used.flatten().nonzero().squeeze(1), persistent=False)
        self.ends_at = np.cumsum(n_features).tolist()
        self.register_buffer("column_of", torch.arange(d).repeat_interleave(torch.tensor(n_features)), persistent=False)
        self.register_buffer("is_of_column", F.one_hot(self.column_of, d).float(), persistent=False)
        self.read = nn.Parameter(torch.randn(d, h, sum(n_features)) * (2 / sum(n_features)) ** 0.5)
        self.read_bias = nn.Parameter(torch.zeros(d, 1, h))
        self.middle = nn.Parameter(torch.randn(d, h, h) * (2 / h) ** 0.5)
        self.middle_bias = nn.Parameter(torch.zeros(d, 1, h))
        # Ends are zero: training starts at independent columns.
        self.tilt = nn.Parameter(torch.zeros(d, h, N_BENDS))
        self.buckets = _buckets(self.n_levels)
        self.place = {k: (b, row) for b, bucket in enumerate(self.buckets) for row, k in enumerate(bucket.columns)}
        self.ends = nn.ParameterList(torch.zeros(len(b.columns), h, b.n_levels) for b in self.buckets)
        self.shifts = nn.ParameterList()
        for b, bucket in enumerate(self.buckets):
            shares, bends, is_level = _level_tables(codec, bucket)
            self.register_buffer(f"log_shares_{b}", shares)
            self.shifts.append(nn.Parameter(torch.zeros_like(shares)))
            self.register_buffer(f"bends_{b}", bends, persistent=False)
            pace = [OWN_PACE if codec.is_number[k] else 1.0 for k in bucket.columns]
            self.register_buffer(f"pace_{b}", torch.tensor(pace)[:, None, None], persistent=False)
            self.register_buffer(f"is_level_{b}", is_level, persistent=False)
        self.register_buffer("before", torch.ones(d, d).tril(-1), persistent=False)
        self.dropout = nn.Dropout(dropout)

    @property
    def n_columns(self) -> int:
        """Columns d."""
        return len(self.n_levels)

    @property
    def width(self) -> int:
        """Features of a whole row, f."""
        return self.read.shape[2]

    def seen(self, condition: Tensor) -> Tensor:
        """Which column each head sees, (d heads, d), where `condition`, bool of shape (d,), is given."""
        return torch.maximum(self.before, condition.float()).fill_diagonal_(0.0)

    @property
    def features(self) -> Tensor:
        """Features of each level, (sum of n_levels, most features): those of numbers stay where they start."""
        return self.start + self.moved * self.may_move

    def embedded(self, levels: Tensor) -> Tensor:
        """Features of all columns, side by side: levels (B, d) to (B, f)."""
        return F.embedding(levels + self.first_level, self.features).flatten(1)[:, self.used]

    def show(self, x: Tensor, k: int, levels: Tensor) -> None:
        """Write the features of column k, whose levels (B,) are known, into x (B, f)."""
        first, end = ([0, *self.ends_at])[k], self.ends_at[k]
        x[:, first:end] = F.embedding(levels + self.first_level[k], self.features)[:, : end - first]

    def losses(self, levels: Tensor, *, share_done: float) -> Tensor:
        """The negative log-likelihood of each row, in nats; in training a quarter has a random condition.

        In training the penalty is part of each row's loss.
        """
        levels = levels.long()
        d = self.n_columns
        if not self.training:
            return self._nll(self.embedded(levels), levels, [(len(levels), self.before)], torch.arange(d))
        heads = torch.arange(d)
        if d > MOST_HEADS_PER_STEP:
            heads = torch.randperm(d)[:MOST_HEADS_PER_STEP].sort().values
        quarter = len(levels) // 4
        # Small conditions more often: they are what is asked for.
        seen = self.seen((torch.rand(d) < torch.rand(()) ** 2).to(levels.device))
        masks = [(len(levels) - quarter, self.before), (quarter, seen)]
        nll = self._nll(self.embedded(levels), levels, masks, heads)
        return (nll + self.penalty * self._length_of_reading(heads)) * (d / len(heads))

    def _length_of_reading(self, heads: Tensor) -> Tensor | float:
        """Sum over heads and columns of the length of the weights between them; 0 without a penalty."""
        if not self.penalty:
            return 0.0
        read = self.read if len(heads) == self.n_columns else self.read[heads.to(self.read.device)]
        squares = read.square().sum(1) @ self.is_of_column
        return ((squares + 1e-12).sqrt() * self.is_of_column.sum(0).sqrt()).sum()

    def _nll(self, x: Tensor, levels: Tensor, masks: list[tuple[int, Tensor]], heads: Tensor) -> Tensor:
        """Sum over `heads` of each row's loss; `masks` says for how many rows which columns are seen."""
        hidden = self._hidden(x, masks, heads)
        row_of_head = {k: row for row, k in enumerate(heads.tolist())}
        total = torch.zeros(len(x), device=x.device)
        for b, bucket in enumerate(self.buckets):
            inside = [row for row, k in enumerate(bucket.columns) if k in row_of_head]
            if not inside:
                continue
            columns = [bucket.columns[row] for row in inside]
            logits = self._logits(b, inside, columns, hidden[[row_of_head[k] for k in columns]])
            nll = F.cross_entropy(logits.flatten(0, 1), levels[:, columns].T.flatten(), reduction="none")
            total = total + nll.view(len(columns), -1).sum(0)
        return total

    def _hidden(self, x: Tensor, masks: list[tuple[int, Tensor]], heads: Tensor) -> Tensor:
        """The last hidden layer of each head: (n_heads, B, h)."""
        at = slice(None) if len(heads) == self.n_columns else heads.to(x.device)
        read = self.read[at]
        blocks = [
            rows @ (read * seen[at][:, None, self.column_of]).flatten(0, 1).T
            for rows, (_, seen) in zip(x.split([n for n, _ in masks]), masks, strict=True)
        ]
        hidden = torch.cat(blocks).view(len(x), len(heads), -1).transpose(0, 1) + self.read_bias[at]
        hidden = self.dropout(F.relu(hidden))
        return self.dropout(F.relu(torch.baddbmm(self.middle_bias[at], hidden, self.middle[at])))

    def base(self, b: int) -> Tensor:
        """What the heads of bucket b say before they read anything: (n, 1, n_levels)."""
        return getattr(self, f"log_shares_{b}") + self.shifts[b]

    def hidden(self, levels: Tensor) -> Tensor:
        """The last hidden layer of all heads over whole rows: (B, d) to (d, B, h)."""
        return self._hidden(self.embedded(levels), [(len(levels), self.before)], torch.arange(self.n_columns))

    def logits(self, b: int, hidden: Tensor) -> Tensor:
        """What `_logits` gives of all columns of bucket b."""
        return self._logits(b, slice(None), list(self.buckets[b].columns), hidden)

    def _logits(self, b: int, rows: list[int] | slice, columns: list[int] | slice, hidden: Tensor) -> Tensor:
        """Log-probabilities, not normalised, of the columns in `rows` of bucket b: (n, B, h) to (n, B, n_levels)."""
        # A number's levels are ordered: a few weights bend its whole distribution, which few patients can teach. What
        # that cannot say is left to weights of its levels' own, which learn slowly.
        own = self.ends[b][rows] * getattr(self, f"pace_{b}")[rows]
        weights = own + self.tilt[columns] @ getattr(self, f"bends_{b}")[rows]
        logits = torch.baddbmm(self.base(b)[rows], hidden, weights)
        return logits.masked_fill(~getattr(self, f"is_level_{b}")[rows], -math.inf)

    @torch.no_grad()
    def probabilities(self, k: int, x: Tensor, until: int) -> Tensor:
        """The distribution of column k: (B, n_levels of k).

        `x`, (B, f), holds the features of what is seen and zeros elsewhere; from column `until` on all is zero.
        """
        end = ([0, *self.ends_at])[until]
        hidden = F.relu(x[:, :end] @ self.read[k, :, :end].T + self.read_bias[k])
        hidden = F.relu(hidden @ self.middle[k] + self.middle_bias[k])
        b, row = self.place[k]
        return self._logits(b, [row], [k], hidden[None])[0, :, : self.n_levels[k]].softmax(dim=1)


def level_features(column: ColumnCodec) -> Tensor:
    """What a column's levels look like to the heads, (n_levels, n).

    Numbers: their bends, fixed. Few categories: one centred feature each; many: random; both are trained from there.
    A rare level's features are no larger than a frequent one's: else the heads know the few who have it by heart.
    The last feature is 1: the column can be seen.
    """
    n = column.n_levels
    if isinstance(column, NumberCodec):
        features = level_bends(column)
    elif n <= MOST_FEATURES:
        features = torch.eye(n) - torch.from_numpy(column.level_shares).float()
    else:
        features = START_OF_FEATURES * torch.randn(n, MOST_FEATURES)
    return F.pad(features, (0, 1), value=1.0)


def level_bends(column: NumberCodec) -> Tensor:
    """Fixed functions of each level of a column of numbers, (n_levels, N_BENDS).

    The rank's normal quantile z, bent and cut in fixed ways; missing; a pile at either end.
    """
    n = column.n_levels
    z = torch.from_numpy(column.level_positions).float()
    is_missing = torch.arange(n) >= column.n_number_levels
    bends = [z, (z**2 - 1) / 2**0.5 * ~is_missing, F.relu(z - 0.7), F.relu(-z - 0.7), torch.tanh(2 * z), is_missing]
    for level in (0, column.n_number_levels - 1):
        is_pile = column.n_number_levels > 0 and column.is_heavy_level(level)
        bends.append((torch.arange(n) == level) & is_pile)
    return torch.stack([bend.float() for bend in bends], dim=1)


def _buckets(n_levels: list[int]) -> list[Bucket]:
    """Columns by number of levels, those of like size together."""
    size_class = [math.ceil(math.log(max(2, n), GROWTH_OF_BUCKETS)) for n in n_levels]
    members = {
        size: tuple(k for k, other in enumerate(size_class) if other == size) for size in sorted(set(size_class))
    }
    return [Bucket(columns, max(n_levels[k] for k in columns)) for columns in members.values()]


def _level_tables(codec: TableCodec, bucket: Bucket) -> tuple[Tensor, Tensor, Tensor]:
    """Per column of a bucket: log-shares (n, 1, m), bends (n, N_BENDS, m), what is a level (n, 1, m)."""
    n, m = len(bucket.columns), bucket.n_levels
    shares, bends, is_level = torch.zeros(n, 1, m), torch.zeros(n, N_BENDS, m), torch.zeros(n, 1, m, dtype=torch.bool)
    for row, k in enumerate(bucket.columns):
        column = codec.columns[k]
        levels = slice(0, column.n_levels)
        shares[row, 0, levels] = torch.from_numpy(column.level_shares).float().clamp_min(1e-6).log()
        is_level[row, 0, levels] = True
        if isinstance(column, NumberCodec):
            bends[row, :, levels] = level_bends(column).T
    return shares, bends, is_level
