"""Attack with the fitted model at hand: whether it finds training patients more typical than others.

The model's own score of a patient, its likelihood, denoising loss or critic, ranks members against outsiders. No leak
can be planted here without training again, so these scores never pass: they are diagnostics with a limit, beyond which
they fail. Whoever holds only the synthetic table cannot run this attack.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.attacks.findings import Levels
from ehr_pipeline.evaluate.attacks.membership import RATES
from ehr_pipeline.evaluate.attacks.people import People
from ehr_pipeline.evaluate.attacks.rates import chance_auc, chance_hits, hits_at, ranking_auc
from ehr_pipeline.evaluate.result import Score
from ehr_pipeline.evaluate.scoring import Reading, assemble
from ehr_pipeline.evaluate.verdicts import decide

MemberScores = Callable[[pd.DataFrame], np.ndarray | None]
MAX_SCORED = 2_500
"""Members, and outsiders, at most: a network's loss costs more than a distance."""
GROUPS = ("all", "isolated")
N_LIMITS = 3
"""An AUROC of everyone, and hits of everyone and of the isolated: networks know who stands out a little better."""
NO_PLANT = "a leak cannot be planted in a model without training it again, so that this can fail and not pass"


def model_scores(
    people: People,
    real: tuple[pd.DataFrame, pd.DataFrame],
    score: MemberScores,
    levels: Levels,
    n_patients: int,
) -> dict[str, Score]:
    """AUROC and hits of the model's own score, on everyone and on the most isolated tenth; empty if it has none.

    `real` are the frames of the training and the holdout table that `people` were taken from.
    """
    train, holdout = real
    n, m = (min(MAX_SCORED, len(rows)) for rows in (people.member_rows, people.outsider_rows))
    members = train.iloc[people.train_rows[people.member_rows[:n]]]
    outsiders = holdout.iloc[people.holdout_rows[people.outsider_rows[:m]]]
    scored = [score(rows.reset_index(drop=True)) for rows in (members, outsiders)]
    if scored[0] is None or scored[1] is None:
        return {}
    ranked, is_member = np.concatenate(scored), np.repeat([True, False], [n, m])
    is_isolated = people.is_isolated[np.append(np.arange(n), len(people.member_rows) + np.arange(m))]
    thresholds, found, limits = levels.thresholds, {}, {}
    for group, chosen in zip(GROUPS, (np.ones(n + m, dtype=bool), is_isolated), strict=True):
        inside, outside = ranked[chosen & is_member], ranked[chosen & ~is_member]
        sizes = len(inside), len(outside)
        auc, tpr = f"model_auc[{group}]", f"model_tpr_at_1%[{group}]"
        found |= {auc: ranking_auc(inside, outside), tpr: hits_at(inside, outside, RATES["1%"])}
        if group == "all":
            limits[auc] = max(0.5 + thresholds.model_auc_excess, chance_auc(*sizes, levels.watched))
        excess = RATES["1%"] + thresholds.model_tpr_excess
        limits[tpr] = max(excess, chance_hits(*sizes, RATES["1%"], levels.watched))
    chance = {name: Reading(0.5 if "auc" in name else RATES["1%"]) for name in found}
    scores = assemble(found, chance, chance)
    return scores | {
        name: decide(
            scores[name],
            limit,
            control_is_caught=False,
            when_not=NO_PLANT,
            verdict_when_not="diagnostic",
            thresholds=thresholds,
            n_patients=n_patients,
        )
        for name, limit in limits.items()
    }
