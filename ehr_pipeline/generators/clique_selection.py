"""Which columns to count together: those whose joint counts a model misses most, by the exponential mechanism.

What belongs here: candidates, their scores, and the choice. What does not: the model, the counts that are then made.

A score is AIM's quality score (McKenna, Mullins, Sheldon, Miklau 2022, https://arxiv.org/abs/2201.12677, algorithm 2):
the L1 distance of exact and modelled counts, less what the noise of a measurement would come to. One more patient adds
1 to one cell, so a score moves by at most 1; what the model says, and the number of patients that it is scaled to, are
known from noisy counts.

# NOTE[DIFF] AIM chooses one clique a round and fits the model after each; here a round chooses many from the same
#   scores (each choice is charged), so that a wide table costs a few fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ehr_pipeline.generators.coarse_columns import Clique, Grains
from ehr_pipeline.privacy.noise import noisy_choice

SENSITIVITY = 1.0
"""One patient changes a score by at most this."""
MOST_TRIPLES = 500
"""Candidates of three columns, at most, so that a choice takes seconds in a wide table."""


def scores(
    cliques: Sequence[Clique], grains: Grains, levels: np.ndarray, model_rows: np.ndarray, *, n: float, noise: float
) -> np.ndarray:
    """How far the model misses each clique's counts, beyond the noise of measuring them: float64 of shape (n_cliques,).

    Parameters
    ----------
    levels
        The patients' levels, int64 of shape (n_patients, d).
    model_rows
        Rows drawn from the model, int64 of shape (n_rows, d), which stand for `n` patients.
    noise
        Standard deviation of the noise in a measured count.
    """
    each = np.empty(len(cliques))
    scale = n / len(model_rows)
    for index, clique in enumerate(cliques):
        missed = np.abs(grains.counts(clique, levels) - scale * grains.counts(clique, model_rows))
        each[index] = missed.sum() - math.sqrt(2 / math.pi) * noise * len(missed)
    return each


def choose(candidates: Sequence[Clique], each_score: np.ndarray, n_choices: int, epsilon: float | None) -> list[Clique]:
    """Up to `n_choices` of the candidates, each by a choice that is `epsilon`-private; the best if that is None."""
    left, left_scores, chosen = list(candidates), each_score.astype(np.float64), []
    while left and len(chosen) < n_choices:
        best = (
            int(left_scores.argmax())
            if epsilon is None
            else noisy_choice(left_scores, epsilon, sensitivity=SENSITIVITY)
        )
        chosen.append(left.pop(best))
        left_scores = np.delete(left_scores, best)
    return chosen


def candidate_triples(order: Sequence[int], measured: Sequence[Clique], rng: np.random.Generator) -> list[Clique]:
    """Three columns that are not measured together, but two pairs of which are; a random `MOST_TRIPLES` of them."""
    place = {k: at for at, k in enumerate(order)}
    neighbours: dict[int, set[int]] = {k: set() for k in order}
    for clique in measured:
        for one, other in combinations(clique, 2):
            neighbours[one].add(other)
            neighbours[other].add(one)
    known = {frozenset(clique) for clique in measured}
    triples: set[Clique] = set()
    for middle in order:
        around = sorted(neighbours[middle])
        pairs = [(around[a], around[b]) for a, b in _some_pairs(len(around), rng)]
        triples |= {tuple(sorted((middle, *pair), key=place.__getitem__)) for pair in pairs}
    left = sorted(triple for triple in triples if frozenset(triple) not in known)
    kept = np.sort(rng.permutation(len(left))[:MOST_TRIPLES])
    return [left[at] for at in kept]


def _some_pairs(n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs of n things, or `MOST_TRIPLES` random ones of them."""
    first, second = np.triu_indices(n, 1)
    kept = rng.permutation(len(first))[:MOST_TRIPLES]
    return list(zip(first[kept].tolist(), second[kept].tolist(), strict=True))
