"""Attack: guess who was in the training data from how near the synthetic rows come.

A person scores minus the distance to the nearest synthetic row, divided by their isolation, so that a near
row says more about someone who has no neighbours. Holdout patients are the outsiders.

A second score asks how dense the synthetic rows are around a person against the reference (the ratio of DOMIAS, van
Breugel et al. 2023, https://arxiv.org/abs/2302.12580, equation 2).

# NOTE[DIFF] Both densities are those of the 5th nearest neighbour; DOMIAS estimates them by kernels or flows.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.attacks.findings import Levels, Outcome
from ehr_pipeline.evaluate.attacks.people import ISOLATION_NEIGHBOUR, MAX_REFERENCE, People
from ehr_pipeline.evaluate.attacks.plants import COPIES, JITTERED, RARE, TABLE, Suspect, alone
from ehr_pipeline.evaluate.attacks.rates import chance_auc, chance_hits, hits_at, ranking_auc
from ehr_pipeline.evaluate.attacks.space import nearest, points
from ehr_pipeline.evaluate.encoding import Encoded, draw
from ehr_pipeline.evaluate.scoring import Reading, Readings
from ehr_pipeline.evaluate.thresholds import Thresholds

RATES = {"1%": 0.01, "0.1%": 0.001}
MIN_OUTSIDERS = 10_000
"""Below this the rate of hits at 0.1 % false alarms is that of a handful of outsiders, and is not shown."""
MAX_DENSE = 2_500
"""Members, and outsiders, whose density is taken: it asks for five neighbours each."""
TINY = 1e-6


class Membership:
    """The membership attack on all people, on the most isolated tenth, and on groups of them.

    Parameters
    ----------
    groups
        Name to bool [members + outsiders]: subgroups and rare diagnoses whose patients are looked at by themselves.
    """

    name = "membership"
    question = "Can someone who knows a patient's values tell whether the patient was in the training data?"

    def __init__(
        self, people: People, groups: dict[str, np.ndarray], permuted: Encoded, rng: np.random.Generator
    ) -> None:
        self.people = people
        attacked = people.attacked
        self.attacked = points(people.encoding, attacked)
        everyone = np.ones(len(attacked), dtype=bool)
        self.groups = {"all": everyone, "isolated": people.is_isolated}
        if people.rarity:
            self.groups["rare"] = people.is_rare
        self.groups |= groups
        self.gates = tuple(f"membership_tpr_at_1%[{name}]" for name in ("isolated", "rare") if name in self.groups)
        others = [f"membership_tpr_at_1%[{name}]" for name in self.groups]
        self.watched = ("membership_auc[all]", "membership_density_auc[all]", *sorted({*others} - {*self.gates}))
        self.floor = self.chance() if people.fresh is None else self.attack(people.fresh)
        self.null = self.attack(draw(permuted, MAX_REFERENCE, rng))

    def must_find(self, planted: set[str]) -> tuple[str, ...]:
        """All of them."""
        return tuple(plant for plant in (COPIES, JITTERED, RARE) if plant in planted)

    def attack(self, table: Encoded) -> Readings:
        """The attack on a table."""
        return self._readings(*self._distances(alone(table))[TABLE])

    def outcomes(self, suspect: Suspect, levels: Levels) -> dict[str, Outcome]:
        """The attack on a table and on its twins."""
        limits = self._limits(levels)
        return {name: Outcome(self._readings(*found), limits) for name, found in self._distances(suspect).items()}

    def chance(self) -> Readings:
        """What guessing scores."""
        chance = {f"membership_auc[{group}]": Reading(0.5) for group in ("all", "isolated")}
        for group in self.groups:
            for name in self._rates_of(group):
                chance[f"membership_tpr_at_{name}[{group}]"] = Reading(RATES[name])
        return chance | {"membership_density_auc[all]": Reading(0.5)}

    def _readings(self, distance: np.ndarray, dense: np.ndarray) -> Readings:
        """All scores, from the distance to the nearest synthetic row [n], and to the 5th [dense people]."""
        people, score = self.people, -(distance + TINY) / (self.people.isolation + TINY)
        found: Readings = {}
        for group, chosen in self.groups.items():
            inside, outside = score[chosen & people.is_member], score[chosen & ~people.is_member]
            if group in ("all", "isolated"):
                found[f"membership_auc[{group}]"] = ranking_auc(inside, outside)
            for name in self._rates_of(group):
                found[f"membership_tpr_at_{name}[{group}]"] = _hits(inside, outside, name)
        ratio = -(dense + TINY) / (people.isolation[self._dense] + TINY)
        is_member = people.is_member[self._dense]
        return found | {"membership_density_auc[all]": ranking_auc(ratio[is_member], ratio[~is_member])}

    def _limits(self, levels: Levels) -> dict[str, float]:
        """What a score may be: the allowed excess over chance, or more where chance alone gives more."""
        thresholds = levels.thresholds
        n, m = self._sizes(self.groups["all"])
        n_dense, m_dense = self._sizes(np.isin(np.arange(len(self.attacked)), self._dense))
        allowed = 0.5 + thresholds.membership_auc_excess
        limits = {
            "membership_auc[all]": max(allowed, chance_auc(n, m, levels.watched)),
            "membership_density_auc[all]": max(allowed, chance_auc(n_dense, m_dense, levels.watched)),
        }
        for group, chosen in self.groups.items():
            name = f"membership_tpr_at_1%[{group}]"
            level = levels.gate if name in self.gates else levels.watched
            limits[name] = tpr_limit(*self._sizes(chosen), thresholds, level)
        return limits

    def _sizes(self, chosen: np.ndarray) -> tuple[int, int]:
        is_member = self.people.is_member
        return int((chosen & is_member).sum()), int((chosen & ~is_member).sum())

    @property
    def _dense(self) -> np.ndarray:
        """Places of the people whose density is taken, among members + outsiders."""
        n, m = len(self.people.member_rows), len(self.people.outsider_rows)
        return np.append(np.arange(min(n, MAX_DENSE)), n + np.arange(min(m, MAX_DENSE)))

    @staticmethod
    def _rates_of(group: str) -> tuple[str, ...]:
        return tuple(RATES) if group in ("all", "isolated") else ("1%",)

    def _distances(self, suspect: Suspect) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Per part: from everyone to the nearest synthetic row, and from the dense to the 5th."""
        dense = self.attacked[self._dense]
        near, fifth = (self._to(suspect.kept, rows, k) for rows, k in ((self.attacked, 1), (dense, 5)))
        found = {}
        for name, part in suspect.parts.items():
            nearer, fifths = (self._to(part, rows, k) for rows, k in ((self.attacked, 1), (dense, 5)))
            both = np.sort(np.hstack([fifth, fifths]), axis=1)[:, :ISOLATION_NEIGHBOUR]
            found[name] = np.minimum(near[:, 0], nearer[:, 0]), both[:, -1]
        return found

    def _to(self, table: Encoded, rows: np.ndarray, k: int) -> np.ndarray:
        """Distances [n, k or as many as there are rows] to the nearest rows of a table; infinite to none."""
        distance, _ = nearest(rows, points(self.people.encoding, table), k)
        return distance if distance.shape[1] else np.full((len(rows), 1), np.inf)


def tpr_limit(n: int, m: int, thresholds: Thresholds, level: float) -> float:
    """What hits at 1 % false alarms may be among n members and m outsiders."""
    return max(RATES["1%"] + thresholds.membership_tpr_excess, chance_hits(n, m, RATES["1%"], level))


def _hits(inside: np.ndarray, outside: np.ndarray, rate: str) -> Reading:
    """Hits at a rate of false alarms, which few outsiders cannot tell."""
    if rate == "0.1%" and len(outside) < MIN_OUTSIDERS:
        return Reading(None, note=f"not shown with fewer than {MIN_OUTSIDERS:,} control patients")
    return hits_at(inside, outside, RATES[rate])
