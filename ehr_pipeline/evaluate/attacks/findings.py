"""From what an attack scored, on a table and on its twins, to scores with verdicts.

What belongs here: the types that attacks share, and how their planted leaks decide what they may say. What does not:
any attack; the order in which they are run (`panel.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ehr_pipeline.evaluate.attacks.plants import TABLE, Suspect
from ehr_pipeline.evaluate.result import Attack, PlantedLeak, Score
from ehr_pipeline.evaluate.scoring import Readings, assemble
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.evaluate.verdicts import decide, is_worse

MISSED = "the attack misses a leak planted for it here ({}), so that it cannot show safety"
UNMOVED = "the planted leaks hardly move this score, so that it can fail and not pass"


@dataclass(frozen=True)
class Levels:
    """How surely chance must stay below a limit, so that it stays below all of them together with `chance_level`.

    The chance of a false alarm is shared (Bonferroni): one equal part for each gate, and one for all the scores that
    can only fail, which share it among themselves.
    """

    thresholds: Thresholds
    n_gates: int
    n_watched: int

    @property
    def gate(self) -> float:
        """For a score that its attack needs in order to find its leaks."""
        return 1 - (1 - self.thresholds.chance_level) / (self.n_gates + 1)

    @property
    def watched(self) -> float:
        """For one of the others."""
        return 1 - (1 - self.gate) / max(self.n_watched, 1)


@dataclass(frozen=True)
class Outcome:
    """What an attack scored on one table, and what some of its scores may be there."""

    readings: Readings
    limits: dict[str, float]

    def alarms(self) -> dict[str, float]:
        """Scores outside their limits, and by how much."""
        values = {name: self.readings[name].value for name in self.limits}
        return {
            name: abs(value - self.limits[name])
            for name, value in values.items()
            if value is not None and is_worse(name, value, self.limits[name])
        }


class Tried(Protocol):
    """An attack, ready to be tried on tables."""

    name: str
    question: str
    gates: tuple[str, ...]
    watched: tuple[str, ...]
    floor: Readings
    null: Readings

    def must_find(self, planted: set[str]) -> tuple[str, ...]:
        """Of the leaks that could be planted, those that the attack is for."""

    def outcomes(self, suspect: Suspect, levels: Levels) -> dict[str, Outcome]:
        """The attack on a table and on each of its twins, by the name of the part."""


@dataclass(frozen=True)
class Finding:
    """One attack's outcomes on a table and on its twins."""

    attack: Tried
    outcomes: dict[str, Outcome]
    planted_share: float

    @property
    def table(self) -> Outcome:
        """The outcome on the table itself."""
        return self.outcomes[TABLE]

    @property
    def must_find(self) -> tuple[str, ...]:
        """The planted leaks that the attack is for."""
        return self.attack.must_find(set(self.outcomes) - {TABLE})

    @property
    def missed(self) -> list[str]:
        """Leaks that it is for and does not find."""
        return [plant for plant in self.must_find if not self.outcomes[plant].alarms()]

    def catches(self, name: str) -> bool:
        """Whether this score is outside its limit on a twin whose leak the attack is for."""
        return any(name in self.outcomes[plant].alarms() for plant in self.must_find)

    def scores(self, thresholds: Thresholds, n_patients: int) -> dict[str, Score]:
        """Scores with verdicts.

        One passes only if it fails a twin itself. One that does not is failed where its attack misses a leak it is
        for, and otherwise a diagnostic that can still fail: an average over all patients hardly moves with 1 % of
        them, and the scores beside it that look at the few do.
        """
        found = assemble(self.table.readings, self.attack.floor, self.attack.null)
        missed = self.missed
        for name, limit in self.table.limits.items():
            found[name] = decide(
                found[name],
                limit,
                control_is_caught=self.catches(name) and not missed,
                when_not=MISSED.format(", ".join(missed)) if missed else UNMOVED,
                verdict_when_not="failed" if missed else "diagnostic",
                thresholds=thresholds,
                n_patients=n_patients,
            )
        return found

    def as_attack(self) -> Attack:
        """The finding for the report; `planted_value` is that of the leak, among those it is for, seen least."""
        plants = [self._planted(plant) for plant in self.outcomes if plant != TABLE]
        own = [plant for plant in plants if plant.must_be_found] or plants
        least = min(own, key=lambda plant: (plant.is_found, (plant.value or 0) - (plant.limit or 0)), default=None)
        return Attack(
            name=self.attack.name,
            question=self.attack.question,
            score_names=list(self.table.readings),
            planted_share=self.planted_share,
            planted_value=least.value if least else None,
            planted_score=least.score if least else None,
            found_plant=bool(self.must_find) and not self.missed,
            plants=plants,
        )

    def _planted(self, plant: str) -> PlantedLeak:
        """What the attack made of one leak, by the score that tells best."""
        outcome, alarms = self.outcomes[plant], self.outcomes[plant].alarms()
        values = {name: outcome.readings[name].value for name in outcome.limits}
        excess = {name: -np.inf if value is None else value - outcome.limits[name] for name, value in values.items()}
        best = max(alarms or excess, key=lambda name: excess[name])
        return PlantedLeak(
            plant=plant,
            must_be_found=plant in self.must_find,
            is_found=bool(alarms),
            score=best,
            value=values[best],
            limit=outcome.limits[best],
        )
