"""Attack: guess who was in the training data from how near the synthetic rows come.

A person scores minus the distance to the nearest synthetic row, divided by their isolation, so that a near
row says more about someone who has no neighbours. Holdout rows are the outsiders.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.attacks.people import MAX_REFERENCE, People, Suspect
from ehr_pipeline.evaluate.attacks.rates import chance_auc, chance_hits, hits_at, ranking_auc
from ehr_pipeline.evaluate.attacks.space import nearest, points
from ehr_pipeline.evaluate.encoding import Encoded, draw
from ehr_pipeline.evaluate.scoring import Reading, Readings
from ehr_pipeline.evaluate.thresholds import Thresholds

RATES = {"1%": 0.01, "0.1%": 0.001}
GATES = ("membership_auc[all]", "membership_tpr_at_1%[all]", "membership_tpr_at_1%[isolated]")
TINY = 1e-6


class Membership:
    """The membership attack on all people and on the most isolated tenth."""

    question = "Can someone who knows a patient's values tell whether the patient was in the training data?"

    def __init__(self, people: People) -> None:
        self.people = people
        self.attacked = points(people.encoding, people.attacked)

    def readings(self, distance: np.ndarray) -> Readings:
        """All scores, from each attacked person's distance [members + outsiders] to the nearest synthetic row."""
        people, score = self.people, -(distance + TINY) / (self.people.isolation + TINY)
        found = {}
        for group, chosen in (("all", np.ones(len(score), dtype=bool)), ("isolated", people.is_isolated)):
            inside, outside = score[chosen & people.is_member], score[chosen & ~people.is_member]
            found[f"membership_auc[{group}]"] = ranking_auc(inside, outside)
            for name, rate in RATES.items():
                found[f"membership_tpr_at_{name}[{group}]"] = hits_at(inside, outside, rate)
        return found

    def attack(self, table: Encoded) -> Readings:
        """The attack on a table."""
        return self.readings(self._distance(table))

    def attack_with_control(self, suspect: Suspect) -> tuple[Readings, Readings]:
        """The attack on a table, and on its twin with the planted leak."""
        kept, replaced, planted = (self._distance(t) for t in (suspect.kept, suspect.replaced, suspect.planted))
        return self.readings(np.minimum(kept, replaced)), self.readings(np.minimum(kept, planted))

    def floor(self) -> Readings:
        """The attack on fresh holdout rows, or chance where there are none to spare."""
        if self.people.fresh is not None:
            return self.attack(self.people.fresh)
        chance = {f"membership_auc[{group}]": Reading(0.5) for group in ("all", "isolated")}
        for name, rate in RATES.items():
            chance |= {f"membership_tpr_at_{name}[{group}]": Reading(rate) for group in ("all", "isolated")}
        return chance

    def null(self, permuted: Encoded, rng: np.random.Generator) -> Readings:
        """The attack on independent columns."""
        return self.attack(draw(permuted, MAX_REFERENCE, rng))

    def limits(self, thresholds: Thresholds) -> dict[str, float]:
        """What each gating score may be: the allowed excess over chance, or more where chance alone gives more."""
        n, m = len(self.people.members), len(self.people.outsiders)
        isolated = self.people.is_isolated
        n_isolated = int((isolated & self.people.is_member).sum())
        m_isolated = int((isolated & ~self.people.is_member).sum())
        level, allowed = thresholds.chance_level, RATES["1%"] + thresholds.membership_tpr_excess
        return {
            GATES[0]: max(0.5 + thresholds.membership_auc_excess, chance_auc(n, m, level)),
            GATES[1]: max(allowed, chance_hits(n, m, RATES["1%"], level)),
            GATES[2]: max(allowed, chance_hits(n_isolated, m_isolated, RATES["1%"], level)),
        }

    def _distance(self, table: Encoded) -> np.ndarray:
        distance, _ = nearest(self.attacked, points(self.people.encoding, table))
        return distance[:, 0] if distance.shape[1] else np.full(len(self.attacked), np.inf)
