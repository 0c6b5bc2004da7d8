"""Leaks that are planted on purpose, so that each attack can show what it would have found.

What belongs here: which rows a leak puts into a synthetic table. What does not: who finds it.

Each leak replaces as many rows as are 1 % of the table or of the training patients, whichever are fewer, and at
least one: a leak of 1 % of the patients stays one, however long the synthetic table is. Members and training
patients who are not attacked are leaked in proportion to their numbers, so that the control says what a leak of
this size shows, not how many of it chance put among the attacked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from ehr_pipeline.evaluate.attacks.people import LEAK_SHARE, People
from ehr_pipeline.evaluate.attacks.space import AGREE
from ehr_pipeline.evaluate.encoding import Encoded, draw

MAX_SYNTHETIC = 100_000
JITTER, LOST = 0.05, 0.05
"""Standard deviation of what is added to jittered copies, in those of the columns: less where there are many columns,
so that no larger share than `LOST` of the copies differs clearly in any."""
TABLE = "the table itself"
COPIES = "copies"
JITTERED = "jittered copies"
RARE = "rare diagnosis"
STRETCHES = "copied stretches"
WORDS = {
    COPIES: "the rows of the patients who stand out most",
    JITTERED: "the same, each number moved a little",
    RARE: "the rows of patients with a rare level, or a rare pair of levels",
    STRETCHES: "20 events in a row of each patient whose events are the rarest",
}


@dataclass(frozen=True)
class Suspect:
    """A synthetic table under attack, and its twins: `kept` rows with one of the `parts` each.

    `parts` holds the table's own other rows (`TABLE`), and for each planted leak the rows in their place.
    """

    kept: Encoded
    parts: dict[str, Encoded]

    @property
    def n_rows(self) -> int:
        """Rows of the table, and of each twin."""
        return len(self.kept) + len(self.parts[TABLE])

    @property
    def planted_share(self) -> float:
        """Share of a twin's rows that are planted."""
        return len(self.parts[TABLE]) / max(self.n_rows, 1)


def alone(table: Encoded) -> Suspect:
    """A table with no twin."""
    return Suspect(kept=table, parts={TABLE: table.take(np.arange(0))})


def plant(table: Encoded, people: People, rng: np.random.Generator) -> Suspect:
    """A table and its twins with the planted leaks; one of a rare diagnosis only where patients have one."""
    table = draw(table, MAX_SYNTHETIC, rng)
    n_fewer = min(len(table), len(people.train))
    n_planted = min(max(round(LEAK_SHARE * n_fewer), 1), n_fewer)
    copies = people.train.take(_foremost(people, -people.train_isolation, n_planted))
    jitter = min(JITTER, AGREE / norm.isf(LOST / (2 * max(copies.numbers.shape[1], 1))))
    noise = rng.normal(0, jitter * people.encoding.scale, copies.numbers.shape)
    parts = {
        TABLE: table.take(np.arange(n_planted)),
        COPIES: copies,
        JITTERED: Encoded(copies.numbers + noise, copies.codes, copies.patient),
    }
    if people.rarity:
        rarity = people.rarity.of(people.train)
        # Of the rare levels the most frequent first: whole diagnoses rather than odds and ends.
        by_level = np.where(rarity <= people.rarity.highest, -rarity, 1.0)
        parts[RARE] = people.train.take(_foremost(people, by_level, n_planted))
    return Suspect(kept=table.take(np.arange(n_planted, len(table))), parts=parts)


def _foremost(people: People, rank: np.ndarray, n: int) -> np.ndarray:
    """Row numbers of the n training patients of lowest rank, members and others in proportion."""
    n_members = round(n * len(people.member_rows) / max(len(people.train), 1))
    members, others = (rows[np.argsort(rank[rows], kind="stable")] for rows in (people.member_rows, people.other_rows))
    return np.append(members[:n_members], others[: n - n_members])
