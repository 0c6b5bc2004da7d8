"""What stands behind a model: its budget, the ledger's word for it and the cap; or the non-private tier, said aloud.

What belongs here: checks on spending, and what of it is told. What does not: accounting (`privacy/accountant.py`) and
writing the ledger (`privacy/ledger.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ehr_pipeline.privacy.accountant import accounted
from ehr_pipeline.privacy.budget import UNIT, PrivacyPlan
from ehr_pipeline.privacy.ledger import Ledger, Recorded, Total
from ehr_pipeline.release.evidence import Evidence
from ehr_pipeline.release.policy import Policy
from ehr_pipeline.storage import DataFolder

PRIVATE, NON_PRIVATE = "private", "non-private"
ROUNDING = 1 + 1e-6
"""Two computations of one epsilon may differ by so much."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What a model spent and what its patients have spent in all.

    Attributes
    ----------
    plan
        What the private fit did; None for a model without a budget.
    entry
        The model's row in the ledger; None only beside a reason.
    total
        What the ledger knows of the same patients, this model included; None only beside a reason.
    """

    tier: str
    plan: PrivacyPlan | None
    entry: Recorded | None
    total: Total | None

    @property
    def totals_words(self) -> str:
        """The total for a reader outside."""
        if self.total is None:
            return "not known"
        spends = f"{self.total.n_spends} private fit{'' if self.total.n_spends == 1 else 's'}"
        if self.plan is None or math.isinf(self.total.epsilon):
            return "epsilon infinity: a model without a budget is released, which nothing bounds"
        return f"epsilon {self.total.epsilon:.4g}, delta {self.total.delta:.3g}, in {spends}, released or not"


def spending_of(data: DataFolder, evidence: Evidence, policy: Policy, tier: str | None) -> tuple[Spending, list[str]]:
    """What the model spent, and the reasons that speak against releasing it.

    Raises
    ------
    LedgerBroken
        The ledger does not verify.
    """
    record = evidence.privacy
    plan = None if record is None else PrivacyPlan.of_record(record)
    reasons = _of_tier(evidence, policy, tier, plan)
    if plan is not None:
        reasons += _of_plan(evidence, policy, plan)
    ledger = Ledger(data.ledger)
    rows = ledger.verify()
    entry = next((row for row in rows if row.id == evidence.model.get("ledger_entry")), None)
    total = None
    if entry is None:
        reasons.append(f"the ledger has no entry for the model of {evidence.generator}; train it again")
    else:
        reasons += _of_entry(evidence, plan, entry)
        total = next(one for one in ledger.totals() if one.universe == entry.universe)
        if plan is not None:
            reasons += _of_total(policy, total)
    spending = Spending(tier=PRIVATE if plan else NON_PRIVATE, plan=plan, entry=entry, total=total)
    return spending, reasons


def _of_tier(evidence: Evidence, policy: Policy, tier: str | None, plan: PrivacyPlan | None) -> list[str]:
    """Whether the tier that was said is the one that the model has, and may be released."""
    g = evidence.generator
    if evidence.model["config"].get("mode") == "as_published":
        return [f"{g} in mode as_published promises what does not hold; its output is never released"]
    if plan is not None:
        said = f"{g} has a budget; leave --tier {NON_PRIVATE} out, so that it is not labelled as having none"
        return [said] if tier == NON_PRIVATE else []
    if not policy.non_private_tier:
        return [f"{g} has no budget, and the policy releases no model without one; train it with --epsilon"]
    if tier != NON_PRIVATE:
        return [f"{g} has no budget; train it with --epsilon, or say --tier {NON_PRIVATE} out loud"]
    return []


def _of_plan(evidence: Evidence, policy: Policy, plan: PrivacyPlan) -> list[str]:
    """Whether the plan keeps to its own budget, to the policy, and adds up once more."""
    g, spent, budget = evidence.generator, plan.accounted, plan.budget
    reasons = []
    if not (spent.epsilon <= budget.epsilon * ROUNDING and spent.delta <= budget.delta * ROUNDING):
        reasons.append(f"{g} spent more than the budget it was given")
    if not spent.epsilon <= policy.epsilon_cap * ROUNDING:
        reasons.append(f"{g} spent epsilon {spent.epsilon:.4g}; the policy allows {policy.epsilon_cap:g}")
    if not spent.delta <= policy.delta_cap * ROUNDING:
        reasons.append(f"{g} has delta {spent.delta:.3g}; the policy allows {policy.delta_cap:g}")
    if not plan.mechanisms:
        reasons.append(f"the plan of {g} names no mechanism, so that its budget has no proof")
    elif plan.unit == UNIT and accounted(plan.mechanisms, spent.delta).epsilon > spent.epsilon * 1.01:
        reasons.append(f"the mechanisms of {g} add up to more than the epsilon it states")
    return reasons


def _of_entry(evidence: Evidence, plan: PrivacyPlan | None, entry: Recorded) -> list[str]:
    """Whether the ledger says of the model what the model says of itself."""
    g = evidence.generator
    expected = {
        "kind": "internal" if plan is None else "spend",
        "generator": g,
        "source": evidence.cohort,
        "data_fingerprint": evidence.model["data_fingerprint"],
    }
    reasons = [
        f"the ledger's entry for the model of {g} is of another {name.replace('_', ' ')}; train it again"
        for name, value in expected.items()
        if getattr(entry, name) != value
    ]
    if plan is not None and PrivacyPlan.of_record(entry.mechanisms or {}).mechanisms != plan.mechanisms:
        reasons.append(f"the ledger was told of other mechanisms than the model of {g} says it used; train it again")
    if plan is not None and not (
        plan.accounted.epsilon <= entry.epsilon * ROUNDING and plan.accounted.delta <= entry.delta * ROUNDING
    ):
        reasons.append(f"the model of {g} spent more than the ledger was told; train it again")
    return reasons


def _of_total(policy: Policy, total: Total) -> list[str]:
    """Whether everything spent on the same patients stays under the caps."""
    if math.isinf(total.epsilon):
        return ["a model without a budget of the same patients is released: no budget promises them anything now"]
    reasons = []
    if not total.epsilon <= policy.epsilon_cap * ROUNDING:
        reasons.append(
            f"all private fits on these patients spent epsilon {total.epsilon:.4g}; the policy's cap is "
            f"{policy.epsilon_cap:g}"
        )
    if not total.delta <= policy.delta_cap * ROUNDING:
        reasons.append(f"their deltas add up to {total.delta:.3g}; the policy's cap is {policy.delta_cap:g}")
    return reasons
