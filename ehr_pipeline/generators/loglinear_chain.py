"""A joint distribution fitted to noisy counts of a few columns at a time: log-linear, column after column.

What belongs here: the model, and drawing from it. What does not: the search for a column's weights
(`column_search.py`), how anything was measured (`marginals.py`), or which columns together (`clique_selection.py`).

Each column k given those before it: p(x_k = b | x_<k) is proportional to exp(a_b + sum over cliques c that end in k of
phi_c(x)' A_c phi_k(b)), where phi_c is the product of the features of the clique's other columns. With exact counts
and bins as features this is the conditional of greatest entropy that has the measured marginals; from noisy ones, A is
the most probable under Gaussian noise and a Gaussian prior, the noise's variance in each cell known.

# NOTE[DIFF] Private-PGM (McKenna, Sheldon, Miklau 2019, https://arxiv.org/abs/1901.09136) fits the Markov random field
#   of greatest entropy, whose cost is exponential in the treewidth: all pairs of 12 columns are out of its reach. The
#   chain takes any set of cliques, in time linear in their number; what it costs is exactness of earlier columns'
#   marginals, over which the expectation runs (by a sample of rows that the chain drew itself, as do GEM, Liu, Vietri,
#   Wu 2021, https://arxiv.org/abs/2106.07153, and RAP, Aydore et al. 2021, https://arxiv.org/abs/2103.06641).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ehr_pipeline.generators.coarse_columns import Clique, CoarseColumn, Grains
from ehr_pipeline.generators.column_search import ColumnSearch, Measurement, softmax
from ehr_pipeline.generators.dependence_prior import clique_scales

BLOCK_ROWS = 8192
"""Rows drawn at a time."""
MARGIN_ITERATIONS = 10
"""Of the fit of a column's own shares, after its weights are found."""
LEAST_SHARE = 1e-9
"""A level's share is taken to be no less."""


@dataclass(eq=False)
class LogLinearChain:
    """The model: for each column, intercepts of its levels and weights of its cliques.

    Attributes
    ----------
    order
        Columns in the order of the chain.
    grains
        Columns made coarse.
    shares
        Per column (by its index), float64 of shape (n_levels,), above 0: what its levels must come to.
    intercepts
        Per column, float64 of shape (n_levels,).
    weights
        Clique to float64 of shape (n_features of its other columns, n_features of its last).
    """

    order: tuple[int, ...]
    grains: Grains
    shares: list[np.ndarray]
    intercepts: list[np.ndarray]
    weights: dict[Clique, np.ndarray] = field(default_factory=dict)

    @classmethod
    def independent(cls, order: Sequence[int], grains: Grains, shares: Sequence[np.ndarray]) -> LogLinearChain:
        """The model before anything was measured of two columns together."""
        shares = [np.maximum(one, LEAST_SHARE) / np.maximum(one, LEAST_SHARE).sum() for one in shares]
        return cls(tuple(order), grains, shares, [np.log(one) for one in shares])

    def set_shares(self, k: int, shares: np.ndarray) -> None:
        """Say what the levels of column `k` must come to."""
        shares = np.maximum(shares, LEAST_SHARE) / np.maximum(shares, LEAST_SHARE).sum()
        self.intercepts[k] = self.intercepts[k] + np.log(shares) - np.log(self.shares[k])
        self.shares[k] = shares

    def cliques_of(self, k: int) -> list[Clique]:
        """Cliques that column `k` is explained by."""
        return [clique for clique in self.weights if clique[-1] == k]

    def width(self, cliques: Iterable[Clique]) -> int:
        """Numbers per row, at most, in each of the two tables that the fit of one column with `cliques` holds."""
        cells: dict[int, int] = dict.fromkeys(self.order, 1)
        for clique in cliques:
            # Products of features are at most as many as cells.
            cells[clique[-1]] += self.grains.n_cells(clique) // self.grains.of(clique)[clique[-1]].n_bins
        return max(cells.values())

    def probabilities(self, k: int, levels: np.ndarray) -> np.ndarray:
        """Distribution of column `k` given the columns before it in `levels`, (n, d): (n, n_levels)."""
        logits = np.broadcast_to(self.intercepts[k], (len(levels), len(self.intercepts[k]))).astype(np.float32)
        for clique in self.cliques_of(k):
            last = self.grains.of(clique)[k].features
            tilt = (self.weights[clique] @ last.T).astype(np.float32)
            logits += self.grains.features(clique, levels) @ tilt
        return softmax(logits)

    def draw(
        self, n: int, rng: np.random.Generator, given: Mapping[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`n` rows of levels, int64 of shape (n, d), and the chance of what was given in each, float64 of shape (n,).

        Columns that are given are set as the chain comes to them.
        """
        given = given or {}
        levels = np.zeros((n, len(self.order)), dtype=np.int64)
        chance = np.ones(n)
        for start in range(0, n, BLOCK_ROWS):
            rows = slice(start, min(n, start + BLOCK_ROWS))
            for k in self.order:
                probabilities = self.probabilities(k, levels[rows])
                if k in given:
                    levels[rows, k] = given[k]
                    chance[rows] *= probabilities[:, given[k]]
                else:
                    levels[rows, k] = _drawn(probabilities, rng.random(rows.stop - rows.start))
        return levels, chance

    def fit(
        self, measurements: Sequence[Measurement], *, n: float, n_rows: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Set the weights by what was measured of `n` patients; rows drawn on the way, int64 of shape (n_rows, d).

        A column all of whose cliques have weights already keeps these.
        """
        scales = clique_scales(measurements, self.grains, self.shares, n)
        of_last: dict[int, list[Measurement]] = {k: [] for k in self.order}
        for one in measurements:
            of_last[one.clique[-1]].append(one)
        rows = np.zeros((n_rows, len(self.order)), dtype=np.int64, order="F")
        for k in self.order:
            if any(one.clique not in self.weights for one in of_last[k]):
                self._fit_column(k, of_last[k], rows, n, scales)
            # Even numbers instead of random ones: the rows' own noise is not to be learned from.
            rows[:, k] = _drawn(self.probabilities(k, rows), (rng.permutation(n_rows) + rng.random(n_rows)) / n_rows)
        return rows

    def _fit_column(
        self, k: int, measured: list[Measurement], rows: np.ndarray, n: float, scales: Mapping[Clique, float]
    ) -> None:
        """The weights of column `k` that are the most probable, and the intercepts that keep its shares."""
        search = ColumnSearch(
            self.grains, measured, rows, shares=self.shares[k], intercepts=self.intercepts[k], n=n, scales=scales
        )
        weights, self.intercepts[k] = search.most_probable(self.weights)
        self.weights.update(weights)
        for _ in range(MARGIN_ITERATIONS):
            have = self.probabilities(k, rows).mean(axis=0)
            self.intercepts[k] = self.intercepts[k] + np.log(self.shares[k]) - np.log(np.maximum(have, LEAST_SHARE))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What JSON and safetensors hold of it."""
        arrays = {f"intercepts.{k}": one for k, one in enumerate(self.intercepts)}
        arrays |= {f"shares.{k}": one for k, one in enumerate(self.shares)}
        arrays |= {f"weights.{c}": one for c, one in enumerate(self.weights.values())}
        for size, grain in self.grains.columns.items():
            for k, column in enumerate(grain):
                arrays |= {f"bins.{size}.{k}": column.bins, f"features.{size}.{k}": column.features}
        plain = {
            "order": list(self.order),
            "cliques": [list(clique) for clique in self.weights],
            "sizes": list(self.grains.columns),
        }
        return plain, arrays

    @classmethod
    def of_state(cls, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> LogLinearChain:
        """Read what `state` made."""
        d = len(plain["order"])
        grains = {
            size: [CoarseColumn(arrays[f"bins.{size}.{k}"], arrays[f"features.{size}.{k}"]) for k in range(d)]
            for size in plain["sizes"]
        }
        return cls(
            order=tuple(plain["order"]),
            grains=Grains(grains),
            shares=[arrays[f"shares.{k}"] for k in range(d)],
            intercepts=[arrays[f"intercepts.{k}"] for k in range(d)],
            weights={tuple(clique): arrays[f"weights.{c}"] for c, clique in enumerate(plain["cliques"])},
        )


def _drawn(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """One level of each row: (n, n_levels) and (n,) to int64 of shape (n,)."""
    upto = np.cumsum(probabilities, axis=1)
    return np.minimum((upto < (uniform * upto[:, -1])[:, None]).sum(axis=1), probabilities.shape[1] - 1)
