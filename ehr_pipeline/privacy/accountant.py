"""What mechanisms spend together, and the noise that spends a budget exactly.

What belongs here: composition, by two libraries that must agree. What does not: the mechanisms themselves.

The figure that is reported is the privacy loss distribution of `dp-accounting` (pessimistic, an upper bound). Opacus'
PRV accountant (Gopi, Lee, Wutschitz 2021, https://arxiv.org/abs/2106.02848) computes the Gaussian part again; if the
two differ by more than 5 %, nothing runs. Renyi divergences give an upper bound that the figure may not pass. The
asymptotic Gaussian accountant understates and is not used.
"""

from __future__ import annotations

import functools
import importlib.metadata
import math
import warnings
from collections.abc import Callable

from ehr_pipeline.errors import CheckFailed, OptionError
from ehr_pipeline.privacy.budget import Accounted, Budget, GaussianMechanism, Mechanism, PureMechanism

MOST_DIFFERENCE = 0.05
"""Relative difference of the two accountants from which on nothing is trusted."""
FINE_GRID, COARSE_GRID = 1e-4, 1e-3
"""Steps of privacy loss: of the figure that is reported, and of the search for a noise."""
SLACK = 2e-4
"""The noise that is found spends the budget to this relative accuracy, from below."""


def accounted(mechanisms: tuple[Mechanism, ...], delta: float) -> Accounted:
    """What the mechanisms spend together at `delta`, in any order, each chosen with sight of those before.

    Raises
    ------
    CheckFailed
        The accountants do not agree.
    """
    epsilon = _epsilon_pld(mechanisms, delta, FINE_GRID)
    gaussian = tuple(one for one in mechanisms if isinstance(one, GaussianMechanism))
    prv = None
    if gaussian:
        pld = epsilon if gaussian == mechanisms else _epsilon_pld(gaussian, delta, FINE_GRID)
        prv = _epsilon_prv(gaussian, delta, error=min(0.01, pld / 100))
        require_agreement(pld, prv)
    rdp = _epsilon_rdp(mechanisms, delta)
    if rdp < epsilon * (1 - MOST_DIFFERENCE):
        raise CheckFailed("the Renyi bound lies below the privacy loss distribution's epsilon: one of them is wrong")
    version = importlib.metadata.version("dp-accounting")
    return Accounted(
        epsilon=epsilon, delta=delta, epsilon_prv=prv, epsilon_rdp=rdp, accountant=f"dp-accounting {version} PLD"
    )


def require_agreement(one: float, other: float) -> None:
    """Make sure that two accountants agree.

    Raises
    ------
    CheckFailed
        They differ by more than `MOST_DIFFERENCE`.
    """
    if not abs(one - other) <= MOST_DIFFERENCE * max(one, other) + 1e-3:
        raise CheckFailed(f"two accountants disagree on what would be spent ({one:.4g} and {other:.4g}): nothing runs")


def noise_for(mechanisms: Callable[[float], tuple[Mechanism, ...]], budget: Budget) -> float:
    """The least noise with which `mechanisms` (of a noise multiplier) keeps to the budget.

    Raises
    ------
    OptionError
        No noise up to 10,000 sensitivities does: the rest of the mechanisms spends it already.
    """

    def spends(noise: float, grid: float) -> float:
        return _epsilon_pld(mechanisms(noise), budget.delta, grid)

    low, high = 0.05, 0.4
    while spends(high, COARSE_GRID) > budget.epsilon:
        low, high = high, high * 2
        if high > 1e4:
            raise OptionError(f"--epsilon {budget.epsilon:g} at --delta {budget.delta:g} is too small for any noise")
    # The coarse grid overstates a little: it brackets the answer from above, and the fine grid ends the search.
    while high / low > 1.02:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if spends(middle, COARSE_GRID) <= budget.epsilon else (middle, high)
    low = high / 1.05
    while high / low > 1 + SLACK:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if spends(middle, FINE_GRID) <= budget.epsilon else (middle, high)
    return high


@functools.cache
def total_noise(budget: Budget) -> float:
    """The noise of a single Gaussian mechanism that spends the whole budget.

    A share of it, s, is spent by a Gaussian mechanism of noise `total_noise / sqrt(s)`: the inverse squares of the
    noises of Gaussian mechanisms add up (Dong, Roth, Su 2022, corollary 3.3), so shares that sum to 1 spend it exactly.
    """
    return noise_for(lambda noise: (GaussianMechanism(name="all", noise_multiplier=noise),), budget)


def _epsilon_pld(mechanisms: tuple[Mechanism, ...], delta: float, grid: float) -> float:
    from dp_accounting.pld import common
    from dp_accounting.pld import privacy_loss_distribution as pld

    parts = []
    for one in mechanisms:
        if isinstance(one, PureMechanism):
            parameters = common.DifferentialPrivacyParameters(one.epsilon)
            part = pld.from_privacy_parameters(parameters, value_discretization_interval=grid)
        elif one.sampling_rate < 1:
            part = pld.from_gaussian_mechanism(
                one.noise_multiplier, sampling_prob=one.sampling_rate, value_discretization_interval=grid
            )
        else:  # so many Gaussians are one of less noise
            noise = one.noise_multiplier / math.sqrt(one.steps)
            parts.append(pld.from_gaussian_mechanism(noise, value_discretization_interval=grid))
            continue
        parts.append(part.self_compose(one.steps) if one.steps > 1 else part)
    if not parts:
        return 0.0
    return float(functools.reduce(lambda composed, part: composed.compose(part), parts).get_epsilon_for_delta(delta))


def _epsilon_prv(mechanisms: tuple[GaussianMechanism, ...], delta: float, error: float) -> float:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(one.noise_multiplier, one.sampling_rate, one.steps) for one in mechanisms]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # logarithms of 0 at the edge of its grid, orders of its first guess
        return float(accountant.get_epsilon(delta, eps_error=error))


def _epsilon_rdp(mechanisms: tuple[Mechanism, ...], delta: float) -> float:
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent, ZCDpEvent
    from dp_accounting.rdp import RdpAccountant

    # Whole orders alone: the series of the others does not always converge, and is slow.
    accountant = RdpAccountant(orders=[*range(2, 65), 96, 128, 192, 256, 512, 1024])
    for one in mechanisms:
        if isinstance(one, PureMechanism):  # epsilon-private is (epsilon^2 / 2)-zCDP (Bun and Steinke 2016)
            event = ZCDpEvent(one.epsilon**2 / 2)
        elif one.sampling_rate < 1:
            event = PoissonSampledDpEvent(one.sampling_rate, GaussianDpEvent(one.noise_multiplier))
        else:
            event = GaussianDpEvent(one.noise_multiplier)
        accountant.compose(SelfComposedDpEvent(event, one.steps))
    return float(accountant.get_epsilon(delta))
