"""What is promised to each patient, and the plan that keeps it: known before any patient is looked at.

What belongs here: budgets, mechanisms, and the plan of one private fit, as plain values. What does not: noise
(`noise.py`), how mechanisms add up (`accountant.py`), what was spent before (`ledger.py`).

The unit is the patient: two tables are neighbours if one has all rows of one more patient (add or remove one).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ehr_pipeline.errors import OptionError

UNIT = "patient, add or remove one"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """(epsilon, delta) per patient, that all of a private fit must keep to."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        """Refuse what is no budget.

        Raises
        ------
        OptionError
            Epsilon is not a number above 0, or delta not one between 0 and 1.
        """
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise OptionError("--epsilon must be a number above 0")
        if not 0 < self.delta < 1:
            raise OptionError("--delta must lie between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class GaussianMechanism:
    """Gaussian noise on what one patient moves by at most 1 (Euclidean norm), `steps` times.

    Attributes
    ----------
    name
        What is measured, for the ledger.
    noise_multiplier
        Standard deviation of the noise in units of the sensitivity.
    sampling_rate
        Chance of each patient to take part in a step (Poisson sampling); 1 means all do.
    """

    name: str
    noise_multiplier: float
    sampling_rate: float = 1.0
    steps: int = 1


@dataclass(frozen=True, kw_only=True)
class PureMechanism:
    """A choice or answer that is epsilon-private by itself (exponential mechanism, Laplace), `steps` times."""

    name: str
    epsilon: float
    steps: int = 1


@dataclass(frozen=True, kw_only=True)
class ShuffledMechanism:
    """Each patient's own epsilon-private report, shuffled among those of `n_patients` patients, `steps` times."""

    name: str
    epsilon: float
    n_patients: int
    steps: int = 1


Mechanism = GaussianMechanism | PureMechanism | ShuffledMechanism


@dataclass(frozen=True, kw_only=True)
class Accounted:
    """What mechanisms spend together.

    Attributes
    ----------
    epsilon, delta
        What is reported: by the privacy loss distribution (PLD), an upper bound.
    epsilon_prv
        Of the Gaussian mechanisms alone, by Opacus' PRV accountant; None without one.
    epsilon_rdp
        Of all, by Renyi divergences: looser, never below.
    accountant
        Name and version of what computed `epsilon`.
    """

    epsilon: float
    delta: float
    epsilon_prv: float | None
    epsilon_rdp: float
    accountant: str


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """Everything that one private fit will do with patients, computed from public settings alone.

    Attributes
    ----------
    budget
        What was asked for.
    mechanisms
        All of them, in order.
    accounted
        What they spend: at most the budget.
    notes
        Lines for a person: adjacency or bounds that differ from the usual, what a mode does not promise.
    """

    budget: Budget
    mechanisms: tuple[Mechanism, ...]
    accounted: Accounted
    unit: str = UNIT
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterable[str]:
        """What will be spent, for a terminal or a log."""
        spent = self.accounted
        yield f"privacy: epsilon {spent.epsilon:.4g} at delta {spent.delta:.3g} per {self.unit} ({spent.accountant})"
        for mechanism in self.mechanisms:
            yield f"  {told(mechanism)}"
        yield from self.notes

    def record(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "unit": self.unit,
            "budget": asdict(self.budget),
            "mechanisms": [{"kind": type(one).__name__} | asdict(one) for one in self.mechanisms],
            "accounted": asdict(self.accounted),
            "notes": list(self.notes),
        }

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> PrivacyPlan:
        """Read what `record` made."""
        kinds = {one.__name__: one for one in (GaussianMechanism, PureMechanism, ShuffledMechanism)}
        mechanisms = [dict(one) for one in record["mechanisms"]]
        return cls(
            budget=Budget(**record["budget"]),
            mechanisms=tuple(kinds[one.pop("kind")](**one) for one in mechanisms),
            accounted=Accounted(**record["accounted"]),
            unit=record["unit"],
            notes=tuple(record["notes"]),
        )


def told(mechanism: Mechanism) -> str:
    """One mechanism in words."""
    times = f", {mechanism.steps:,} times" if mechanism.steps > 1 else ""
    if isinstance(mechanism, PureMechanism):
        return f"{mechanism.name}: epsilon {mechanism.epsilon:.4g}{times}"
    if isinstance(mechanism, ShuffledMechanism):
        return f"{mechanism.name}: epsilon {mechanism.epsilon:.4g}{times}, shuffled among {mechanism.n_patients:,}"
    rate = f", each patient with chance {mechanism.sampling_rate:.4g}" if mechanism.sampling_rate < 1 else ""
    return f"{mechanism.name}: Gaussian noise of {mechanism.noise_multiplier:.4g} sensitivities{rate}{times}"
