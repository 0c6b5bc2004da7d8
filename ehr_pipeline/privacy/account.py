"""Whose patients a run touches and where that is written down: between a fit and the ledger.

What belongs here: the ledger, caps and universe that a run means. What does not: the ledger itself (`ledger.py`), what
the policy says (`release/policy.py`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.errors import CheckFailed, OptionError
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.privacy.entries import EVERYONE, Entry
from ehr_pipeline.privacy.ledger import Ledger
from ehr_pipeline.storage import DataFolder, read_json

DEFAULT_DELTA = 1e-6
"""Delta where none is asked for: below one over the patients of most hospitals."""
UNIVERSE = re.compile(r"\S(.{0,62}\S)?")


@dataclass(frozen=True, kw_only=True)
class Account:
    """Where fits are written down.

    Attributes
    ----------
    data
        The data folder whose ledger and policy hold.
    why
        Command or job, and run.
    universe
        Patients that a person states to be others than those of every other universe; None for all of the data folder.
    """

    data: DataFolder
    why: str
    universe: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name that could not be printed on a line; OptionError."""
        if self.universe is not None and not (self.universe.isprintable() and UNIVERSE.fullmatch(self.universe)):
            raise OptionError("--universe must be a name of 1 to 64 printable characters")

    @property
    def ledger(self) -> Ledger:
        """The data folder's ledger."""
        return Ledger(self.data.ledger)

    def charge(self, plan: PrivacyPlan | None, *, source: str, generator: str, data_fingerprint: str) -> str:
        """Write a fit down before it starts; returns the entry's id.

        What is charged is the budget, or what the plan spends where that is more. A fit without a plan is internal.

        Raises
        ------
        BudgetExceeded
            It would pass a cap of the policy.
        LedgerBroken
            The ledger does not verify.
        InputError
            The policy or the folder cannot be used.
        """
        said = self._said(source, generator, data_fingerprint)
        if plan is None:
            entry = Entry(kind="internal", epsilon=math.inf, delta=0.0, **said)
            return self.ledger.record_internal(entry)
        entry = Entry(
            kind="spend",
            unit=plan.unit,
            epsilon=max(plan.budget.epsilon, plan.accounted.epsilon),
            delta=max(plan.budget.delta, plan.accounted.delta),
            accountant=plan.accounted.accountant,
            mechanisms=plan.record(),
            **said,
        )
        return self.ledger.reserve(entry, **self._caps())

    def require_room(self, budget: Budget) -> None:
        """Tell in a moment that a budget is beyond the caps, before a table is read; errors as `charge`'s."""
        entry = Entry(kind="spend", epsilon=budget.epsilon, delta=budget.delta, **self._said("", "", ""))
        self.ledger.require_room(entry, **self._caps())

    def _said(self, source: str, generator: str, data_fingerprint: str) -> dict[str, Any]:
        return {
            "universe": self.universe or EVERYONE,
            "is_stated": self.universe is not None,
            "data_fingerprint": data_fingerprint,
            "source": source,
            "generator": generator,
            "why": self.why,
        }

    def _caps(self) -> dict[str, float]:
        from ehr_pipeline.release.policy import load_policy

        policy = load_policy(self.data)
        return {"cap_epsilon": policy.epsilon_cap, "cap_delta": policy.delta_cap}


def asked_budget(epsilon: float | None, delta: float | None) -> Budget | None:
    """The budget that options ask for, None without epsilon; OptionError for what is none."""
    if epsilon is None:
        if delta is not None:
            raise OptionError("--delta says nothing without --epsilon")
        return None
    return Budget(epsilon=epsilon, delta=DEFAULT_DELTA if delta is None else delta)


def require_kept(plan: PrivacyPlan, kept: PrivacyPlan | None) -> None:
    """Make sure that a fit kept to the plan that was charged.

    Raises
    ------
    CheckFailed
        It says that it did something else: what it made must not be kept.
    """
    if kept is None or kept.accounted != plan.accounted or kept.mechanisms != plan.mechanisms:
        raise CheckFailed("the private fit did not keep to the plan that was written down: its model is thrown away")


def verify_ledger(data: DataFolder) -> str:
    """Prove a data folder's ledger, with the entries that its models keep as witnesses; returns a line that says so.

    Raises
    ------
    LedgerBroken
        Something was altered, cut off or taken away.
    """
    cards = [read_json(folder.model / "model.json") for folder in data.models()]
    kept = [card["ledger_entry"] for card in cards if card.get("ledger_entry")]
    rows = Ledger(data.ledger).verify(kept)
    if not rows:
        return f"{data.ledger}: nothing was written down yet"
    return (
        f"{data.ledger}: {len(rows):,} rows hold together, the last is {rows[-1].id}; {len(kept)} models bear witness"
    )
