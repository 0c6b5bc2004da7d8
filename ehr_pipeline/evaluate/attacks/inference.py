"""Attack: find a patient's synthetic row by what is known of the patient, and claim what it says besides.

What belongs here: the claim, and what it is worth. Which columns are known and which are claimed is what makes it
attribute inference (`AttributeInference`: all but one are known) or linkage (`Linkage`: the quasi-identifiers are).

Being right is no leak by itself: a good table teaches what goes with what, for anyone. The leak is what is claimed
better for training patients than for holdout patients: the advantage. As with membership, the few who stand out
matter more than an average. So the gate looks at the most isolated tenth, ranks claims by how near the synthetic row
is for someone so isolated, and counts the right ones at the rate at which 1 % of outsiders are told right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.attacks.findings import Levels, Outcome
from ehr_pipeline.evaluate.attacks.membership import RATES, TINY, tpr_limit
from ehr_pipeline.evaluate.attacks.people import People, isolation
from ehr_pipeline.evaluate.attacks.plants import COPIES, JITTERED, TABLE, Suspect, alone
from ehr_pipeline.evaluate.attacks.rates import hits_at
from ehr_pipeline.evaluate.attacks.space import AGREE, nearest, points, profile
from ehr_pipeline.evaluate.encoding import Encoded, draw, stack
from ehr_pipeline.evaluate.intervals import around
from ehr_pipeline.evaluate.scoring import Reading, Readings
from ehr_pipeline.record import Schema

MAX_ATTACKED = 5_000
SAME = 1e-9
KNOWN_WORDS = frozenset(
    [
        "age",
        "sex",
        "gender",
        "race",
        "ethnicity",
        "birth",
        "born",
        "zip",
        "postcode",
        "region",
        "country",
        "language",
        "religion",
        "marital",
        "insurance",
        "admission",
        "admitted",
        "discharge",
        "discharged",
        "arrival",
        "site",
        "ward",
        "unit",
    ]
)
"""Words of column names for what neighbours, employers and insurers know of a patient."""


@dataclass(frozen=True)
class _Claim:
    """Per attacked person: distances [n, 2] to the two nearest rows by what is known; what the nearest says [n, s]."""

    distance: np.ndarray
    says: np.ndarray

    def or_nearer(self, other: _Claim) -> _Claim:
        is_nearer = other.distance[:, 0] < self.distance[:, 0]
        return _Claim(
            np.sort(np.hstack([self.distance, other.distance]), axis=1)[:, :2],
            np.where(is_nearer[:, None], other.says, self.says),
        )


class _Inference:
    """A claim about the columns `secret` by the nearest row in all others."""

    name: str
    question: str
    must_be_unique: bool
    advantage: str
    watched: tuple[str, ...] = ()

    def __init__(
        self, people: People, secret: tuple[str, ...], gate: str, permuted: Encoded, rng: np.random.Generator
    ) -> None:
        self.people = people
        self.secret = secret
        self.gates = (gate,)
        n, m = (min(MAX_ATTACKED, len(rows)) for rows in (people.member_rows, people.outsider_rows))
        attacked = stack(people.members.take(np.arange(n)), people.outsiders.take(np.arange(m)))
        self.known = points(people.encoding, attacked, skip=secret)
        self.truth = self._secrets(attacked)
        self.is_member = np.repeat([True, False], [n, m])
        chosen = np.append(np.arange(n), len(people.member_rows) + np.arange(m))
        self.is_isolated = people.is_isolated[chosen]
        reference = points(people.encoding, people.reference, skip=secret)
        self.isolation = np.append(
            isolation(self.known[:n], reference),
            isolation(self.known[n:], reference, is_own_neighbour=people.fresh is None),
        )
        self.floor = {self.advantage: Reading(0.0), gate: Reading(RATES["1%"])}
        if people.fresh is not None:
            self.floor = self.attack(people.fresh)
        self.null = self.attack(draw(permuted, 2 * MAX_ATTACKED, rng))

    def must_find(self, planted: set[str]) -> tuple[str, ...]:
        """Copies of those who stand out, moved a little or not."""
        return tuple(plant for plant in (COPIES, JITTERED) if plant in planted)

    def attack(self, table: Encoded) -> Readings:
        """The attack on a table."""
        return self._readings(self._claims(alone(table))[TABLE])

    def outcomes(self, suspect: Suspect, levels: Levels) -> dict[str, Outcome]:
        """The attack on a table and on its twins."""
        n, m = (int((self.is_isolated & side).sum()) for side in (self.is_member, ~self.is_member))
        limits = {self.gates[0]: tpr_limit(n, m, levels.thresholds, levels.gate)}
        return {name: Outcome(self._readings(claim), limits) for name, claim in self._claims(suspect).items()}

    def _claims(self, suspect: Suspect) -> dict[str, _Claim]:
        kept = self._claim(suspect.kept)
        return {name: kept.or_nearer(self._claim(part)) for name, part in suspect.parts.items()}

    def _claim(self, table: Encoded) -> _Claim:
        rows = points(self.people.encoding, table, skip=self.secret)
        distance, place = nearest(self.known, rows, 2 if self.must_be_unique else 1)
        padding = np.full((len(self.known), 2 - distance.shape[1]), np.inf)
        says = self._secrets(table)[place[:, 0]] if len(table) else np.full_like(self.truth, np.nan)
        return _Claim(np.hstack([distance, padding]), says)

    def _secrets(self, table: Encoded) -> np.ndarray:
        names = self.people.encoding.names
        return profile(self.people.encoding, table)[:, [names.index(name) for name in self.secret]]

    def _readings(self, claim: _Claim) -> Readings:
        is_right = (np.abs(claim.says - self.truth) <= AGREE).all(axis=1)
        if self.must_be_unique:
            is_right &= claim.distance[:, 1] > claim.distance[:, 0] + SAME
        confidence = np.where(is_right, -(claim.distance[:, 0] + TINY) / (self.isolation + TINY), -np.inf)
        inside, outside = (confidence[self.is_isolated & side] for side in (self.is_member, ~self.is_member))
        return {
            self.advantage: _advantage(is_right[self.is_member], is_right[~self.is_member]),
            self.gates[0]: hits_at(inside, outside, RATES["1%"]),
        }


class AttributeInference(_Inference):
    """One column (the secret) from all others."""

    must_be_unique = False

    def __init__(self, people: People, secret: str, permuted: Encoded, rng: np.random.Generator) -> None:
        self.name = f"attribute inference: {secret}"
        self.question = f"Can someone who knows all else of a patient tell {secret} better for training patients?"
        self.advantage = f"attribute_advantage[{secret}]"
        super().__init__(people, (secret,), f"attribute_tpr_at_1%[{secret}]", permuted, rng)


class Linkage(_Inference):
    """All that is not known of a patient, from the one synthetic row that is nearest by what is.

    A claim is right if the row agrees with the patient in every other column: it is then the patient's own, as far as
    anyone can tell.
    """

    name = "re-identification by linkage"
    must_be_unique = True
    advantage = "linkage_advantage"

    def __init__(self, people: People, known: tuple[str, ...], permuted: Encoded, rng: np.random.Generator) -> None:
        secret = tuple(name for name in people.encoding.names if name not in known)
        self.question = f"Can someone who knows {', '.join(known)} find a training patient's own row, and all it says?"
        super().__init__(people, secret, "linkage_tpr_at_1%[isolated]", permuted, rng)


def quasi_identifiers(schema: Schema, sensitive: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that an attacker is given: demographics, site, times, and the first others until half are known.

    Half of the columns is more than most people know of anyone; the attack is meant to be a strong one.
    """
    columns = [column for column in schema.columns if column.name in names]
    public = [
        column.name
        for column in columns
        if column.kind == "time"
        or column.role in ("site", "sensitive")
        or column.name in sensitive
        or KNOWN_WORDS & set(re.split(r"[^a-z]+", column.name.lower()))
    ]
    others = [column.name for column in columns if column.name not in public]
    half = len(columns) // 2
    return tuple((public + others)[: max(half, min(len(public), len(columns) - 1))])


def _advantage(inside: np.ndarray, outside: np.ndarray) -> Reading:
    """Share told right among members less that among outsiders."""
    if not len(inside) or not len(outside):
        return Reading(None, note="no members or no outsiders to tell apart")
    value = float(inside.mean() - outside.mean())
    error = np.sqrt(sum(float(right.var()) / len(right) for right in (inside, outside)))
    return Reading(value, *around(value, error, lowest=-1.0, highest=1.0))
