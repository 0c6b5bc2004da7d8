"""What an attacker's ranking of people is worth: AUROC, and hits at a rate of false alarms.

What belongs here: how members and outsiders are told apart by a score, with intervals, and what chance
alone would give at the same numbers.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln
from scipy.stats import betabinom, norm, rankdata

from ehr_pipeline.evaluate.intervals import clopper_pearson, hanley_mcneil
from ehr_pipeline.evaluate.scoring import Reading


def ranking_auc(inside: np.ndarray, outside: np.ndarray) -> Reading:
    """AUROC of scores of members [n] over scores of outsiders [m], with Hanley and McNeil's interval."""
    if not len(inside) or not len(outside):
        return Reading(None, note="no members or no outsiders to tell apart")
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    auc = float((ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside)))
    return Reading(auc, *hanley_mcneil(auc, len(inside), len(outside)))


def hits_at(inside: np.ndarray, outside: np.ndarray, rate: float) -> Reading:
    """Share of members that score above all but a share `rate` of outsiders; ties are not hits."""
    if not len(inside) or not len(outside):
        return Reading(None, note="no members or no outsiders to tell apart")
    threshold = np.sort(outside)[::-1][int(rate * len(outside))]
    hits = int((inside > threshold).sum())
    return Reading(hits / len(inside), *clopper_pearson(hits, len(inside)))


def chance_auc(n: int, m: int, level: float) -> float:
    """The AUROC below which chance stays with this probability (Mann and Whitney's normal approximation)."""
    if not n or not m:
        return 1.0
    return float(0.5 + norm.ppf(level) * np.sqrt((n + m + 1) / (12 * n * m)))


def chance_hits(n: int, m: int, rate: float, level: float) -> float:
    """The rate of `hits_at` below which chance stays with this probability.

    Exact: how many of n members exceed the (k + 1)-th highest of m outsiders, all exchangeable, is
    beta-binomial with parameters k + 1 and m - k.
    """
    if not n or not m:
        return 1.0
    k = int(rate * m)
    return float(betabinom.ppf(level, n, k + 1, m - k) / n)


def chance_count(n: int, m: int, n_outside: int, level: float) -> int:
    """The most of n members that chance marks beside `n_outside` marked ones of m outsiders, with this probability.

    Exact where people are marked without a look at who is a member: of all that are marked, the members are
    hypergeometric.
    """
    if not n or not m:
        return n
    low, high = 0, n
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _few_outside(n, m, middle, n_outside) > 1 - level else (low, middle - 1)
    return low


def _few_outside(n: int, m: int, n_inside: int, n_outside: int) -> float:
    """Probability that of n_inside + n_outside marked people of n + m no more than `n_outside` are outsiders."""
    marked = n_inside + n_outside
    outside = np.arange(max(0, marked - n), n_outside + 1)
    logs = _log_choose(m, outside) + _log_choose(n, marked - outside) - _log_choose(n + m, np.array(marked))
    return float(np.exp(logs).sum())


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
