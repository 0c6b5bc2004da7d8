"""Whom the attacks are tried on: members (training patients) and outsiders (holdout patients).

What belongs here: the split of the holdout into parts, how isolated each patient lies, who has a rare diagnosis.
What does not: planted leaks (`plants.py`), any attack.

The unit is the patient: who has several rows stands by one of them, drawn by chance, and all counts and intervals
are over patients.

The holdout is cut in thirds: outsiders, a reference against which isolation is measured, and fresh rows that
play the synthetic table for the floor. Under `MIN_THIRDS` patients it serves whole as outsiders and reference (a
row is not its own neighbour), and the floor is chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.attacks.rarity import Rarity
from ehr_pipeline.evaluate.attacks.space import nearest, points
from ehr_pipeline.evaluate.encoding import Encoded, Encoding, stack
from ehr_pipeline.record import SMALL_CELL

MIN_THIRDS = 3_000
MAX_ATTACKED = 10_000
MAX_REFERENCE = 20_000
ISOLATION_NEIGHBOUR = 5
ISOLATED_SHARE = 0.1
LEAK_SHARE = 0.01
"""Share of rows that a planted leak gives away."""


@dataclass(frozen=True)
class People:
    """Members and outsiders, and what stands around them.

    Attributes
    ----------
    encoding
        Learned from training and holdout rows together.
    train, holdout
        One row of each patient.
    train_rows, holdout_rows
        Where these rows stand in the tables they were taken from.
    member_rows, other_rows, outsider_rows
        Row numbers in `train` of members and of who is not attacked, and in `holdout` of outsiders.
    reference
        Rows of the holdout against which isolation is measured.
    fresh
        More holdout rows, to play the synthetic table; None where the holdout is too small to spare them.
    isolation
        float64 [members + outsiders]: distance to the 5th nearest row of the reference.
    train_isolation
        The same of each row of `train`.
    rarity
        How rare levels are; None where too few patients have a rare one to speak of.
    """

    encoding: Encoding
    train: Encoded
    holdout: Encoded
    train_rows: np.ndarray
    holdout_rows: np.ndarray
    member_rows: np.ndarray
    other_rows: np.ndarray
    outsider_rows: np.ndarray
    reference: Encoded
    fresh: Encoded | None
    isolation: np.ndarray
    train_isolation: np.ndarray
    rarity: Rarity | None

    @property
    def members(self) -> Encoded:
        """Rows of the members."""
        return self.train.take(self.member_rows)

    @property
    def outsiders(self) -> Encoded:
        """Rows of the outsiders."""
        return self.holdout.take(self.outsider_rows)

    @property
    def attacked(self) -> Encoded:
        """Members, then outsiders."""
        return stack(self.members, self.outsiders)

    @property
    def is_member(self) -> np.ndarray:
        """Bool [members + outsiders]."""
        return np.repeat([True, False], [len(self.member_rows), len(self.outsider_rows)])

    @property
    def is_isolated(self) -> np.ndarray:
        """The most isolated tenth, bool [members + outsiders]."""
        return self.isolation >= (np.quantile(self.isolation, 1 - ISOLATED_SHARE) if len(self.isolation) else 0.0)

    @property
    def is_rare(self) -> np.ndarray:
        """Who has a rare diagnosis, bool [members + outsiders]."""
        attacked = self.attacked
        return self.rarity.is_rare(attacked) if self.rarity else np.zeros(len(attacked), dtype=bool)


def gather(encoding: Encoding, train: Encoded, holdout: Encoded, rng: np.random.Generator) -> People:
    """Choose members and outsiders, measure isolation and rarity."""
    order = rng.permutation(len(holdout))
    train_rows, holdout_rows = one_row_each(train, rng), one_row_each(holdout, rng, order)
    train, holdout = train.take(train_rows), holdout.take(holdout_rows)
    places = np.arange(len(holdout))
    is_whole = len(places) < MIN_THIRDS
    parts = [places, places, places[:0]] if is_whole else np.array_split(places, 3)
    outsider_rows = parts[0][:MAX_ATTACKED]
    reference, fresh = (holdout.take(part[:MAX_REFERENCE]) for part in parts[1:])
    member_rows, other_rows = np.split(rng.permutation(len(train)), [min(len(train), MAX_ATTACKED)])
    around = points(encoding, reference)
    train_isolation = isolation(points(encoding, train), around)
    outsider_isolation = isolation(points(encoding, holdout.take(outsider_rows)), around, is_own_neighbour=is_whole)
    return People(
        encoding=encoding,
        train=train,
        holdout=holdout,
        train_rows=train_rows,
        holdout_rows=holdout_rows,
        member_rows=member_rows,
        other_rows=other_rows,
        outsider_rows=outsider_rows,
        reference=reference,
        fresh=None if is_whole else fresh,
        isolation=np.concatenate([train_isolation[member_rows], outsider_isolation]),
        train_isolation=train_isolation,
        rarity=_rarity(encoding, train, holdout, outsider_rows),
    )


def one_row_each(table: Encoded, rng: np.random.Generator, order: np.ndarray | None = None) -> np.ndarray:
    """Row numbers of one row of each patient, in random order: the first that `order`, a permutation, meets."""
    order = rng.permutation(len(table)) if order is None else order
    _, first = np.unique(table.patient[order], return_index=True)
    return order[np.sort(first)]


def isolation(rows: np.ndarray, reference: np.ndarray, is_own_neighbour: bool = False) -> np.ndarray:
    """Distance float64 [n] of points to their 5th nearest reference point, or to the last there is."""
    distances, _ = nearest(rows, reference, ISOLATION_NEIGHBOUR + is_own_neighbour)
    if distances.shape[1] <= is_own_neighbour:
        return np.zeros(len(rows))
    return distances[:, -1]


def _rarity(encoding: Encoding, train: Encoded, holdout: Encoded, outsider_rows: np.ndarray) -> Rarity | None:
    """Who is rare, where a leak of them can be planted and outsiders of their kind are there to compare with."""
    everyone, n_planted = stack(train, holdout), round(LEAK_SHARE * len(train))
    rarity = Rarity.learn(encoding, everyone, n_wanted=2 * n_planted)
    n_rare, n_outside = (int(rarity.is_rare(rows).sum()) for rows in (train, holdout.take(outsider_rows)))
    return rarity if n_rare >= max(n_planted, SMALL_CELL) and n_outside >= SMALL_CELL else None
