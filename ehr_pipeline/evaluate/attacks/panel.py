"""All attacks on one synthetic table, their controls, and the privacy verdicts.

What belongs here: which attacks are run. Each attack is a file of its own beside this one; how their findings become
scores is in `findings.py`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.attacks.copies import Copies
from ehr_pipeline.evaluate.attacks.distances import Distances
from ehr_pipeline.evaluate.attacks.findings import Finding, Levels, Tried
from ehr_pipeline.evaluate.attacks.groups import groups_of
from ehr_pipeline.evaluate.attacks.inference import AttributeInference, Linkage
from ehr_pipeline.evaluate.attacks.membership import Membership
from ehr_pipeline.evaluate.attacks.model_scores import N_LIMITS, MemberScores, model_scores
from ehr_pipeline.evaluate.attacks.people import gather
from ehr_pipeline.evaluate.attacks.plants import plant
from ehr_pipeline.evaluate.attacks.singling import SinglingOut
from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.result import Attack, Score
from ehr_pipeline.evaluate.scoring import assemble
from ehr_pipeline.evaluate.thresholds import Thresholds


class Panel:
    """The attacks, prepared once for a cohort: people chosen, floors and nulls measured.

    Parameters
    ----------
    secrets
        Columns whose values are inferred from all others.
    known
        Columns by which rows are linked; none for no linkage.
    sensitive
        Columns whose groups are looked at by themselves.
    is_singled
        Whether singling out is tried. Rows of hundreds of columns are all unlike each other, and it then sees nothing.
    """

    def __init__(
        self,
        encoding: Encoding,
        *,
        train: Encoded,
        holdout: Encoded,
        permuted: Encoded,
        secrets: tuple[str, ...],
        rng: np.random.Generator,
        known: tuple[str, ...] = (),
        sensitive: tuple[str, ...] = (),
        is_singled: bool = True,
    ) -> None:
        people = gather(encoding, train, holdout, rng)
        self.people = people
        self.n_patients = min(len(people.train), len(people.holdout))
        self.copies = Copies(people, train, holdout, permuted)
        self.membership = Membership(people, groups_of(people, sensitive), permuted, rng)
        self.attacks: list[Tried] = [self.copies, self.membership]
        self.attacks += [AttributeInference(people, secret, permuted, rng) for secret in secrets]
        if 0 < len(known) < len(encoding.names):
            self.attacks.append(Linkage(people, known, permuted, rng))
        if is_singled:
            self.attacks.append(SinglingOut(people, permuted, rng))
        self.distances = Distances(encoding, train, holdout, rng)
        self.floor = self.distances.readings(self.distances.fresh, rng)
        self.null = self.distances.readings(permuted, rng)

    def assess(
        self,
        table: Encoded,
        thresholds: Thresholds,
        rng: np.random.Generator,
        *,
        model: MemberScores | None = None,
        real: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    ) -> tuple[dict[str, Score], list[Attack]]:
        """Privacy scores with verdicts, and each attack with what its controls showed.

        With the fitted `model`'s own scores and the `real` tables' frames, the model is attacked too.
        """
        n_watched = sum(len(attack.watched) for attack in self.attacks) + N_LIMITS
        levels = Levels(thresholds, sum(len(attack.gates) for attack in self.attacks), n_watched)
        suspect = plant(table, self.people, rng)
        findings = [Finding(attack, attack.outcomes(suspect, levels), suspect.planted_share) for attack in self.attacks]
        scores: dict[str, Score] = {}
        for finding in findings:
            scores |= finding.scores(thresholds, self.n_patients)
        if model is not None and real is not None:
            scores |= model_scores(self.people, real, model, levels, self.n_patients)
        scores |= assemble(self.distances.readings(table, rng), self.floor, self.null)
        return scores, [finding.as_attack() for finding in findings]
