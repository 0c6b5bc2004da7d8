"""Amplification by shuffling: what noise on each patient's own value is worth once nobody knows whose value is whose.

What belongs here: the central guarantee of shuffled local reports. What does not: the reports themselves (`noise.py`),
what a generator makes of them.

n patients each report through the same eps0-private randomiser, and the reports are permuted at random (Feldman,
McMillan, Talwar 2020, https://arxiv.org/abs/2012.12803). One patient then hides among the clones of its value that the
others' noise makes. Two bounds:

- the privacy loss of the pair of distributions to which the proof reduces every such shuffle, composed over blocks
  numerically: what is reported. Clones C ~ Bin(n - 1, e^-eps0), A ~ Bin(C, 1/2), and the patient's own report D = 1
  with chance e^eps0 / (e^eps0 + 1): P is the law of (A + D, C - A + 1 - D), Q that of (A + 1 - D, C - A + D);
- the closed form of theorem 3.1, block by block, epsilons and deltas added: looser, a check.

Both were compared with the authors' own code (github.com/apple/ml-shuffling-amplification): the pair and its chances
are theirs; the closed form is the one of the paper's later versions, whose constants agree with theirs to a factor
below 2 and with the account of it at differentialprivacy.org (24 May 2022). Of the two conditions in circulation, the
stricter (4 / delta) is kept.

The unit is not that of the rest of this package: one patient's values are *replaced*, and the number of patients is
public. An epsilon for adding or removing a patient counts twice in this unit; none of this unit counts in that one.
"""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp
from scipy.stats import binom

from ehr_pipeline.errors import CheckFailed
from ehr_pipeline.privacy.budget import Accounted

UNIT = "patient, replace one (the number of patients is public)"
MOST_BUCKETS = 32
"""Numbers of clones that are told apart; in a bucket the fewest count, which only overstates."""
TAIL_SD = 9.0
"""Outcomes further out than so many standard deviations count as if they told the most they can."""
STEPS_PER_SD = 100
MOST_STEPS = 20_000
"""Steps of privacy loss in a standard deviation of one block's loss, and from no loss to the largest, at most."""
ORDERS = np.concatenate([np.linspace(1.05, 16, 80), np.geomspace(16, 4096, 80)])
"""Orders of the Renyi divergences by which the composition is checked."""
SLACK = 1e-3
MOST_LOCAL = 30.0
"""Local epsilons beyond this keep every value as it is, for all that is worth."""


def closed_form(eps0: float, n: int, delta: float) -> float:
    """Central epsilon of one block at `delta` by theorem 3.1; eps0 itself where the theorem does not hold."""
    if n < 2 or eps0 > math.log(n / (16 * math.log(4 / delta))):
        return eps0
    spread = 8 * math.sqrt(math.exp(eps0) * math.log(4 / delta) / n) + 8 * math.exp(eps0) / n
    return min(eps0, math.log1p(math.tanh(eps0 / 2) * spread))


def shuffled(eps0: float, n_blocks: int, n: int, delta: float) -> Accounted:
    """What `n_blocks` reports of each of `n` patients spend, each eps0-private and shuffled by itself.

    Raises
    ------
    CheckFailed
        The composition lies above the closed form or its Renyi bound: one of them is wrong.
    """
    losses = _on_a_grid(*clone_losses(eps0, n), eps0)
    numerical = _composed(losses, n_blocks, delta)
    renyi = _renyi(losses, n_blocks, delta)
    epsilon = min(numerical, n_blocks * eps0)
    for looser in (renyi, n_blocks * closed_form(eps0, n, delta / n_blocks)):
        if epsilon > 1.05 * looser + 1e-3:
            raise CheckFailed("the shuffle's privacy loss lies above a bound that should be looser: one is wrong")
    version = importlib.metadata.version("dp-accounting")
    return Accounted(
        epsilon=epsilon,
        delta=delta,
        epsilon_prv=None,
        epsilon_rdp=max(renyi, epsilon),
        accountant=f"amplification by shuffling (2012.12803), dp-accounting {version} PLD",
    )


def local_epsilon(target_epsilon: float, n_blocks: int, n: int, delta: float) -> float:
    """The largest eps0 of each block (to 0.1 %, from below) whose central guarantee keeps to the target."""
    low = high = target_epsilon / n_blocks
    while high < MOST_LOCAL and shuffled(high, n_blocks, n, delta).epsilon <= target_epsilon:
        low, high = high, high * 2
    while high > low * (1 + SLACK):
        middle = math.sqrt(low * high)
        keeps = shuffled(middle, n_blocks, n, delta).epsilon <= target_epsilon
        low, high = (middle, high) if keeps else (low, middle)
    return low


def clone_losses(eps0: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Privacy losses ln P / Q of one block and their chances under P: float64 of shape (n_outcomes,) each.

    The same pair describes Q against P. Few clones tell more: a bucket of C counts as its smallest member, which
    simulates the others by adding clones. What lies in the tails counts as a loss of eps0, the largest there is.
    """
    share = math.exp(-eps0)
    mean, sd = (n - 1) * share, math.sqrt((n - 1) * share * (1 - share))
    first, last = max(0, math.floor(mean - TAIL_SD * sd)), min(n - 1, math.ceil(mean + TAIL_SD * sd))
    starts = np.unique(np.linspace(first, last + 1, MOST_BUCKETS + 1).astype(np.int64))[:-1]
    below = binom.cdf(starts - 1, n - 1, share)
    chances = np.diff(np.append(below, 1.0))
    parts = [_losses_among(int(clones), eps0) for clones in starts]
    losses = [loss for loss, _ in parts] + [np.array([eps0])]
    mass = [chance * part for chance, (_, part) in zip(chances, parts, strict=True)]
    rest = max(0.0, 1.0 - sum(float(part.sum()) for part in mass))
    return np.concatenate(losses), np.concatenate([*mass, [rest]])


def _losses_among(clones: int, eps0: float) -> tuple[np.ndarray, np.ndarray]:
    """Privacy losses among `clones` clones, and their chances under P, tails left out."""
    reach = math.ceil(TAIL_SD * math.sqrt(clones) / 2) + 2
    ones = np.arange(max(0, clones // 2 - reach), min(clones + 1, clones // 2 + reach + 1) + 1)
    zeros = clones + 1 - ones
    own = float(expit(eps0))
    mass = own * binom.pmf(ones - 1, clones, 0.5) + (1 - own) * binom.pmf(ones, clones, 0.5)
    return np.log(own * ones + (1 - own) * zeros) - np.log((1 - own) * ones + own * zeros), mass


@dataclass(frozen=True, eq=False)
class _Losses:
    """Privacy losses on a grid: chances `probs` of shape (n,) at (lowest + 0, 1, ...) * step."""

    step: float
    lowest: int
    probs: np.ndarray


def _on_a_grid(losses: np.ndarray, mass: np.ndarray, eps0: float) -> _Losses:
    """Losses rounded up to a grid that is fine for their spread."""
    mean = float(mass @ losses)
    sd = math.sqrt(float(mass @ (losses - mean) ** 2))
    step = max(eps0 / MOST_STEPS, sd / STEPS_PER_SD)
    index = np.ceil(losses / step - 1e-9).astype(np.int64)
    lowest = int(index.min())
    return _Losses(step=step, lowest=lowest, probs=np.bincount(index - lowest, weights=mass))


def _composed(losses: _Losses, n_blocks: int, delta: float) -> float:
    """Epsilon at `delta` of `n_blocks` such losses, by `dp-accounting`."""
    from dp_accounting.pld import pld_pmf
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

    one = pld_pmf.DensePLDPmf(losses.step, losses.lowest, losses.probs, infinity_mass=0.0, pessimistic_estimate=True)
    return float(PrivacyLossDistribution(one).self_compose(n_blocks).get_epsilon_for_delta(delta))


def _renyi(losses: _Losses, n_blocks: int, delta: float) -> float:
    """Epsilon at `delta` by Renyi divergences (Canonne, Kamath, Steinke 2020, proposition 12)."""
    held = np.flatnonzero(losses.probs)
    loss, log_mass = (losses.lowest + held) * losses.step, np.log(losses.probs[held])
    divergence = logsumexp(log_mass + (ORDERS[:, None] - 1) * loss, axis=1) / (ORDERS - 1)
    spent = n_blocks * divergence + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return float(max(0.0, spent.min()))
