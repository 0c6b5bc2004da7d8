"""Two worlds: a mechanism on the worst pair of neighbours proves no more than it claims, and broken ones are caught.

The event is settled beforehand: the one that separates the two worlds best. Bounds hold with a chance of one in ten
million of being wrong, so that a mechanism that keeps its word does not fail.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from ehr_pipeline.generators.local_reports import blocks_of
from ehr_pipeline.privacy.lower_bounds import epsilon_lower_bound
from ehr_pipeline.privacy.noise import noisy_choice, noisy_counts, noisy_numbers, randomised_response
from ehr_pipeline.record import Column, Schema

SURE = 1 - 1e-7
RUNS = 20_000


def proved(one: np.ndarray, other: np.ndarray, delta: float = 0.0) -> float:
    """Epsilon proved by an event that came so often in runs on either table: bool of shape (n,) each."""
    return epsilon_lower_bound(int(one.sum()), len(one), int(other.sum()), len(other), delta=delta, confidence=SURE)


# Gaussian counts: epsilon 1 at delta 1e-5, for one patient in one cell. Each run is a cell of its own.
DELTA = 1e-5
NOISE = 3.7304


def test_the_gaussian_under_test_claims_epsilon_one():
    """Balle and Wang 2018, theorem 8, for sensitivity 1."""
    delta = norm.cdf(0.5 / NOISE - NOISE) - math.e * norm.cdf(-0.5 / NOISE - NOISE)
    assert delta == pytest.approx(DELTA, rel=0.01)


@pytest.mark.parametrize(
    ("noise", "moved", "is_broken"),
    [(NOISE, 1, False), (0.3 * NOISE, 1, True), (NOISE, 10, True)],
    ids=["as claimed", "noise x 0.3", "sensitivity 10 taken for 1"],
)
def test_noisy_counts(noise, moved, is_broken):
    with_patient = noisy_counts(np.full(RUNS, 500 + moved), noise)
    without = noisy_counts(np.full(RUNS, 500), noise)
    threshold = 500 + moved + 1.5 * noise
    bound = proved(with_patient >= threshold, without >= threshold, DELTA)
    assert (bound > 1.0) == is_broken
    assert bound > 0.15  # the audit sees something of a mechanism that keeps its word, too


@pytest.mark.parametrize(("share", "is_broken"), [(1.0, False), (0.3, True)], ids=["as claimed", "noise x 0.3"])
def test_noisy_numbers(share, is_broken):
    epsilon, width = 1.0, 20  # any value of a range of 20 may become any other
    scale = share * width / epsilon
    one, other = (noisy_numbers(np.full(RUNS, value), scale) for value in (width, 0))
    bound = proved(one >= width, other >= width)
    assert (bound > epsilon) == is_broken
    assert bound > 0.7 * epsilon


def test_noisy_numbers_with_the_scale_of_a_reasonable_change_are_caught():
    """The recipe as published: scale 10 for a range of 260."""
    one, other = (noisy_numbers(np.full(RUNS, value), 10.0) for value in (260, 0))
    assert proved(one >= 130, other >= 130) > 5


@pytest.mark.parametrize("n_levels", [2, 7])
def test_randomised_response(n_levels):
    epsilon = 1.0
    one, other = (randomised_response(np.full(RUNS, level), n_levels, epsilon) for level in (0, 1))
    bound = proved(one == 0, other == 0)
    assert 0.5 * epsilon < bound <= epsilon


def test_randomised_response_with_the_wrong_number_of_levels_is_caught():
    """Chances of two levels, used for seven: who made it so keeps the true level far too often."""
    epsilon, n_levels = 1.0, 7
    keep = math.exp(epsilon) / (math.exp(epsilon) + 2 - 1)
    rng = np.random.default_rng(0)

    def wrong(level: int) -> np.ndarray:
        other = (level + rng.integers(1, n_levels, RUNS)) % n_levels
        return np.where(rng.random(RUNS) < keep, level, other)

    assert proved(wrong(0) == 0, wrong(1) == 0) > epsilon


@pytest.mark.parametrize(
    ("told", "is_broken"), [(1.0, False), (0.2, True)], ids=["as claimed", "sensitivity 0.2 for 1"]
)
def test_noisy_choice(told, is_broken):
    """One patient lifts one score and lowers the other: the worst case of a noisy maximum."""
    epsilon, runs = 1.0, 2_000
    one, other = (
        np.array([noisy_choice(np.array(scores), epsilon, sensitivity=told) for _ in range(runs)]) == 0
        for scores in ((1.0, 0.0), (0.0, 1.0))
    )
    bound = proved(one, other)
    assert (bound > epsilon) == is_broken
    assert bound > 0.3 * epsilon


@pytest.mark.parametrize("numbers", ["response", "laplace"])
def test_local_reports_of_a_column_that_may_be_missing(numbers):
    schema = Schema(columns=(Column(name="x", kind="integer", minimum=0, maximum=20),))
    (block,) = blocks_of(schema, (), numbers, 2.0)
    for low, high in ((0, block.n_cells - 2), (0, block.n_cells - 1)):
        one, other = (block.reports(np.full(RUNS, cell), 2.0) for cell in (low, high))
        assert 0.3 < proved(one == low, other == low) <= 2.0


def test_randomised_response_keeps_and_replaces_as_often_as_it_should():
    n, k, epsilon = 60_000, 5, 1.2
    sent = randomised_response(np.full(n, 3), k, epsilon)
    keep, other = math.exp(epsilon) / (math.exp(epsilon) + k - 1), 1 / (math.exp(epsilon) + k - 1)
    chances = np.where(np.arange(k) == 3, keep, other)
    counts = np.bincount(sent, minlength=k)
    assert (np.abs(counts - n * chances) < 6 * np.sqrt(n * chances * (1 - chances))).all()
    # Neighbours in the table are independent: kept together as often as the product says.
    kept = sent == 3
    assert abs((kept[1:] & kept[:-1]).mean() - keep**2) < 6 * math.sqrt(2 * keep**2 / n)


@pytest.mark.parametrize("n_levels", [1, 2, 3, 64, 5000])
def test_randomised_response_stays_among_its_levels(n_levels):
    levels = np.arange(1001) % n_levels
    sent = randomised_response(levels, n_levels, 0.7)
    assert sent.dtype == np.int64
    assert sent.shape == levels.shape
    assert 0 <= sent.min() <= sent.max() < n_levels
    assert randomised_response(levels[:0], n_levels, 0.7).shape == (0,)
    assert np.array_equal(randomised_response(levels, n_levels, 19.0) == levels, np.ones(1001, bool)) or n_levels > 64


def test_fifty_thousand_responses_take_no_time():
    import time

    started = time.perf_counter()
    for _ in range(12):
        randomised_response(np.zeros(50_000, dtype=np.int64), 50, 1.0)
    assert time.perf_counter() - started < 30  # 55 s by one call of OpenDP per value, on an idle core
