"""Amplification by shuffling against its closed form, enumeration, and real shuffles of few patients."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from ehr_pipeline.privacy.shuffle import clone_losses, closed_form, local_epsilon, shuffled


def hockey_stick(p: dict, q: dict, epsilon: float) -> float:
    return sum(max(0.0, chance - math.exp(epsilon) * q.get(outcome, 0.0)) for outcome, chance in p.items())


def clone_pair(eps0: float, n: int) -> tuple[dict, dict]:
    """P and Q of the reduction, outcome by outcome."""
    own = math.exp(eps0) / (1 + math.exp(eps0))
    p, q = {}, {}
    for clones in range(n):
        for ones in range(clones + 1):
            chance = binom.pmf(clones, n - 1, math.exp(-eps0)) * binom.pmf(ones, clones, 0.5)
            for law, first in ((p, own), (q, 1 - own)):
                for outcome, share in (((ones + 1, clones - ones), first), ((ones, clones - ones + 1), 1 - first)):
                    law[outcome] = law.get(outcome, 0.0) + chance * share
    return p, q


def histograms(values: tuple[int, ...], k: int, eps0: float) -> dict:
    """The law of the histogram of k-ary randomised responses of these patients."""
    keep, other = math.exp(eps0) / (math.exp(eps0) + k - 1), 1 / (math.exp(eps0) + k - 1)
    law = {}
    for sent in itertools.product(range(k), repeat=len(values)):
        chance = math.prod(keep if a == b else other for a, b in zip(sent, values, strict=True))
        outcome = tuple(np.bincount(sent, minlength=k))
        law[outcome] = law.get(outcome, 0.0) + chance
    return law


@pytest.mark.parametrize(
    ("n", "eps0", "blocks", "delta", "expected"),
    [
        # At delta 1e-7 for each column.
        (50_000, 0.5, 12, 1.2e-6, 0.553),
        (50_000, 0.5, 1, 1e-7, 0.046),
        (50_000, 1.0, 12, 1.2e-6, 1.30),
        (100_000, 0.5, 12, 1.2e-6, 0.393),
        (5_000, 0.5, 12, 1.2e-6, 1.67),
        (50_000, 0.5, 40, 4e-6, 1.84),
    ],
)
def test_closed_form_gives_the_figures_that_were_computed_by_hand(n, eps0, blocks, delta, expected):
    added = blocks * closed_form(eps0, n, delta / blocks)
    assert added == pytest.approx(expected, rel=0.01)
    assert shuffled(eps0, blocks, n, delta).epsilon < added


def test_beyond_the_theorem_only_the_local_epsilon_is_left():
    assert closed_form(9.0, 1000, 1e-6) == 9.0
    assert closed_form(0.5, 1, 1e-6) == 0.5
    assert closed_form(0.5, 20, 1e-9) == 0.5
    for eps0, n in ((9.0, 10), (25.0, 50_000), (0.5, 1)):
        assert shuffled(eps0, 3, n, 1e-9).epsilon == pytest.approx(3 * eps0, rel=1e-3)
        assert shuffled(eps0, 3, n, 1e-9).epsilon <= 3 * eps0


@pytest.mark.parametrize(("eps0", "n"), [(0.3, 12), (1.0, 25), (2.5, 40)])
@pytest.mark.parametrize("delta", [0.02, 1e-4])
def test_numerical_bound_is_that_of_the_pair_counted_out(eps0, n, delta):
    p, q = clone_pair(eps0, n)
    epsilon = shuffled(eps0, 1, n, delta).epsilon
    assert hockey_stick(p, q, epsilon) <= delta
    assert hockey_stick(q, p, epsilon) <= delta
    assert hockey_stick(p, q, 0.97 * epsilon - 0.002) > delta


@pytest.mark.parametrize("eps0", [0.4, 1.0, 2.0])
@pytest.mark.parametrize(("k", "n"), [(2, 9), (3, 6)])
def test_a_real_shuffle_of_few_patients_keeps_to_the_bound(eps0, k, n):
    for others in ((0,) * (n - 1), tuple(np.arange(n - 1) % k), (k - 1,) * (n - 1)):
        one, another = histograms((0, *others), k, eps0), histograms((1, *others), k, eps0)
        for delta in (0.05, 0.005):
            epsilon = shuffled(eps0, 1, n, delta).epsilon
            assert hockey_stick(one, another, epsilon) <= delta + 1e-12
            assert hockey_stick(another, one, epsilon) <= delta + 1e-12


def test_two_blocks_of_a_real_shuffle_keep_to_the_composed_bound():
    n, k, eps0, delta = 6, 2, 1.0, 0.02
    others = (0, 1, 0, 1, 1)
    one, another = histograms((0, *others), k, eps0), histograms((1, *others), k, eps0)
    both = [{(a, b): law[a] * law[b] for a in law for b in law} for law in (one, another)]
    epsilon = shuffled(eps0, 2, n, delta).epsilon
    assert epsilon < 2 * eps0
    assert hockey_stick(both[0], both[1], epsilon) <= delta


def test_chances_of_the_pair_add_up_and_no_loss_passes_the_local_epsilon():
    for eps0, n in ((0.05, 50_000), (0.5, 1), (4.0, 2_000_000), (12.0, 100)):
        losses, mass = clone_losses(eps0, n)
        assert mass.sum() == pytest.approx(1.0, abs=1e-9)
        assert (mass >= 0).all()
        assert np.abs(losses).max() <= eps0 + 1e-9


@pytest.mark.parametrize(
    ("target", "n_blocks", "n"), [(0.1, 12, 50_000), (1.0, 12, 1_000), (4.0, 1, 30), (1.0, 300, 200)]
)
def test_local_noise_is_solved_so_that_the_centre_keeps_to_the_target(target, n_blocks, n):
    eps0 = local_epsilon(target, n_blocks, n, 1e-5)
    assert 0.98 * target < shuffled(eps0, n_blocks, n, 1e-5).epsilon <= target
    assert eps0 >= target / n_blocks


def test_more_patients_more_blocks_and_more_noise_move_it_the_right_way():
    base = shuffled(1.0, 5, 1_000, 1e-6)
    assert shuffled(1.0, 5, 10_000, 1e-6).epsilon < base.epsilon
    assert shuffled(1.0, 6, 1_000, 1e-6).epsilon > base.epsilon
    assert shuffled(0.5, 5, 1_000, 1e-6).epsilon < base.epsilon
    assert shuffled(1.0, 5, 1_000, 1e-8).epsilon > base.epsilon
    assert base.epsilon <= base.epsilon_rdp
