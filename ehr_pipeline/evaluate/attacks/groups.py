"""Groups of patients whose membership is attacked by itself: subgroups by sensitive columns, and rare diagnoses.

What belongs here: who is in which group. What does not: the attack, and how well a group is served (`subgroups.py`).
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.attacks.people import People
from ehr_pipeline.evaluate.attacks.rarity import RARE_SHARE
from ehr_pipeline.evaluate.columns import level_name
from ehr_pipeline.record import SMALL_CELL

MAX_SUBGROUPS = 8
MAX_RARE_LEVELS = 8
MIN_SUBGROUP = 50


def groups_of(people: People, sensitive: tuple[str, ...]) -> dict[str, np.ndarray]:
    """`column=level` to bool [members + outsiders], the largest groups first; none too small to speak of."""
    encoding, attacked, is_member = people.encoding, people.attacked, people.is_member
    subgroups, rare = {}, {}
    for place, (name, levels) in enumerate(zip(encoding.categorical, encoding.levels, strict=True)):
        codes = attacked.codes[:, place]
        share = np.bincount(codes, minlength=len(levels)) / max(len(codes), 1)
        for code, level in enumerate(levels):
            if name not in sensitive and share[code] >= RARE_SHARE:
                continue
            chosen = codes == code
            fewest = min(int((chosen & side).sum()) for side in (is_member, ~is_member))
            if share[code] < RARE_SHARE and fewest >= SMALL_CELL:
                rare[f"{name}={level_name(level)}"] = chosen
            elif name in sensitive and fewest >= MIN_SUBGROUP:
                subgroups[f"{name}={level_name(level)}"] = chosen
    return _largest(subgroups, MAX_SUBGROUPS) | _largest(rare, MAX_RARE_LEVELS)


def _largest(groups: dict[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    return dict(sorted(groups.items(), key=lambda item: -int(item[1].sum()))[:n])
