"""Attack: guess one column of a patient from the others, by the nearest synthetic row.

Guessing right is no leak by itself: a good table teaches what goes with what, for anyone. The leak is what
is guessed better for training patients than for holdout patients: the advantage. As with membership, the few
who stand out matter more than an average. So the gate looks at the most isolated tenth, ranks guesses by how
near the synthetic row is for someone so isolated, and counts the right ones at the rate at which 1 % of
outsiders are guessed right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.attacks.membership import RATES, TINY
from ehr_pipeline.evaluate.attacks.people import People, Suspect, isolation, most_isolated_tenth
from ehr_pipeline.evaluate.attacks.rates import chance_hits, hits_at
from ehr_pipeline.evaluate.attacks.space import nearest, points
from ehr_pipeline.evaluate.encoding import Encoded, draw
from ehr_pipeline.evaluate.intervals import around
from ehr_pipeline.evaluate.scoring import Reading, Readings
from ehr_pipeline.evaluate.thresholds import Thresholds

MAX_ATTACKED = 5_000


@dataclass(frozen=True)
class _Guess:
    """For each attacked person the distance to the nearest row by the known columns, and that row's secret."""

    distance: np.ndarray
    secret: np.ndarray

    def or_nearer(self, other: _Guess) -> _Guess:
        is_nearer = other.distance < self.distance
        return _Guess(
            np.where(is_nearer, other.distance, self.distance), np.where(is_nearer, other.secret, self.secret)
        )


class AttributeInference:
    """The guess of one column (the secret) from all others."""

    def __init__(self, people: People, secret: str) -> None:
        self.people = people
        self.secret = secret
        n = min(MAX_ATTACKED, len(people.members), len(people.outsiders))
        members, outsiders = (rows.take(np.arange(n)) for rows in (people.members, people.outsiders))
        reference = self._known(people.reference)
        self.n_each = n
        self.patient = members.patient, outsiders.patient
        self.known = np.vstack([self._known(members), self._known(outsiders)])
        self.truth = np.concatenate([self._secret(members), self._secret(outsiders)])
        self.isolation = np.concatenate(
            [
                isolation(self.known[:n], reference),
                isolation(self.known[n:], reference, is_own_neighbour=people.fresh is None),
            ]
        )
        self.is_member = np.repeat([True, False], n)
        self.is_isolated = most_isolated_tenth(self.isolation)

    @property
    def question(self) -> str:
        """What the attacker asks."""
        return f"Can someone who knows all else of a patient tell {self.secret} better for training patients?"

    @property
    def gate(self) -> str:
        """Name of the gating score."""
        return f"attribute_tpr_at_1%[{self.secret}]"

    def attack(self, table: Encoded) -> Readings:
        """The attack on a table."""
        return self._readings(self._guess(table))

    def attack_with_control(self, suspect: Suspect) -> tuple[Readings, Readings]:
        """The attack on a table, and on its twin with the planted leak."""
        kept, replaced, planted = (self._guess(t) for t in (suspect.kept, suspect.replaced, suspect.planted))
        return self._readings(kept.or_nearer(replaced)), self._readings(kept.or_nearer(planted))

    def floor(self) -> Readings:
        """The attack on fresh holdout rows, or no advantage where there are none to spare."""
        if self.people.fresh is not None:
            return self.attack(self.people.fresh)
        return {f"attribute_advantage[{self.secret}]": Reading(0.0), self.gate: Reading(RATES["1%"])}

    def null(self, permuted: Encoded, rng: np.random.Generator) -> Readings:
        """The attack on independent columns."""
        return self.attack(draw(permuted, 2 * MAX_ATTACKED, rng))

    def limit(self, thresholds: Thresholds) -> float:
        """What the gating score may be: the allowed excess, or more where chance alone gives more."""
        n, m = (int((self.is_isolated & side).sum()) for side in (self.is_member, ~self.is_member))
        by_chance = chance_hits(n, m, RATES["1%"], thresholds.chance_level)
        return max(RATES["1%"] + thresholds.membership_tpr_excess, by_chance)

    def _known(self, table: Encoded) -> np.ndarray:
        return points(self.people.encoding, table, skip=(self.secret,))

    def _secret(self, table: Encoded) -> np.ndarray:
        cells, _ = self.people.encoding.cells(table)
        return cells[:, self.people.encoding.names.index(self.secret)]

    def _guess(self, table: Encoded) -> _Guess:
        distance, place = nearest(self.known, self._known(table))
        if not distance.shape[1]:
            return _Guess(np.full(len(self.known), np.inf), np.full(len(self.known), -1))
        return _Guess(distance[:, 0], self._secret(table)[place[:, 0]])

    def _readings(self, guess: _Guess) -> Readings:
        is_right = guess.secret == self.truth
        confidence = np.where(is_right, -(guess.distance + TINY) / (self.isolation + TINY), -np.inf)
        inside, outside = (confidence[self.is_isolated & side] for side in (self.is_member, ~self.is_member))
        return {
            f"attribute_advantage[{self.secret}]": self._advantage(is_right),
            self.gate: hits_at(inside, outside, RATES["1%"]),
        }

    def _advantage(self, is_right: np.ndarray) -> Reading:
        """Share guessed right among members less that among outsiders, errors summed per patient."""
        n = self.n_each
        if not n:
            return Reading(None, note="no members or no outsiders to tell apart")
        value, variance = float(is_right[:n].mean() - is_right[n:].mean()), 0.0
        for right, patient in zip((is_right[:n], is_right[n:]), self.patient, strict=True):
            _, position = np.unique(patient, return_inverse=True)
            variance += (np.bincount(position, weights=right - right.mean()) ** 2).sum() / n**2
        return Reading(value, *around(value, np.sqrt(variance), lowest=-1.0, highest=1.0))
