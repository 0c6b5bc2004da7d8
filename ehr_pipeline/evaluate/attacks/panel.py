"""All attacks on one synthetic table, their controls, and the privacy verdicts.

What belongs here: which attacks are run and how their findings become scores. Each attack is a file of its
own beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.attacks.attribute import AttributeInference
from ehr_pipeline.evaluate.attacks.copies import Copies
from ehr_pipeline.evaluate.attacks.distances import Distances
from ehr_pipeline.evaluate.attacks.membership import GATES, Membership
from ehr_pipeline.evaluate.attacks.people import Suspect, gather, plant
from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.result import Attack, Score
from ehr_pipeline.evaluate.scoring import Readings, assemble
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.evaluate.verdicts import decide, is_worse

MISSED = "the attack does not find its planted leak here, so that it cannot show safety"
UNMOVED = "a leak as small as the planted one hardly moves this score, so that it can fail and not pass"


@dataclass(frozen=True)
class Finding:
    """One attack's readings on the table and on its twin, the limits of its gating scores, and the twin's leak."""

    name: str
    question: str
    readings: Readings
    planted: dict[str, float | None]
    limits: dict[str, float]
    planted_share: float

    @property
    def found_plant(self) -> bool:
        """Whether some gate of the attack fails the twin."""
        return any(self.catches(name) for name in self.planted)

    def catches(self, name: str) -> bool:
        """Whether this gate fails the twin: its score there is outside its limit."""
        value = self.planted[name]
        return value is not None and is_worse(name, value, self.limits[name])


class Panel:
    """The attacks, prepared once for a cohort: people chosen, floors and nulls measured."""

    def __init__(
        self,
        encoding: Encoding,
        *,
        train: Encoded,
        holdout: Encoded,
        permuted: Encoded,
        secrets: tuple[str, ...],
        rng: np.random.Generator,
    ) -> None:
        people = gather(encoding, train, holdout, rng)
        self.people = people
        self.n_patients = min(len(np.unique(table.patient)) for table in (train, holdout))
        self.copies = Copies(train, holdout)
        self.membership = Membership(people)
        self.attributes = [AttributeInference(people, secret) for secret in secrets]
        self.distances = Distances(encoding, train, holdout, rng)
        self.floor = self.copies.floor | self.membership.floor() | self.distances.readings(self.distances.fresh, rng)
        self.null = (
            self.copies.readings(permuted)
            | self.membership.null(permuted, rng)
            | self.distances.readings(permuted, rng)
        )
        for attribute in self.attributes:
            self.floor |= attribute.floor()
            self.null |= attribute.null(permuted, rng)

    def assess(
        self, table: Encoded, thresholds: Thresholds, rng: np.random.Generator
    ) -> tuple[dict[str, Score], list[Attack]]:
        """Privacy scores with verdicts, and each attack with what its control showed.

        A gate passes only if it fails the twin itself. One that does not is failed where no gate of its attack
        does, and otherwise a diagnostic that can still fail: an average over all patients hardly moves with 1 %
        of them, and the gates beside it that look at the few do.
        """
        suspect = plant(table, self.people, rng)
        findings = [self._copies(table, suspect, thresholds), self._membership(suspect, thresholds)]
        findings += [self._attribute(attribute, suspect, thresholds) for attribute in self.attributes]
        scores: dict[str, Score] = {}
        for finding in findings:
            found = assemble(finding.readings, self.floor, self.null)
            for name, limit in finding.limits.items():
                found[name] = decide(
                    found[name],
                    limit,
                    control_is_caught=finding.catches(name),
                    when_not=UNMOVED if finding.found_plant else MISSED,
                    verdict_when_not="diagnostic" if finding.found_plant else "failed",
                    thresholds=thresholds,
                    n_patients=self.n_patients,
                )
            scores |= found
        scores |= assemble(self.distances.readings(table, rng), self.floor, self.null)
        return scores, [_as_attack(finding) for finding in findings]

    def _copies(self, table: Encoded, suspect: Suspect, thresholds: Thresholds) -> Finding:
        limit = self.copies.chance_limit(table, thresholds.chance_level) + thresholds.copies_excess
        planted = self.copies.planted_value(suspect)
        name = "exact_copies_train"
        clean, planted_share = self.copies.readings(table), suspect.planted_share
        return Finding("exact copies", Copies.question, clean, {name: planted}, {name: limit}, planted_share)

    def _membership(self, suspect: Suspect, thresholds: Thresholds) -> Finding:
        clean, twin = self.membership.attack_with_control(suspect)
        planted = {name: twin[name].value for name in GATES}
        limits = self.membership.limits(thresholds)
        return Finding("membership", Membership.question, clean, planted, limits, suspect.planted_share)

    @staticmethod
    def _attribute(attribute: AttributeInference, suspect: Suspect, thresholds: Thresholds) -> Finding:
        clean, twin = attribute.attack_with_control(suspect)
        gate = attribute.gate
        name = f"attribute inference: {attribute.secret}"
        limits = {gate: attribute.limit(thresholds)}
        planted = {gate: twin[gate].value}
        return Finding(name, attribute.question, clean, planted, limits, suspect.planted_share)


def _as_attack(finding: Finding) -> Attack:
    """The finding for the report; the planted value is that of the gating score that tells best."""
    excess = {name: (value or 0) - finding.limits[name] for name, value in finding.planted.items()}
    best = max(excess, key=lambda name: excess[name])
    return Attack(
        name=finding.name,
        question=finding.question,
        score_names=list(finding.readings),
        planted_share=finding.planted_share,
        planted_value=finding.planted[best],
        planted_score=best,
        found_plant=finding.found_plant,
    )
