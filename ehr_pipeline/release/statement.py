"""What the privacy statement says of a model's promise, in words and rows, from the plan that the fit kept to.

What belongs here: sentences that depend on the plan. The words that hold for every release are in `pages/`. What does
not: whether the promise is enough (`spending.py`).
"""

from __future__ import annotations

import math

from ehr_pipeline.privacy.budget import (
    UNIT,
    GaussianMechanism,
    Mechanism,
    PrivacyPlan,
    PureMechanism,
    ShuffledMechanism,
)

PRIVATE_WORDS = "private: a budget bounds what may be learned of any one patient"
NON_PRIVATE_WORDS = "non-private: no formal promise"
PRIOR = 0.5


def belief_at_most(epsilon: float, prior: float = PRIOR) -> float:
    """How sure somebody can become who was `prior` sure which of two neighbouring data sets was used (delta aside).

    Bayes' rule with a likelihood ratio of at most e^epsilon.

    >>> round(belief_at_most(1.0), 2), belief_at_most(0.0), belief_at_most(1000.0)
    (0.73, 0.5, 1.0)
    """
    return 1 / (1 + math.exp(-epsilon) * (1 - prior) / prior)


def parameters(plan: PrivacyPlan) -> list[tuple[str, str]]:
    """The promise in numbers, each with what it means."""
    spent = plan.accounted
    checked = [f"Renyi divergences, which may not lie below it: {spent.epsilon_rdp:.4g}"]
    if spent.epsilon_prv is not None:
        checked.append(f"Opacus' PRV accountant, within 5 % of it for the Gaussian part: {spent.epsilon_prv:.4g}")
    return [
        ("Epsilon", f"{spent.epsilon:.4g} (asked for: {plan.budget.epsilon:.4g})"),
        ("Delta", f"{spent.delta:.3g}, the chance that the promise does not hold"),
        ("Unit", plan.unit),
        ("Computed by", spent.accountant),
        ("Checked by", "; ".join(checked)),
        (
            "In words",
            f"somebody who knows every other patient, and was {100 * PRIOR:.0f} % sure {_secret(plan)}, can become at "
            f"most {math.ceil(100 * belief_at_most(spent.epsilon))} % sure",
        ),
    ]


def _secret(plan: PrivacyPlan) -> str:
    return "which of two records a patient has" if is_replace_one(plan) else "that a patient was in the data"


def mechanisms(plan: PrivacyPlan) -> list[tuple[str, str, str, str]]:
    """One row per mechanism: what is measured, kind of noise, its size, how often."""
    return [(one.name, *_kind(one), f"{one.steps:,}") for one in plan.mechanisms]


def _kind(mechanism: Mechanism) -> tuple[str, str]:
    if isinstance(mechanism, PureMechanism):
        return "pure (Laplace or exponential)", f"epsilon {mechanism.epsilon:.4g} each"
    if isinstance(mechanism, ShuffledMechanism):
        return "local, shuffled", f"epsilon {mechanism.epsilon:.4g} each, among {mechanism.n_patients:,} patients"
    rate = f", each patient with chance {mechanism.sampling_rate:.4g}" if mechanism.sampling_rate < 1 else ""
    return "Gaussian", f"{mechanism.noise_multiplier:.4g} sensitivities{rate}"


def is_trained(plan: PrivacyPlan) -> bool:
    """Whether some noise was drawn by the training library (DP-SGD) rather than by OpenDP."""
    return any(isinstance(one, GaussianMechanism) and one.sampling_rate < 1 for one in plan.mechanisms)


def is_replace_one(plan: PrivacyPlan) -> bool:
    """Whether the unit is another one than adding or removing a patient, so that the epsilon compares with no other."""
    return plan.unit != UNIT
