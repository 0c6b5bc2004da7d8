"""Weights of drawn rows, by which a generator's rows come nearer to the training rows' distribution.

What belongs here: learning the weights, and what they are of a row. What does not: drawing and rejecting rows (the
generator).

Trees that tell training rows from drawn ones see what a chain of small heads misses: several levels that go together.
Kept in proportion to w(x) ~ p(x) / q(x), p of the training rows and q of the drawn ones, drawn rows lose what the trees
saw (discriminator rejection sampling, Azadi et al. 2019, https://arxiv.org/abs/1810.06758, section 3).

# NOTE[DIFF] Not a classifier's odds: log w is a sum of trees that maximises mean_p(log w) - log mean_q(w), which is by
#   how many nats the likelihood of a row grows (Nguyen et al. 2010, https://arxiv.org/abs/0809.0853, section II).
#   A leaf with R training rows and the weight S of drawn rows asks for a step of (R - S) / (S + ridge).
# NOTE[DIFF] What trees know by heart would lead to the training rows. Leaves are large, steps of small ones short,
#   patients held back say when to stop, and where these gain nothing, nothing is corrected.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.progress import Progress, Step, silent

FEWEST_ROWS = 2_000
"""Smaller tables are left as they are."""
MOST_ROWS = 100_000
"""Training rows, at most, that trees are grown on."""
DRAWN_PER_ROW = 4
MOST_DRAWN = 200_000
LOOK_ROWS, LOOK_TREES = 20_000, 8
"""Training rows and trees of a first look: what is not so much as turned the right way is not corrected."""
LEAST_GAIN = 0.005
"""Nats per row that all trees must gain on held-back patients: less is not worth the rows that are thrown away."""

MOST_BINS = 128
"""Levels of a column that trees tell apart; of more, the rarest are one."""
DEPTH = 6
MOST_TREES = 400
PATIENCE = 30
"""Trees without a gain on held-back patients before the growing stops."""
RATE = 0.15
RIDGE = 500.0
"""Training rows that a leaf's step is shortened by."""
LEAF_ROWS = 50.0
"""Weight of drawn rows in a leaf at least, as so many training rows."""
LONGEST_STEP = 2.0
COLUMNS_PER_TREE = 12
"""Columns, drawn at random, that a tree looks at."""
HIGHEST_QUANTILE = 0.99
"""Drawn rows of a higher weight than this share of them count as if they had no more."""

Draw = Callable[[int], np.ndarray]
"""A number of rows to the levels of so many drawn rows, int64 of shape (n, d)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowCorrection:
    """The trees. Nodes of a tree are numbered from the root, level by level; T trees, d columns.

    Attributes
    ----------
    bin_of_level
        uint8 of shape (sum of levels,): the bin of each column's levels, one column after the other.
    first_level
        int64 of shape (d,): where each column's levels begin.
    columns
        int64 of shape (T, 2^DEPTH - 1): the column that a node looks at.
    goes_left
        bool of shape (T, 2^DEPTH - 1, MOST_BINS): the bins that go to the first of its two children.
    values
        float64 of shape (T, 2^DEPTH): what a leaf adds to log w.
    highest
        The highest log w; more counts as this.
    log_mean
        Logarithm of the mean of w over drawn rows, which it is divided by to be a density's.
    """

    bin_of_level: np.ndarray
    first_level: np.ndarray
    columns: np.ndarray
    goes_left: np.ndarray
    values: np.ndarray
    highest: float
    log_mean: float

    def log_weights(self, levels: np.ndarray) -> np.ndarray:
        """Log w of rows: int64 of shape (n, d) to float64 of shape (n,)."""
        bins = _binned(levels, self.bin_of_level, self.first_level)
        total = np.zeros(len(levels))
        for columns, goes_left, values in zip(self.columns, self.goes_left, self.values, strict=True):
            total += values[_leaves(bins, columns, goes_left)]
        return np.minimum(total, self.highest)

    def state(self) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """What JSON and safetensors hold of it."""
        arrays = {name: getattr(self, name) for name in ("bin_of_level", "first_level", "columns", "values")}
        packed = np.packbits(self.goes_left, axis=2)
        return {"highest": self.highest, "log_mean": self.log_mean}, {**arrays, "goes_left": packed}

    @classmethod
    def of_state(cls, plain: dict[str, float], arrays: dict[str, np.ndarray]) -> Self:
        """What `state` gave."""
        goes_left = np.unpackbits(arrays["goes_left"], axis=2).astype(bool)
        return cls(**plain, **{**arrays, "goes_left": goes_left})


def learn_correction(
    codec: TableCodec,
    training: np.ndarray,
    held_back: np.ndarray,
    draw: Draw,
    rng: np.random.Generator,
    *,
    task: str,
    progress: Progress | None = None,
) -> RowCorrection | None:
    """The correction of what `draw` gives, or None where held-back patients gain nothing by it.

    Parameters
    ----------
    training, held_back
        Levels of rows, integers of shape (n, d); no patient has rows in both.

    Memory: one byte per cell of `MOST_ROWS` training rows and `MOST_DRAWN` drawn ones, and some 100 bytes a row.
    """
    if len(training) < FEWEST_ROWS or not len(held_back) or training.shape[1] < 2:
        return None
    training = training[rng.permutation(len(training))[:MOST_ROWS]]
    n_look = min(LOOK_ROWS, len(training) // 2)
    others = np.concatenate([training[n_look : 3 * n_look], held_back[:MOST_ROWS]])
    look = _Growth(codec, training[:n_look], others, draw(3 * n_look), spare_share=1 / 3, rng=rng)
    for _ in range(LOOK_TREES):
        look.grow()
    if look.lead <= 0:
        return None
    n_drawn = min(MOST_DRAWN, DRAWN_PER_ROW * len(training))
    growth = _Growth(codec, training, held_back[:MOST_ROWS], draw(n_drawn), spare_share=0.1, rng=rng)
    started, best, n_best = time.monotonic(), 0.0, 0
    for n_trees in range(1, MOST_TREES + 1):
        growth.grow()
        if growth.gain > best:
            best, n_best = growth.gain, n_trees
        elapsed_s = time.monotonic() - started
        values = {"gain": growth.gain}
        (progress or silent)(
            Step(task=task, done=n_trees, total=MOST_TREES, unit="tree", elapsed_s=elapsed_s, values=values)
        )
        if n_trees - n_best >= PATIENCE:
            break
    return growth.correction(n_best) if best > LEAST_GAIN else None


class _Growth:
    """Trees being grown, and log w of all rows so far; a share of the drawn rows is held back too."""

    def __init__(
        self,
        codec: TableCodec,
        training: np.ndarray,
        held_back: np.ndarray,
        drawn: np.ndarray,
        *,
        spare_share: float,
        rng: np.random.Generator,
    ) -> None:
        self.bin_of_level, self.first_level = _bins(codec)
        self.n_bins = np.minimum(codec.n_levels, MOST_BINS)
        self.is_ordered = codec.is_number
        n_spare = int(len(drawn) * spare_share)
        parts = {"training": training, "held_back": held_back, "drawn": drawn[n_spare:], "spare": drawn[:n_spare]}
        self.bins = {name: _binned(levels, self.bin_of_level, self.first_level) for name, levels in parts.items()}
        self.log_w = {name: np.zeros(len(levels)) for name, levels in parts.items()}
        self.trees: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.rng = rng

    @property
    def gain(self) -> float:
        """Nats per row that held-back patients gain."""
        return float(self.log_w["held_back"].mean() - np.log(np.exp(self.log_w["spare"]).mean()))

    @property
    def lead(self) -> float:
        """By how much log w is higher in held-back patients than in drawn rows: above 0 with whatever trees are right.

        A few trees of a few rows lose more by their noise than they gain; their lead has no such cost.
        """
        return float(self.log_w["held_back"].mean() - self.log_w["spare"].mean())

    def grow(self) -> None:
        """One more tree."""
        looked_at = self.rng.permutation(len(self.n_bins))[:COLUMNS_PER_TREE].tolist()
        real_bins, drawn_bins = self.bins["training"], self.bins["drawn"]
        n, n_of_drawn = real_bins.shape[1], drawn_bins.shape[1]
        w = np.exp(self.log_w["drawn"])
        w *= n / w.sum()
        columns = np.zeros(2**DEPTH - 1, dtype=np.int64)
        goes_left = np.ones((2**DEPTH - 1, MOST_BINS), dtype=bool)
        at_real, at_drawn = np.zeros(n, dtype=np.int64), np.zeros(n_of_drawn, dtype=np.int64)
        for depth in range(DEPTH):
            nodes = slice(2**depth - 1, 2 ** (depth + 1) - 1)
            best = np.zeros(2**depth)
            for k in looked_at:
                shape = (2**depth, int(self.n_bins[k]))
                n_real = _counts(at_real, real_bins[k], None, shape)
                n_drawn = _counts(at_drawn, drawn_bins[k], w, shape)
                gain, left = _best_split(n_real, n_drawn, self.is_ordered[k])
                is_better = gain > best
                best[is_better] = gain[is_better]
                columns[nodes][is_better] = k
                goes_left[nodes, : shape[1]][is_better] = left[is_better]
            at_real = _children(at_real, real_bins, columns[nodes], goes_left[nodes])
            at_drawn = _children(at_drawn, drawn_bins, columns[nodes], goes_left[nodes])
        n_real = np.bincount(at_real, minlength=2**DEPTH)
        n_drawn = np.bincount(at_drawn, weights=w, minlength=2**DEPTH)
        values = RATE * ((n_real - n_drawn) / (n_drawn + RIDGE)).clip(-LONGEST_STEP, LONGEST_STEP)
        self.trees.append((columns, goes_left, values))
        for name, bins in self.bins.items():
            self.log_w[name] += values[_leaves(bins, columns, goes_left)]

    def correction(self, n_trees: int) -> RowCorrection:
        """The first trees, with what drawn rows say of their weights."""
        columns, goes_left, values = (np.stack(arrays) for arrays in zip(*self.trees[:n_trees], strict=True))
        log_w = np.zeros(self.bins["spare"].shape[1])
        for tree in zip(columns, goes_left, values, strict=True):
            log_w += tree[2][_leaves(self.bins["spare"], *tree[:2])]
        highest = float(np.quantile(log_w, HIGHEST_QUANTILE))
        return RowCorrection(
            bin_of_level=self.bin_of_level,
            first_level=self.first_level,
            columns=columns,
            goes_left=goes_left,
            values=values,
            highest=highest,
            log_mean=float(np.log(np.exp(np.minimum(log_w, highest)).mean())),
        )


def _best_split(n_real: np.ndarray, n_drawn: np.ndarray, is_ordered: bool) -> tuple[np.ndarray, np.ndarray]:
    """How much the best cut of each node gains, (m,), and which bins go left there, (m, n_bins).

    `n_real` and `n_drawn`, (m, n_bins), are the weights of the rows in each bin.
    """
    m, n_bins = n_real.shape
    if is_ordered:
        order = np.broadcast_to(np.arange(n_bins), (m, n_bins))
    else:
        order = np.argsort((n_real - n_drawn) / (n_drawn + LEAF_ROWS), axis=1, kind="stable")
    real = np.take_along_axis(n_real, order, axis=1).cumsum(axis=1)
    drawn = np.take_along_axis(n_drawn, order, axis=1).cumsum(axis=1)
    above_real, above_drawn = real[:, -1:] - real, drawn[:, -1:] - drawn
    gains = _gain(real, drawn) + _gain(above_real, above_drawn) - _gain(real[:, -1:], drawn[:, -1:])
    gains[np.minimum(drawn, above_drawn) < LEAF_ROWS] = 0.0
    cut = gains.argmax(axis=1)
    left = np.empty((m, n_bins), dtype=bool)
    np.put_along_axis(left, order, np.arange(n_bins) <= cut[:, None], axis=1)
    return gains[np.arange(m), cut], left


def _gain(n_real: np.ndarray, n_drawn: np.ndarray) -> np.ndarray:
    return (n_real - n_drawn) ** 2 / (n_drawn + RIDGE)


def _counts(at: np.ndarray, bins: np.ndarray, weights: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """Weight of the rows of each node and bin, float64 of `shape`."""
    counts = np.bincount(at * shape[1] + bins, weights=weights, minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(np.float64, copy=False)


def _children(at: np.ndarray, bins: np.ndarray, columns: np.ndarray, goes_left: np.ndarray) -> np.ndarray:
    """From the nodes of one depth, (n,), to those of the next, by the columns (m,) and bins (m, MOST_BINS) of nodes."""
    seen = bins.ravel()[columns[at] * len(at) + np.arange(len(at))]
    return 2 * at + ~goes_left.ravel()[at * MOST_BINS + seen]


def _leaves(bins: np.ndarray, columns: np.ndarray, goes_left: np.ndarray) -> np.ndarray:
    """The leaf of each row in one tree: uint8 of shape (d, n) to int64 of shape (n,)."""
    at = np.zeros(bins.shape[1], dtype=np.int64)
    for depth in range(DEPTH):
        nodes = slice(2**depth - 1, 2 ** (depth + 1) - 1)
        at = _children(at, bins, columns[nodes], goes_left[nodes])
    return at


def _bins(codec: TableCodec) -> tuple[np.ndarray, np.ndarray]:
    """The bin of each level, column after column, and where each column's levels begin."""
    bins = []
    for n_levels, shares, is_number in zip(codec.n_levels, codec.level_shares, codec.is_number, strict=True):
        if n_levels <= MOST_BINS:
            bins.append(np.arange(n_levels))
        elif is_number:
            bins.append(np.arange(n_levels) * MOST_BINS // n_levels)
        else:
            rank = np.argsort(np.argsort(-shares, kind="stable"), kind="stable")
            bins.append(np.minimum(rank, MOST_BINS - 1))
    return np.concatenate(bins).astype(np.uint8), np.cumsum([0, *codec.n_levels[:-1]])


def _binned(levels: np.ndarray, bin_of_level: np.ndarray, first_level: np.ndarray) -> np.ndarray:
    """The bins of rows, column by column: integers of shape (n, d) to uint8 of shape (d, n)."""
    bins = np.empty(levels.shape[::-1], dtype=np.uint8)
    for k, first in enumerate(first_level.tolist()):
        bins[k] = bin_of_level[first + levels[:, k].astype(np.int64)]
    return bins
