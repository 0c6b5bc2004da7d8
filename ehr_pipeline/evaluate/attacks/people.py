"""Whom the attacks are tried on: members (training rows), outsiders (holdout rows), and planted leaks.

What belongs here: the split of the holdout into parts, how isolated each row lies, and which rows a planted
leak copies. What does not: any attack.

The holdout is cut in thirds: outsiders, a reference against which isolation is measured, and fresh rows that
play the synthetic table for the floor. Under `MIN_THIRDS` rows it serves whole as outsiders and reference (a
row is not its own neighbour), and the floor is chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.attacks.space import nearest, points
from ehr_pipeline.evaluate.encoding import Encoded, Encoding, draw, stack

MIN_THIRDS = 3_000
MAX_ATTACKED = 10_000
MAX_REFERENCE = 20_000
MAX_SYNTHETIC = 100_000
ISOLATION_NEIGHBOUR = 5
ISOLATED_SHARE = 0.1
PLANTED_SHARE = 0.01


@dataclass(frozen=True)
class People:
    """Members and outsiders, as many of one as of the other, and what stands around them.

    Attributes
    ----------
    encoding
        Learned from training and holdout rows together.
    train
        The whole training table.
    members, outsiders, reference
        Rows of the training table, of the holdout, and of the holdout again.
    fresh
        More holdout rows, to play the synthetic table; None where the holdout is too small to spare them.
    isolation
        float64 [members + outsiders]: distance to the 5th nearest row of the reference.
    isolated_members, isolated_others
        int: row numbers in `train` of the members and of those not attacked, the most isolated first.
    """

    encoding: Encoding
    train: Encoded
    members: Encoded
    outsiders: Encoded
    reference: Encoded
    fresh: Encoded | None
    isolation: np.ndarray
    isolated_members: np.ndarray
    isolated_others: np.ndarray

    @property
    def attacked(self) -> Encoded:
        """Members, then outsiders."""
        return stack(self.members, self.outsiders)

    @property
    def is_member(self) -> np.ndarray:
        """Bool [members + outsiders]."""
        return np.repeat([True, False], [len(self.members), len(self.outsiders)])

    @property
    def is_isolated(self) -> np.ndarray:
        """The most isolated tenth, bool [members + outsiders]."""
        return most_isolated_tenth(self.isolation)


@dataclass(frozen=True)
class Suspect:
    """A synthetic table under attack, and its twin with a planted leak.

    The twin is `kept` and `planted` rows; the table itself is `kept` and `replaced` rows.
    """

    kept: Encoded
    replaced: Encoded
    planted: Encoded

    @property
    def n_rows(self) -> int:
        """Rows of the table, and of its twin."""
        return len(self.kept) + len(self.replaced)

    @property
    def planted_share(self) -> float:
        """Share of the twin's rows that are planted."""
        return len(self.planted) / max(self.n_rows, 1)


def gather(encoding: Encoding, train: Encoded, holdout: Encoded, rng: np.random.Generator) -> People:
    """Choose members and outsiders and measure isolation."""
    order = rng.permutation(len(holdout))
    is_whole = len(order) < MIN_THIRDS
    parts = [order, order, order[:0]] if is_whole else np.array_split(order, 3)
    size = min(len(parts[0]), len(train), MAX_ATTACKED)
    outsiders = holdout.take(parts[0][:size])
    reference, fresh = (holdout.take(part[:MAX_REFERENCE]) for part in parts[1:])
    chosen, others = np.split(rng.permutation(len(train)), [size])
    around = points(encoding, reference)
    train_isolation = isolation(points(encoding, train), around)
    outsider_isolation = isolation(points(encoding, outsiders), around, is_own_neighbour=is_whole)
    return People(
        encoding=encoding,
        train=train,
        members=train.take(chosen),
        outsiders=outsiders,
        reference=reference,
        fresh=None if is_whole else fresh,
        isolation=np.concatenate([train_isolation[chosen], outsider_isolation]),
        isolated_members=chosen[np.argsort(-train_isolation[chosen], kind="stable")],
        isolated_others=others[np.argsort(-train_isolation[others], kind="stable")],
    )


def isolation(rows: np.ndarray, reference: np.ndarray, is_own_neighbour: bool = False) -> np.ndarray:
    """Distance float64 [n] of points to their 5th nearest reference point, or to the last there is."""
    distances, _ = nearest(rows, reference, ISOLATION_NEIGHBOUR + is_own_neighbour)
    if distances.shape[1] <= is_own_neighbour:
        return np.zeros(len(rows))
    return distances[:, -1]


def most_isolated_tenth(isolation: np.ndarray) -> np.ndarray:
    """Whether each of these people, bool [n], is among the most isolated tenth."""
    return isolation >= (np.quantile(isolation, 1 - ISOLATED_SHARE) if len(isolation) else 0.0)


def plant(table: Encoded, people: People, rng: np.random.Generator) -> Suspect:
    """A table whose twin has rows replaced by copies of the most isolated patients.

    They are as many as 1 % of the table's rows or of the training rows, whichever are fewer, and at least one:
    a leak of 1 % of the patients stays one, however long the synthetic table is.
    Members and training rows not attacked are copied in proportion to their numbers, so that the control says
    what a leak of this size shows, not how many of it chance put among the attacked.
    """
    table = draw(table, MAX_SYNTHETIC, rng)
    n_fewer = min(len(table), len(people.train))
    n_planted = min(max(round(PLANTED_SHARE * n_fewer), 1), n_fewer)
    n_members = round(n_planted * len(people.members) / max(len(people.train), 1))
    chosen = np.append(people.isolated_members[:n_members], people.isolated_others[: n_planted - n_members])
    return Suspect(
        kept=table.take(np.arange(n_planted, len(table))),
        replaced=table.take(np.arange(n_planted)),
        planted=people.train.take(chosen),
    )
