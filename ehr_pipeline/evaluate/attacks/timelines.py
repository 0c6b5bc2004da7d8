"""All attacks on synthetic timelines, their controls, and the privacy verdicts. The unit is the patient.

What belongs here: which attacks are run, and the leaks planted among events. A stay as one row (`stays.py`) meets the
attacks on tables (`panel.py`), under names with `stays`; the order of its events those of `stretches.py`.

The limits on rows and those on the order of events share one chance of a false alarm (`Thresholds.chance_level`), which
is beside that of the patient table. Thrice 1,333 stays of 436 events: 14 seconds of one core.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.attacks.findings import Finding, Levels
from ehr_pipeline.evaluate.attacks.panel import Panel
from ehr_pipeline.evaluate.attacks.people import LEAK_SHARE
from ehr_pipeline.evaluate.attacks.plants import COPIES, STRETCHES, TABLE
from ehr_pipeline.evaluate.attacks.sequences import Keys, Pieces, pieces, stretches
from ehr_pipeline.evaluate.attacks.stays import StaySummaries
from ehr_pipeline.evaluate.attacks.stretches import CopiedStretches, Met, Real, StretchMembership
from ehr_pipeline.evaluate.score import Attack, PlantedLeak, Score
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.evaluate.timelines.stream import Timelines

STAYS = "stays"
STRETCH_EVENTS = 20
"""Events in a row of each patient that a planted stretch gives away."""


class TimelinePanel:
    """The attacks, prepared once for the real patients of both sides.

    Parameters
    ----------
    train, holdout
        Timelines on `codes`, which are the codes of both sides together.
    train_owner, holdout_owner
        Whose timeline each is, int64 [n_patients]; each its own where not said.
    """

    def __init__(
        self,
        train: Timelines,
        holdout: Timelines,
        codes: pd.Index,
        rng: np.random.Generator,
        *,
        train_owner: np.ndarray | None = None,
        holdout_owner: np.ndarray | None = None,
    ) -> None:
        self.codes, self.train = codes, train
        self.train_owner = _numbered(train_owner, train.n_patients)
        own_holdout = _numbered(holdout_owner, holdout.n_patients)
        shuffled = train.shuffled(rng)
        self.summaries = StaySummaries.of(train, holdout, codes)
        frames = [self.summaries.frame(side) for side in (train, holdout)]
        self.encoding = self.summaries.learn(*frames)
        self.panel = Panel(
            self.encoding,
            train=self.encoding.encode(frames[0], self.train_owner),
            holdout=self.encoding.encode(frames[1], own_holdout),
            permuted=self.summaries.encode(self.encoding, shuffled),
            secrets=(),
            rng=rng,
            is_singled=False,
        )
        inside, outside = pieces(train, self.train_owner), pieces(holdout, own_holdout)
        self.real = Real.of(_joined(inside, outside), inside.n_owners)
        self.n_patients = min(inside.n_owners, outside.n_owners)
        lent = inside.n_owners + rng.permutation(outside.n_owners)[: outside.n_owners // 2]
        fresh = Met.of(self.real.pieces, self.real.pieces.of(lent))
        is_stranger = ~self.real.is_train & ~np.isin(np.arange(self.real.pieces.n_owners), lent)
        null = Met.of(self.real.pieces, pieces(shuffled))
        self.attacks = [kind(self.real, fresh, is_stranger, null) for kind in (CopiedStretches, StretchMembership)]

    def assess(
        self, synthetic: Timelines, thresholds: Thresholds, rng: np.random.Generator
    ) -> tuple[dict[str, Score], list[Attack]]:
        """Privacy scores with verdicts, and each attack with what its controls showed.

        Parameters
        ----------
        synthetic
            Timelines on this panel's `codes`; each is a patient.
        """
        half = replace(thresholds, chance_level=1 - (1 - thresholds.chance_level) / 2)
        rows = self.summaries.encode(self.encoding, synthetic)
        found, tried = self.panel.assess(rows, half, rng)
        scores = {_of_stays(name): score.model_copy(update={"name": _of_stays(name)}) for name, score in found.items()}
        attacks = [_attack_of_stays(attack) for attack in tried]
        levels = Levels(half, sum(len(a.gates) for a in self.attacks), sum(len(a.watched) for a in self.attacks))
        met, planted_share = self._met(synthetic, rng)
        for attack in self.attacks:
            finding = Finding(attack, attack.outcomes(met, levels), planted_share)
            scores |= finding.scores(half, self.n_patients)
            attacks.append(finding.as_attack())
        return scores, attacks

    def _met(self, synthetic: Timelines, rng: np.random.Generator) -> tuple[dict[str, Met], float]:
        """Pieces that are met in the events and in their twins with planted leaks, and the share that is planted.

        As many synthetic patients as are 1 % of them or of the training patients, whichever are fewer, make room.
        """
        n_fewer = min(synthetic.n_patients, self.real.n_train)
        n_planted = min(max(round(LEAK_SHARE * n_fewer), 1), n_fewer)
        leaked = self.real.foremost[:n_planted]
        own = self.train.of_patients(np.flatnonzero(np.isin(self.train_owner, leaked)))
        made, room = pieces(synthetic), rng.permutation(synthetic.n_patients)[:n_planted]
        parts = {
            TABLE: made.of(room),
            COPIES: pieces(own),
            STRETCHES: pieces(stretches(own, STRETCH_EVENTS, rng)),
        }
        kept = Met.of(self.real.pieces, made.without(room))
        met = {name: kept | Met.of(self.real.pieces, part) for name, part in parts.items()}
        return met, n_planted / max(synthetic.n_patients, 1)


def _numbered(owner: np.ndarray | None, n: int) -> np.ndarray:
    """Owners as 0, 1, 2, ...: int64 [n]."""
    return np.arange(n) if owner is None else np.unique(owner, return_inverse=True)[1].astype(np.int64)


def _joined(first: Pieces, second: Pieces) -> Pieces:
    """The pieces of both; the owners of the second are numbered on."""
    both = {}
    for name in ("short", "long", "stays", "values"):
        one, other = getattr(first, name), getattr(second, name)
        both[name] = Keys(np.append(one.key, other.key), np.append(one.owner, other.owner + first.n_owners))
    return Pieces(**both, n_owners=first.n_owners + second.n_owners)


def _of_stays(name: str) -> str:
    """A score's name where its rows are stays.

    >>> _of_stays("membership_auc[all]"), _of_stays("dcr_share")
    ('membership_auc[stays, all]', 'dcr_share[stays]')
    """
    stem, _, which = name.partition("[")
    return f"{stem}[{STAYS}, {which}" if which else f"{stem}[{STAYS}]"


def _attack_of_stays(attack: Attack) -> Attack:
    def leak(plant: PlantedLeak) -> PlantedLeak:
        return plant.model_copy(update={"score": _of_stays(plant.score)})

    return attack.model_copy(
        update={
            "name": f"{attack.name} ({STAYS})",
            "score_names": [_of_stays(name) for name in attack.score_names],
            "planted_score": None if attack.planted_score is None else _of_stays(attack.planted_score),
            "plants": [leak(plant) for plant in attack.plants],
        }
    )
