"""How strong the dependence of each clique may be, as all noisy counts together make it probable.

What belongs here: the width of the prior of each clique's weights. What does not: the weights (`column_search.py`).

Empirical Bayes (Stephens 2017, https://doi.org/10.1093/biostatistics/kxw041, with scales of cliques in place of single
effects): to first order, the mean m of a product of features is the weight w times the features' variances v, so
m ~ N(0, (v tau)^2 + the variance of its noise). The shares of cliques that have each scale tau are the most likely ones
(EM), and a clique's scale is its mean given its own counts. Where noise drowns all, nothing is left but independence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ehr_pipeline.generators.coarse_columns import Clique, Grains
from ehr_pipeline.generators.column_search import Measurement

SCALES = np.geomspace(0.005, 2.0, 14)
"""Standard deviations that a clique's weights may have."""
NULL_CLIQUES = 5
"""The least scale is taken to have been seen so often beside what was measured: where nothing can be told, none is."""
ITERATIONS = 200
"""Of EM."""


def clique_scales(
    measurements: Iterable[Measurement], grains: Grains, shares: Sequence[np.ndarray], n: float
) -> dict[Clique, float]:
    """The standard deviation of each clique's weights; `shares` are those of the columns' levels, `n` the patients."""
    scales: dict[Clique, float] = {}
    measured = list(measurements)
    for size in sorted({len(one.clique) for one in measured}):
        same = [one for one in measured if len(one.clique) == size]
        log_likelihood = np.stack([_log_likelihood(one, grains, shares, n) for one in same])
        likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
        prior = np.full(len(SCALES), 1 / len(SCALES))
        for _ in range(ITERATIONS):
            posterior = likelihood * prior
            posterior /= posterior.sum(axis=1, keepdims=True)
            seen = posterior.sum(axis=0)
            seen[0] += NULL_CLIQUES
            prior = seen / seen.sum()
        squares = posterior @ SCALES**2
        scales |= {one.clique: float(square) ** 0.5 for one, square in zip(same, squares, strict=True)}
    return scales


def _log_likelihood(one: Measurement, grains: Grains, shares: Sequence[np.ndarray], n: float) -> np.ndarray:
    """Of each scale, by the clique's counts: float64 of shape (n_scales,)."""
    others, spread = np.ones((1, 1)), np.ones(1)
    for k in one.clique[:-1]:
        features, variance = _of_bins(one.clique, k, grains, shares[k])
        others, spread = np.kron(others, features), np.kron(spread, variance)
    last, last_spread = _of_bins(one.clique, one.clique[-1], grains, shares[one.clique[-1]])
    shape = len(others), len(last)
    means = others.T @ ((one.counts - one.expected) / n).reshape(shape) @ last
    noise = (others**2).T @ (one.variance / n**2).reshape(shape) @ last**2 + 1e-12
    gain = np.outer(spread, last_spread)
    variance = noise[None] + SCALES[:, None, None] ** 2 * gain[None] ** 2
    return -0.5 * (np.log(variance) + means[None] ** 2 / variance).sum(axis=(1, 2))


def _of_bins(clique: Clique, k: int, grains: Grains, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean features in each bin of a column, (n_bins, n_features), and their variances over the bins."""
    column = grains.of(clique)[k]
    weight = np.eye(column.n_bins)[column.bins] * shares[:, None]
    in_bin = weight.sum(axis=0)
    features = (weight.T @ column.features) / in_bin[:, None]
    return features, in_bin @ features**2
