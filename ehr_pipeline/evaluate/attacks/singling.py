"""Attack: single out a patient by a combination of values that exactly one synthetic row has.

The attacker sees only the synthetic table. From each row come its most unusual values, of five sixths of its columns:
a predicate, if no other synthetic row meets it. One singles out a patient if exactly one real patient, of training and
holdout together, meets it. Whoever stands out is singled out by chance too; without a leak this happens to training
patients as often as they are among all.

It is tried twice, and each trial has a gate of its own. The rarest eighth of the predicates hold few that are met by
chance where the rows are like real ones, so that a leak of patients who stand out shows best. But rows unlike anyone
take the places of leaked ones there; with the predicates of all rows, those that nobody meets cost nothing. So a poor
table cannot hide a leak from both.

A number meets a predicate within `AGREE` of its standard deviation, a level if it is equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ehr_pipeline.evaluate.attacks.findings import Levels, Outcome
from ehr_pipeline.evaluate.attacks.people import People
from ehr_pipeline.evaluate.attacks.plants import COPIES, TABLE, Suspect, alone
from ehr_pipeline.evaluate.attacks.rates import chance_count
from ehr_pipeline.evaluate.attacks.space import AGREE, profile
from ehr_pipeline.evaluate.encoding import Encoded, draw, stack
from ehr_pipeline.evaluate.intervals import clopper_pearson
from ehr_pipeline.evaluate.scoring import Reading, Readings

RAREST = 0.12
"""Share of the synthetic rows whose combinations are the rarest."""
MAX_RAREST = 2_000
MAX_PATIENTS = 20_000
MAX_WIDTH = 12
MIN_WIDTH = 3
BLOCK_PAIRS = 4_000_000
TRIALS = ("rarest", "all")


@dataclass(frozen=True)
class Predicates:
    """Combinations of values: columns int [p, width], values float32 [p, width], and how rare each is, [p]."""

    columns: np.ndarray
    values: np.ndarray
    log_share: np.ndarray

    def take(self, places: np.ndarray) -> Predicates:
        """Those at these places."""
        return Predicates(self.columns[places], self.values[places], self.log_share[places])

    def single(self) -> np.ndarray:
        """Places of those that stand here once."""
        whole = np.hstack([self.columns.astype(np.float32), self.values])
        _, first, n = np.unique(
            whole.view(np.dtype((np.void, whole.dtype.itemsize * whole.shape[1]))).ravel(),
            return_index=True,
            return_counts=True,
        )
        return np.sort(first[n == 1])


class Index:
    """A table's profile [n, d] with each column in order, to find the rows that meet a predicate."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.order = np.argsort(rows, axis=0, kind="stable")
        self.sorted = np.take_along_axis(rows, self.order, axis=0)

    def share(self, rows: np.ndarray) -> np.ndarray:
        """Of each value [n, d], the share of this table's rows that agree with it; never 0."""
        n = len(self.rows)
        found = [
            np.searchsorted(line, values + AGREE, side="right") - np.searchsorted(line, values - AGREE)
            for line, values in zip(self.sorted.T, rows.T, strict=True)
        ]
        return np.maximum(np.array(found).T, 1) / max(n, 1)

    def meet(self, predicates: Predicates) -> tuple[np.ndarray, np.ndarray]:
        """How many rows meet each predicate, int [p], and one of them (-1 where there is none)."""
        n_met, one = np.zeros(len(predicates.columns), dtype=np.int64), np.full(len(predicates.columns), -1)
        column, value = predicates.columns[:, 0], predicates.values[:, 0]
        first, end = np.zeros_like(n_met), np.zeros_like(n_met)
        for place in np.unique(column):
            mine = column == place
            first[mine] = np.searchsorted(self.sorted[:, place], value[mine] - AGREE)
            end[mine] = np.searchsorted(self.sorted[:, place], value[mine] + AGREE, side="right")
        total = np.cumsum(end - first)
        n_blocks = int(total[-1] // BLOCK_PAIRS) + 1 if len(total) else 0
        cuts = np.searchsorted(total, np.linspace(0, total[-1], n_blocks + 1)[1:]) + 1 if n_blocks else []
        for start, stop in pairwise([0, *np.minimum(cuts, len(total))]):
            sizes = (end - first)[start:stop]
            asked = np.repeat(np.arange(start, stop), sizes)
            within = np.arange(len(asked)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            row = self.order[np.repeat(first[start:stop], sizes) + within, column[asked]]
            for other in range(1, predicates.columns.shape[1]):
                gap = self.rows[row, predicates.columns[asked, other]] - predicates.values[asked, other]
                agrees = np.abs(gap) <= AGREE
                asked, row = asked[agrees], row[agrees]
            n_met += np.bincount(asked, minlength=len(n_met))
            one[asked] = row
        return n_met, one


class SinglingOut:
    """Predicates from the synthetic table that exactly one real patient meets."""

    name = "singling out"
    question = "Do unusual combinations of values in the synthetic table point at one training patient each?"
    gates = tuple(f"singled_out_train[{trial}]" for trial in TRIALS)
    watched: tuple[str, ...] = ()

    def __init__(self, people: People, permuted: Encoded, rng: np.random.Generator) -> None:
        self.encoding = people.encoding
        train, holdout = (draw(table, MAX_PATIENTS, rng) for table in (people.train, people.holdout))
        self.n_train, self.n_holdout = len(train), len(holdout)
        self.real = Index(profile(self.encoding, stack(train, holdout)))
        n_columns = len(self.encoding.names)
        self.width = min(max(-(-5 * n_columns // 6), MIN_WIDTH), n_columns, MAX_WIDTH)
        self.floor = {} if people.fresh is None else self.readings(people.fresh)
        self.null = self.readings(draw(permuted, MAX_PATIENTS, rng))

    def must_find(self, planted: set[str]) -> tuple[str, ...]:
        """Copies of those who stand out."""
        return tuple(plant for plant in (COPIES,) if plant in planted)

    def readings(self, table: Encoded) -> Readings:
        """How well descriptions single out training patients, beside outsiders."""
        return self._readings(self._singled(alone(table))[TABLE])

    def outcomes(self, suspect: Suspect, levels: Levels) -> dict[str, Outcome]:
        """The attack on a table and on its twins."""
        return {
            name: Outcome(
                self._readings(singled),
                {f"singled_out_train[{trial}]": self._limit(places, levels.gate) for trial, places in singled.items()},
            )
            for name, singled in self._singled(suspect).items()
        }

    def _predicates(self, rows: np.ndarray) -> Predicates:
        """The combinations that rows [n, d] make of their most unusual values, the rarest value first."""
        log_share = np.log(self.real.share(rows))
        columns = np.argsort(log_share, axis=1, kind="stable")[:, : self.width]
        total = np.take_along_axis(log_share, columns, axis=1).sum(axis=1)
        return Predicates(columns, np.take_along_axis(rows, columns, axis=1), total)

    def _singled(self, suspect: Suspect) -> dict[str, dict[str, np.ndarray]]:
        """Per part and trial: the real patients that are singled out, places in train + holdout."""
        kept = Index(profile(self.encoding, suspect.kept))
        of_kept = self._predicates(kept.rows)
        pointing, one = self._pointing(of_kept)
        in_kept = kept.meet(of_kept.take(pointing))[0]
        found = {}
        for name, rows in suspect.parts.items():
            part = Index(profile(self.encoding, rows))
            of_part = self._predicates(part.rows)
            pointing_too, one_too = self._pointing(of_part)
            by_part = of_part.take(pointing_too)
            n_synthetic = np.append(
                in_kept + part.meet(of_kept.take(pointing))[0], kept.meet(by_part)[0] + part.meet(by_part)[0]
            )
            is_singled = n_synthetic == 1
            places = np.append(pointing, len(kept.rows) + pointing_too)[is_singled]
            people = np.append(one, one_too)[is_singled]
            found[name] = {
                "rarest": np.unique(people[np.isin(places, _rarest(np.append(of_kept.log_share, of_part.log_share)))]),
                "all": np.unique(people),
            }
        return found

    def _pointing(self, predicates: Predicates) -> tuple[np.ndarray, np.ndarray]:
        """Which predicates exactly one real patient meets, and who that is: places, int64 [k] each.

        Two rows that make the same predicate both meet it, so these are left out.
        """
        own = predicates.single()
        n_real, one = self.real.meet(predicates.take(own))
        is_one = n_real == 1
        return own[is_one], one[is_one]

    def _readings(self, singled: dict[str, np.ndarray]) -> Readings:
        found: Readings = {}
        for trial, places in singled.items():
            inside = int((places < self.n_train).sum())
            hits = {"train": (inside, self.n_train), "holdout": (len(places) - inside, self.n_holdout)}
            for side, (k, n) in hits.items():
                reading = Reading(k / n, *clopper_pearson(k, n)) if n else Reading(None, note="no rows to compare")
                found[f"singled_out_{side}[{trial}]"] = reading
        return found

    def _limit(self, singled: np.ndarray, level: float) -> float:
        if not self.n_train or not self.n_holdout:
            return 1.0
        outside = int((singled >= self.n_train).sum())
        return chance_count(self.n_train, self.n_holdout, outside, level) / self.n_train


def _rarest(log_share: np.ndarray) -> np.ndarray:
    """Places of the rarest predicates of all synthetic rows."""
    return np.argsort(log_share, kind="stable")[: min(max(round(RAREST * len(log_share)), 1), MAX_RAREST)]
