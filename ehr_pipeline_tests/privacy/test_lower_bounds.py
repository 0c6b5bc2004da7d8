"""What hits prove: against figures worked out elsewhere, and against games whose epsilon is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ehr_pipeline.privacy.lower_bounds import ceiling, chance_of_so_many, epsilon_lower_bound, one_run_bound


@pytest.mark.parametrize(
    ("m", "expected"), [(60, 2.97), (100, 3.49), (500, 5.11), (10, 1.05), (166, 4.01), (8932, 8.0)]
)
def test_ceiling_is_that_of_all_guesses_right(m, expected):
    q = 0.05 ** (1 / m)
    assert ceiling(m, m) == pytest.approx(math.log(q / (1 - q)), abs=1e-6)
    assert ceiling(m, m) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(
    ("m", "right", "expected"), [(100, 90, 1.63), (100, 70, 0.47), (100, 60, 0.05), (500, 450, 1.95), (500, 300, 0.25)]
)
def test_right_guesses_prove_the_published_figures(m, right, expected):
    assert one_run_bound(m, m, right, delta=1e-6) == pytest.approx(expected, abs=0.006)


def test_no_more_right_than_by_chance_prove_nothing():
    assert one_run_bound(100, 100, 50) == 0.0
    assert one_run_bound(100, 100, 0) == 0.0
    assert one_run_bound(100, 0, 0) == 0.0
    assert epsilon_lower_bound(0, 100, 0, 100) == 0.0
    assert epsilon_lower_bound(0, 0, 0, 0) == 0.0


def test_delta_and_abstaining_only_lower_the_bound():
    assert one_run_bound(100, 100, 90, delta=1e-2) < one_run_bound(100, 100, 90, delta=1e-6)
    assert one_run_bound(100, 100, 90, delta=0.4) == 0.0
    assert one_run_bound(500, 66, 66, delta=1e-4) < one_run_bound(66, 66, 66, delta=1e-4)
    assert epsilon_lower_bound(99, 100, 1, 100, delta=0.1) < epsilon_lower_bound(99, 100, 1, 100)
    assert chance_of_so_many(100, 100, 100, 1.0, 1.0) == 1.0


@pytest.mark.parametrize(("n", "expected"), [(100, 3.28), (300, 4.39), (1000, 5.60)])
def test_two_worlds_that_never_agree_prove_the_published_figures(n, expected):
    assert epsilon_lower_bound(n, n, 0, n) == pytest.approx(expected, abs=0.006)
    assert epsilon_lower_bound(0, n, n, n) == 0.0  # the event was said to be likelier in the other world


def test_complement_of_an_event_proves_what_the_event_does_not():
    # 40 % against 50 % of hits, and 60 % against 50 % of misses, say little; 100 % of hits against 70 % say much.
    assert epsilon_lower_bound(10_000, 10_000, 7_000, 10_000) > 6


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_randomised_guessing_game_is_bounded_by_its_own_epsilon_in_nineteen_of_twenty_games(epsilon):
    """Each canary's bit is sent through randomised response: exactly epsilon-private, and guessed as well as can be."""
    rng, m, games = np.random.default_rng(0), 200, 1000
    right = rng.binomial(m, math.exp(epsilon) / (1 + math.exp(epsilon)), games)
    counts, game = np.unique(right, return_inverse=True)
    bounds = np.array([one_run_bound(m, m, int(count)) for count in counts])[game]
    assert (bounds > epsilon).mean() <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / games)
    assert np.median(bounds) > 0.6 * epsilon - 0.1
