"""Attack: look for synthetic rows that equal a real row in every column, or nearly.

A match with a training row is no proof by itself: in a coarse table strangers coincide. So matches with the
holdout, whom the generator never saw, say how many are chance. They are counted in patients: how many rows of a
synthetic table match the same patient says more of the table than of the patient.

Nearly equal: the same levels, and numbers within `AGREE` of their standard deviation. Patients like many others have
near copies by chance, so the gate is on the most isolated tenth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ehr_pipeline.evaluate.attacks.findings import Levels, Outcome
from ehr_pipeline.evaluate.attacks.people import People
from ehr_pipeline.evaluate.attacks.plants import COPIES, JITTERED, RARE, TABLE, Suspect, alone
from ehr_pipeline.evaluate.attacks.rates import chance_count
from ehr_pipeline.evaluate.attacks.space import AGREE, profile, row_keys
from ehr_pipeline.evaluate.encoding import Encoded, stack
from ehr_pipeline.evaluate.intervals import clopper_pearson
from ehr_pipeline.evaluate.scoring import Reading, Readings

EXACT = "exact_copies_train"
NEAR = "near_copies_train[isolated]"
NOTHING = Reading(None, note="no rows to compare")


class Copies:
    """Exact and near matches with training and holdout patients.

    `exact_copies_*` are shares of synthetic rows, `near_copies_*` shares of real patients.
    """

    name = "copies"
    question = "Is a synthetic row a copy of a training patient's row, exactly or nearly?"
    gates = (EXACT, NEAR)

    def __init__(self, people: People, train: Encoded, holdout: Encoded, permuted: Encoded) -> None:
        """`train` and `holdout` are whole: a patient has as many rows as there are."""
        self.encoding = people.encoding
        self.n_train, self.n_holdout = len(np.unique(train.patient)), len(np.unique(holdout.patient))
        self.train_keys, self.holdout_keys = row_keys(train), row_keys(holdout)
        self.real = stack(train, holdout)
        self.is_train = np.repeat([True, False], [len(train), len(holdout)])
        isolated = np.flatnonzero(people.is_isolated)
        everyone = _Side(profile(self.encoding, self.real), self.is_train, self.real.patient)
        self.groups = {
            "all": everyone,
            "isolated": _Side.of_people(people, people.attacked.take(isolated), people.is_member[isolated]),
        }
        if people.rarity:
            self.groups["rare"] = everyone.take(people.rarity.is_rare(self.real))
        self.watched = tuple(f"near_copies_train[{group}]" for group in self.groups if group != "isolated")
        self.floor = self._floor(train, holdout)
        self.null = self.readings(permuted)

    def must_find(self, planted: set[str]) -> tuple[str, ...]:
        """All of them."""
        return tuple(plant for plant in (COPIES, JITTERED, RARE) if plant in planted)

    def readings(self, table: Encoded) -> Readings:
        """Shares of rows that equal some training row, and some holdout row; of patients with a near copy."""
        return self._readings(row_keys(table), self._near(alone(table))[TABLE])

    def outcomes(self, suspect: Suspect, levels: Levels) -> dict[str, Outcome]:
        """Matches of the table and of each twin."""
        kept_keys, near = row_keys(suspect.kept), self._near(suspect)
        found = {}
        for name, part in suspect.parts.items():
            keys = np.append(kept_keys, row_keys(part))
            limits = {EXACT: self.exact_limit(keys, levels)}
            for group, side in self.groups.items():
                level = levels.gate if group == "isolated" else levels.watched
                excess = levels.thresholds.copies_excess
                limits[f"near_copies_train[{group}]"] = side.limit(near[name][group], level) + excess
            found[name] = Outcome(self._readings(keys, near[name]), limits)
        return found

    def exact_limit(self, keys: np.ndarray, levels: Levels) -> float:
        """The share of rows that may equal training rows beside the table's matches with the holdout.

        The patients matched in the training table may be as many as chance explains; each counts as many rows as
        those of the table that match some training patient do on average.
        """
        if not len(self.train_keys) or not len(self.holdout_keys) or not len(keys):
            return 1.0
        is_copied = np.isin(np.append(self.train_keys, self.holdout_keys), keys)
        inside, outside = self._patients(is_copied & self.is_train), self._patients(is_copied & ~self.is_train)
        allowed = chance_count(self.n_train, self.n_holdout, outside, levels.gate)
        n_rows = int(np.isin(keys, self.train_keys).sum())
        rows_each = n_rows / inside if inside else 1.0
        return min(allowed * rows_each / len(keys) + levels.thresholds.copies_excess, 1.0)

    def _readings(self, keys: np.ndarray, near: dict[str, np.ndarray]) -> Readings:
        found = {EXACT: _share(keys, self.train_keys), "exact_copies_holdout": _share(keys, self.holdout_keys)}
        for group, side in self.groups.items():
            found |= side.readings(group, near[group])
        return found

    def _near(self, suspect: Suspect) -> dict[str, dict[str, np.ndarray]]:
        """Per part and group: which real rows have a near copy, bool [n of the group]."""
        kept, parts = profile(self.encoding, suspect.kept), suspect.parts
        by_kept = {group: near_rows(side.points, kept) for group, side in self.groups.items()}
        return {
            name: {
                group: by_kept[group] | near_rows(side.points, profile(self.encoding, part))
                for group, side in self.groups.items()
            }
            for name, part in parts.items()
        }

    def _patients(self, rows: np.ndarray) -> int:
        return len(np.unique(self.real.patient[rows]))

    def _floor(self, train: Encoded, holdout: Encoded) -> Readings:
        """Each real table in the synthetic one's place before the other."""
        by_holdout, by_train = self._near(alone(holdout))[TABLE], self._near(alone(train))[TABLE]
        near = {
            group: np.where(side.is_train, by_holdout[group], by_train[group]) for group, side in self.groups.items()
        }
        return self._readings(self.holdout_keys, near) | {
            "exact_copies_holdout": _share(self.train_keys, self.holdout_keys)
        }


@dataclass(frozen=True)
class _Side:
    """A group of real rows: their profiles float32 [n, d], which are of training, and whose they are."""

    points: np.ndarray
    is_train: np.ndarray
    patient: np.ndarray

    @classmethod
    def of_people(cls, people: People, rows: Encoded, is_member: np.ndarray) -> _Side:
        """Some of the attacked people."""
        return cls(profile(people.encoding, rows), is_member, rows.patient)

    def take(self, chosen: np.ndarray) -> _Side:
        """The rows chosen, bool [n]."""
        return _Side(self.points[chosen], self.is_train[chosen], self.patient[chosen])

    def readings(self, group: str, near: np.ndarray) -> Readings:
        """Shares of patients of either side with a near copy, of which `near`, bool [n], are rows."""
        found = {}
        for side, chosen in (("train", self.is_train), ("holdout", ~self.is_train)):
            n, hits = self._patients(chosen), self._patients(chosen & near)
            found[f"near_copies_{side}[{group}]"] = Reading(hits / n, *clopper_pearson(hits, n)) if n else NOTHING
        return found

    def limit(self, near: np.ndarray, level: float) -> float:
        """The share of training patients that chance explains beside the holdout's."""
        n, m = self._patients(self.is_train), self._patients(~self.is_train)
        if not n or not m:
            return 1.0
        return chance_count(n, m, self._patients(near & ~self.is_train), level) / n

    def _patients(self, rows: np.ndarray) -> int:
        return len(np.unique(self.patient[rows]))


def near_rows(queries: np.ndarray, profiles: np.ndarray) -> np.ndarray:
    """Whether some of `profiles` [n, d] agrees with a query in every column, bool [q]."""
    if not len(queries) or not len(profiles):
        return np.zeros(len(queries), dtype=bool)
    tree = cKDTree(profiles, balanced_tree=False, compact_nodes=False)
    distance, _ = tree.query(queries, p=np.inf, distance_upper_bound=AGREE)
    return np.isfinite(distance)


def _share(rows: np.ndarray, real: np.ndarray) -> Reading:
    if not len(rows) or not len(real):
        return NOTHING
    hits = int(np.isin(rows, real).sum())
    return Reading(hits / len(rows), *clopper_pearson(hits, len(rows)))
