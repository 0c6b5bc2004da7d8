"""What an attack's hits prove about epsilon: a bound from below, that no guarantee may lie under.

What belongs here: arithmetic of hits. What does not: the attack (`audit.py`).

- Two worlds: a mechanism runs many times on each of two neighbouring tables. Of an event's two rates, with
  Clopper-Pearson limits, (epsilon, delta)-privacy allows p <= e^epsilon p' + delta, both ways and for the complement.
- One run: each of m canaries is in with chance 1/2, independently, and r of them are guessed, v rightly. Under
  (epsilon, delta)-privacy v is hardly more than Bin(r, e^epsilon / (e^epsilon + 1)) (Steinke, Nasr, Jagielski 2023,
  https://arxiv.org/abs/2305.08846, theorem 5.2; the form of its appendix D).

An audit only ever falsifies. With v = r right guesses the most it can prove is the ceiling ln(q / (1 - q)),
q = (1 - confidence)^(1/r): below that, "nothing found" says nothing about what lies above.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import beta, binom

CONFIDENCE = 0.95
HIGHEST = 40.0
"""Epsilon up to which a bound is looked for."""


def epsilon_lower_bound(
    hits: int, n: int, false_hits: int, n_false: int, *, delta: float = 0.0, confidence: float = CONFIDENCE
) -> float:
    """Epsilon that two worlds prove: an event came `hits` of `n` times in one, `false_hits` of `n_false` in the other.

    Which event, and in which world it is the likelier, must be settled without these runs.

    >>> round(epsilon_lower_bound(100, 100, 0, 100), 2)
    3.28
    >>> epsilon_lower_bound(50, 100, 50, 100)
    0.0
    """
    tail = (1 - confidence) / 2
    rate, false_rate = _lowest(hits, n, tail), _highest(false_hits, n_false, tail)
    return max(0.0, _log_ratio(rate - delta, false_rate), _log_ratio(1 - false_rate - delta, 1 - rate))


def one_run_bound(
    n_canaries: int, n_guesses: int, n_right: int, *, delta: float = 0.0, confidence: float = CONFIDENCE
) -> float:
    """Epsilon that one run proves, with `n_right` of `n_guesses` guesses right about `n_canaries` canaries.

    >>> round(one_run_bound(100, 100, 90, delta=1e-6), 2)
    1.63
    """
    low, high = 0.0, HIGHEST
    if chance_of_so_many(n_canaries, n_guesses, n_right, 0.0, delta) > 1 - confidence:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        is_proved = chance_of_so_many(n_canaries, n_guesses, n_right, middle, delta) <= 1 - confidence
        low, high = (middle, high) if is_proved else (low, middle)
    return low


def ceiling(n_canaries: int, n_guesses: int, *, delta: float = 0.0, confidence: float = CONFIDENCE) -> float:
    """The most that so many guesses can prove: all of them right.

    >>> round(ceiling(60, 60), 2), round(ceiling(100, 100), 2)
    (2.97, 3.49)
    """
    return one_run_bound(n_canaries, n_guesses, n_guesses, delta=delta, confidence=confidence)


def chance_of_so_many(n_canaries: int, n_guesses: int, n_right: int, epsilon: float, delta: float) -> float:
    """Bound on the chance of at least `n_right` right guesses under (epsilon, delta)-privacy.

    With W ~ Bin(r, q): P[W >= v] + 2 m delta max_i P[v > W >= v - i] / i.
    """
    q = 1 / (1 + math.exp(-epsilon))
    chance = float(binom.sf(n_right - 1, n_guesses, q))
    if delta and n_right:
        below = np.cumsum(binom.pmf(np.arange(n_right - 1, -1, -1), n_guesses, q))
        chance += 2 * n_canaries * delta * float((below / np.arange(1, n_right + 1)).max())
    return min(1.0, chance)


def _log_ratio(above: float, below: float) -> float:
    return math.log(above / below) if above > 0 and below > 0 else 0.0


def _lowest(hits: int, n: int, tail: float) -> float:
    return float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0


def _highest(hits: int, n: int, tail: float) -> float:
    return float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
