"""Attacks on the order of events: stretches of a patient's stay that stand in the synthetic events.

What belongs here: two attacks on `sequences.Pieces`, whose unit is the patient with all stays. What does not: what a
stay's summary gives away (`stays.py`), and how findings become verdicts (`findings.py`).

A stretch that training patients and synthetic ones share is no proof by itself: drips and settings are charted alike
for all. So holdout patients, whom the generator never saw, say how much is chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.attacks.findings import Levels, Outcome
from ehr_pipeline.evaluate.attacks.membership import tpr_limit
from ehr_pipeline.evaluate.attacks.people import ISOLATED_SHARE
from ehr_pipeline.evaluate.attacks.plants import COPIES, STRETCHES
from ehr_pipeline.evaluate.attacks.rates import chance_auc, chance_count, hits_at, ranking_auc
from ehr_pipeline.evaluate.attacks.sequences import Pieces, stand_in
from ehr_pipeline.evaluate.intervals import clopper_pearson
from ehr_pipeline.evaluate.scoring import Reading, Readings

NOTHING = Reading(None, note="no patients to compare")


@dataclass(frozen=True, eq=False)
class Real:
    """The pieces of training and of holdout patients, and how rare they are.

    Attributes
    ----------
    pieces
        Of training patients, then of holdout patients, who are numbered on.
    weight
        float64 [n short pieces]: one over the real patients who have the piece.
    rarity
        float64 [n patients]: mean weight of a patient's pieces; 0 without any.
    is_isolated
        bool [n patients]: the tenth whose pieces are the rarest, among those who have any.
    own_values
        bool [n values]: whether no other real patient has this code with this value.
    """

    pieces: Pieces
    n_train: int
    weight: np.ndarray
    rarity: np.ndarray
    is_isolated: np.ndarray
    own_values: np.ndarray

    @classmethod
    def of(cls, pieces: Pieces, n_train: int) -> Real:
        """From the pieces of both sides."""
        weight = 1 / _carriers(pieces.short.key, pieces.short.owner)
        n_pieces = np.bincount(pieces.short.owner, minlength=pieces.n_owners)
        rarity = np.bincount(pieces.short.owner, weight, pieces.n_owners) / np.maximum(n_pieces, 1)
        has = n_pieces > 0
        least = np.quantile(rarity[has], 1 - ISOLATED_SHARE) if has.any() else 0.0
        own_values = _carriers(pieces.values.key, pieces.values.owner) == 1
        return cls(pieces, n_train, weight, rarity, has & (rarity >= least), own_values)

    @property
    def is_train(self) -> np.ndarray:
        """Bool [n patients]."""
        return np.arange(self.pieces.n_owners) < self.n_train

    @property
    def foremost(self) -> np.ndarray:
        """Training patients, those with the rarest pieces first."""
        return np.argsort(-self.rarity[: self.n_train], kind="stable")


@dataclass(frozen=True, eq=False)
class Met:
    """Which pieces of the real patients stand in some events: bool, in the order of `Real.pieces`."""

    short: np.ndarray
    long: np.ndarray
    stays: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, real: Pieces, made: Pieces) -> Met:
        """Look up all pieces."""
        kinds = ("short", "long", "stays", "values")
        return cls(*(stand_in(getattr(real, kind).key, getattr(made, kind).key) for kind in kinds))

    def __or__(self, other: Met) -> Met:
        return Met(
            self.short | other.short, self.long | other.long, self.stays | other.stays, self.values | other.values
        )


class StretchMembership:
    """Guess who was in the training data from how much of a patient's own course stands in the synthetic events.

    A patient scores the share of the patient's pieces that are found, each weighed by how few real patients have it.
    """

    name = "membership (events)"
    question = "Can someone who knows a patient's events in their order tell who was in the training data?"
    gates = ("stretch_membership_tpr_at_1%[isolated]",)
    watched = ("stretch_membership_auc[all]", "stretch_membership_tpr_at_1%[all]")

    def __init__(self, real: Real, fresh: Met, is_stranger: np.ndarray, null: Met) -> None:
        """`fresh` is what is met in the events of holdout patients who are no strangers, bool [n patients]."""
        self.real = real
        self.floor = self._readings(fresh, is_stranger)
        self.null = self._readings(null, ~real.is_train)

    def must_find(self, planted: set[str]) -> tuple[str, ...]:
        """Whole stays."""
        return tuple(plant for plant in (COPIES,) if plant in planted)

    def outcomes(self, met: dict[str, Met], levels: Levels) -> dict[str, Outcome]:
        """What each part gives away."""
        limits = self._limits(levels)
        return {name: Outcome(self._readings(one, ~self.real.is_train), limits) for name, one in met.items()}

    def _readings(self, met: Met, is_stranger: np.ndarray) -> Readings:
        score = self._scores(met)
        found: Readings = {}
        for group, chosen in self._groups.items():
            inside, outside = score[chosen & self.real.is_train], score[chosen & is_stranger]
            found[f"stretch_membership_auc[{group}]"] = ranking_auc(inside, outside)
            found[f"stretch_membership_tpr_at_1%[{group}]"] = hits_at(inside, outside, 0.01)
        return found

    def _scores(self, met: Met) -> np.ndarray:
        """float64 [n patients]."""
        short, n = self.real.pieces.short, self.real.pieces.n_owners
        all_of = np.bincount(short.owner, self.real.weight, n)
        return np.bincount(short.owner, self.real.weight * met.short, n) / np.where(all_of > 0, all_of, 1)

    @property
    def _groups(self) -> dict[str, np.ndarray]:
        return {"all": np.ones(self.real.pieces.n_owners, dtype=bool), "isolated": self.real.is_isolated}

    def _limits(self, levels: Levels) -> dict[str, float]:
        thresholds, is_train = levels.thresholds, self.real.is_train
        sizes = {
            group: (int((chosen & is_train).sum()), int((chosen & ~is_train).sum()))
            for group, chosen in self._groups.items()
        }
        return {
            "stretch_membership_auc[all]": max(
                0.5 + thresholds.membership_auc_excess, chance_auc(*sizes["all"], levels.watched)
            ),
            "stretch_membership_tpr_at_1%[all]": tpr_limit(*sizes["all"], thresholds, levels.watched),
            "stretch_membership_tpr_at_1%[isolated]": tpr_limit(*sizes["isolated"], thresholds, levels.gate),
        }


class CopiedStretches:
    """Long stretches, whole stays and values of one patient alone that stand in the synthetic events."""

    name = "copies (events)"
    question = "Do ten or more events in a row of a training patient stand in the synthetic events, with their values?"
    gates = ("copied_stretches_train",)
    watched = ("copied_stays_train", "rare_values_train")

    def __init__(self, real: Real, fresh: Met, is_stranger: np.ndarray, null: Met) -> None:
        """As of `StretchMembership`."""
        self.real = real
        self.floor = self._readings(fresh, is_stranger)
        self.null = self._readings(null, ~real.is_train)

    def must_find(self, planted: set[str]) -> tuple[str, ...]:
        """Whole stays and stretches."""
        return tuple(plant for plant in (COPIES, STRETCHES) if plant in planted)

    def outcomes(self, met: dict[str, Met], levels: Levels) -> dict[str, Outcome]:
        """What each part repeats."""
        is_stranger = ~self.real.is_train
        return {name: Outcome(self._readings(one, is_stranger), self._limits(one, levels)) for name, one in met.items()}

    def _sides(self, met: Met, is_stranger: np.ndarray) -> dict[str, dict[str, tuple[int, int]]]:
        """Per score: patients of whom something stands there, and patients asked, of either side."""
        pieces = self.real.pieces
        everyone = np.ones(pieces.n_owners, dtype=bool)
        has_own = _marked(pieces.values.owner[self.real.own_values], pieces.n_owners)
        found = {
            "copied_stretches": (_marked(pieces.long.owner[met.long], pieces.n_owners), everyone),
            "copied_stays": (_marked(pieces.stays.owner[met.stays], pieces.n_owners), everyone),
            "rare_values": (_marked(pieces.values.owner[met.values & self.real.own_values], pieces.n_owners), has_own),
        }
        sides = {"train": self.real.is_train, "holdout": is_stranger}
        return {
            name: {side: (int((hit & chosen).sum()), int((asked & chosen).sum())) for side, chosen in sides.items()}
            for name, (hit, asked) in found.items()
        }

    def _readings(self, met: Met, is_stranger: np.ndarray) -> Readings:
        return {
            f"{name}_{side}": Reading(hits / n, *clopper_pearson(hits, n)) if n else NOTHING
            for name, sides in self._sides(met, is_stranger).items()
            for side, (hits, n) in sides.items()
        }

    def _limits(self, met: Met, levels: Levels) -> dict[str, float]:
        """The shares of training patients that chance explains beside the holdout's."""
        limits = {}
        for name, sides in self._sides(met, ~self.real.is_train).items():
            (_, n), (outside, m) = sides["train"], sides["holdout"]
            if not n or not m:
                if f"{name}_train" in self.gates:
                    limits[f"{name}_train"] = 1.0
                continue
            level = levels.gate if f"{name}_train" in self.gates else levels.watched
            limits[f"{name}_train"] = min(chance_count(n, m, outside, level) / n + levels.thresholds.copies_excess, 1.0)
        return limits


def _carriers(key: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """How many owners have each key: int64 [n]."""
    known, place = np.unique(key, return_inverse=True)
    n_owners = int(owner.max(initial=-1)) + 1
    pairs = np.unique(place * np.int64(max(n_owners, 1)) + owner)
    return np.bincount(pairs // max(n_owners, 1), minlength=len(known))[place]


def _marked(owner: np.ndarray, n: int) -> np.ndarray:
    """Who stands among owners: bool [n]."""
    return np.bincount(owner, minlength=n).astype(bool)
