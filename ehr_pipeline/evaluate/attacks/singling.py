"""Attack: single out a patient by a combination of values that exactly one synthetic row has.

The attacker sees only the synthetic table. From each row come its most unusual values, of five sixths of its columns;
the rarest eighth of these combinations are the predicates, if no other synthetic row meets them. One singles out a
patient if exactly one real patient, of training and holdout together, meets it. Whoever stands out is singled out by
chance too; without a leak this happens to training patients as often as they are among all.

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
"""Share of the synthetic rows whose combinations are tried."""
MAX_PREDICATES = 2_000
MAX_PATIENTS = 20_000
MAX_WIDTH = 12
MIN_WIDTH = 3
BLOCK_PAIRS = 4_000_000
GATE = "singled_out_train"


@dataclass(frozen=True)
class Predicates:
    """Combinations of values: columns int [p, width], values float32 [p, width], and how rare each is, [p]."""

    columns: np.ndarray
    values: np.ndarray
    log_share: np.ndarray

    def take(self, places: np.ndarray) -> Predicates:
        """Those at these places."""
        return Predicates(self.columns[places], self.values[places], self.log_share[places])


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
    gates = (GATE,)
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
            name: Outcome(self._readings(singled), {GATE: self._limit(singled, levels.gate)})
            for name, singled in self._singled(suspect).items()
        }

    def _predicates(self, rows: np.ndarray, n_predicates: int) -> Predicates:
        """The rarest combinations that rows [n, d] make of their most unusual values, the rarest value first."""
        log_share = np.log(self.real.share(rows))
        columns = np.argsort(log_share, axis=1, kind="stable")[:, : self.width]
        total = np.take_along_axis(log_share, columns, axis=1).sum(axis=1)
        chosen = np.argsort(total, kind="stable")[:n_predicates]
        columns = columns[chosen]
        return Predicates(columns, np.take_along_axis(rows[chosen], columns, axis=1), total[chosen])

    def _singled(self, suspect: Suspect) -> dict[str, np.ndarray]:
        """Per part: the real patients that are singled out, places in train + holdout."""
        kept = Index(profile(self.encoding, suspect.kept))
        n_predicates = min(max(round(RAREST * suspect.n_rows), 1), MAX_PREDICATES)
        from_kept = self._predicates(kept.rows, n_predicates)
        in_kept, real_of_kept = kept.meet(from_kept)[0], self.real.meet(from_kept)
        found = {}
        for name, rows in suspect.parts.items():
            part = Index(profile(self.encoding, rows))
            from_part = self._predicates(part.rows, n_predicates)
            n_synthetic = np.append(
                in_kept + part.meet(from_kept)[0], kept.meet(from_part)[0] + part.meet(from_part)[0]
            )
            n_real, one = (np.append(*both) for both in zip(real_of_kept, self.real.meet(from_part), strict=True))
            rarest = np.argsort(np.append(from_kept.log_share, from_part.log_share), kind="stable")[:n_predicates]
            is_singled = (n_synthetic == 1) & (n_real == 1)
            found[name] = np.unique(one[rarest][is_singled[rarest]])
        return found

    def _readings(self, singled: np.ndarray) -> Readings:
        inside = int((singled < self.n_train).sum())
        hits = {"train": (inside, self.n_train), "holdout": (len(singled) - inside, self.n_holdout)}
        return {
            f"singled_out_{side}": Reading(k / n, *clopper_pearson(k, n))
            if n
            else Reading(None, note="no rows to compare")
            for side, (k, n) in hits.items()
        }

    def _limit(self, singled: np.ndarray, level: float) -> float:
        if not self.n_train or not self.n_holdout:
            return 1.0
        outside = int((singled >= self.n_train).sum())
        return chance_count(self.n_train, self.n_holdout, outside, level) / self.n_train
