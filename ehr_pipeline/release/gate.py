"""The gate: nothing is released unless every check of this room says so about exactly this data and this model.

What belongs here: the order of checks, and that a check which cannot run is a reason. What does not: the checks
(`checks.py`, `spending.py`) and what is made once the gate is open (`bundle.py`). The gate reads what the stages left
and runs none of them, so that no run that leaves a check out can pass it: what is not there, or is about other data,
refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ehr_pipeline.errors import EhrPipelineError, OptionError, ReleaseRefused
from ehr_pipeline.release import checks
from ehr_pipeline.release.evidence import Evidence, gather
from ehr_pipeline.release.policy import Policy, load_policy
from ehr_pipeline.release.spending import NON_PRIVATE, Spending, spending_of
from ehr_pipeline.storage import DataFolder

CHECKS: dict[str, Callable[[Evidence, Policy], list[str]]] = {
    "what the records are about": checks.binding,
    "the report": checks.reported,
    "the clinical rules": checks.clinical,
    "the number of patients": checks.enough_patients,
    "the attacks": checks.attacked,
    "rare codes": checks.rare_words,
    "the audit": checks.audited,
    "the quality": checks.good_enough,
}


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """What passed the gate, and under what: all that a bundle is made from."""

    evidence: Evidence
    policy: Policy
    spending: Spending
    approvers: tuple[str, ...]

    @property
    def is_private(self) -> bool:
        """Whether a budget stands behind the model."""
        return self.spending.plan is not None


def examine(
    data: DataFolder, cohort: str, generator: str, *, tier: str | None = None, approvers: Sequence[str] = ()
) -> Cleared:
    """Ask everything.

    Parameters
    ----------
    tier
        `non-private` for a model without a budget, said out loud; None for one with a budget.
    approvers
        Names of the people who approve.

    Raises
    ------
    ReleaseRefused
        Something speaks against it; every reason is in it.
    OptionError, DefinitionError
        A name, the tier or the policy file is wrong.
    """
    if tier not in (None, NON_PRIVATE):
        raise OptionError(f"--tier can only be {NON_PRIVATE}; leave it out for a model with a budget")
    policy = load_policy(data)
    evidence = gather(data.cohort(cohort), generator)
    reasons: list[str] = []
    for what, check in CHECKS.items():
        reasons += _closed(what, lambda check=check: check(evidence, policy))
    reasons += checks.approved(approvers, policy)
    found: list[Spending] = []

    def spend() -> list[str]:
        spending, against = spending_of(data, evidence, policy, tier)
        found.append(spending)
        return against

    reasons += _closed("what was spent", spend)
    if reasons or not found:
        raise ReleaseRefused(list(dict.fromkeys(reasons)))
    return Cleared(evidence=evidence, policy=policy, spending=found[0], approvers=tuple(approvers))


def _closed(what: str, check: Callable[[], list[str]]) -> list[str]:
    """The reasons that a check gives; one that cannot run is a reason itself."""
    try:
        return check()
    except EhrPipelineError as error:
        return [str(error)]
    except Exception as error:  # noqa: BLE001  whatever goes wrong must close the gate; its text may hold a value
        return [f"{what} could not be checked ({type(error).__name__}); a file is not in the form it is written in"]
