"""Who has a rare diagnosis: patients with a level, or levels together, that few others have.

What belongs here: how rare a row's levels are. What does not: what an attack makes of it. Numbers are not asked:
whoever stands out by them is isolated (`people.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ehr_pipeline.evaluate.encoding import Encoded, Encoding

RARE_SHARE = 0.02
MAX_RARE = 0.1
MOST_COLUMNS = {1: 10_000, 2: 30, 3: 15, 4: 12, 5: 10}
"""Of how many columns, the first ones, levels are looked at one by one, two by two, three by three, ..."""
NOTHING = 1.0


@dataclass(frozen=True)
class Rarity:
    """Shares of levels, or of levels together, among real patients of training and holdout.

    Attributes
    ----------
    sizes
        Codes of each categorical column.
    columns
        Groups of columns, all of one size, whose joint levels are counted.
    shares
        Per group the share of rows of each joint level, flat.
    missing
        Per column its code of a missing value, which is no diagnosis.
    highest
        Rows at most this rare are the rare ones: under `RARE_SHARE`, and no more than about `MAX_RARE` of all.
    """

    sizes: np.ndarray
    columns: tuple[tuple[int, ...], ...]
    shares: tuple[np.ndarray, ...]
    missing: np.ndarray
    highest: float

    @classmethod
    def learn(cls, encoding: Encoding, real: Encoded, n_wanted: int) -> Rarity:
        """Count single levels; two or more together where fewer than `n_wanted` rows have a rare one."""
        for width in MOST_COLUMNS:
            rarity = cls._of(encoding, real, width)
            if rarity.is_rare(real).sum() >= n_wanted:
                break
        return rarity

    @classmethod
    def _of(cls, encoding: Encoding, real: Encoded, width: int) -> Rarity:
        sizes = np.array([len(levels) + 2 for levels in encoding.levels], dtype=np.int64)
        columns = range(min(len(sizes), MOST_COLUMNS[width]))
        groups = tuple(combinations(columns, width))
        counts = (np.bincount(_joint(real, group, sizes), minlength=1) for group in groups)
        shares = tuple(count / max(len(real), 1) for count in counts)
        counted = cls(sizes, groups, shares, sizes - 1, 0.0)
        rarity = counted.of(real)
        highest = min(float(np.quantile(rarity, MAX_RARE)), np.nextafter(RARE_SHARE, 0)) if len(rarity) else 0.0
        return cls(sizes, groups, shares, sizes - 1, highest)

    def of(self, table: Encoded) -> np.ndarray:
        """Share of real rows with the rarest of each row's levels, float64 [n]; 1 where it has none."""
        rarity = np.full(len(table), NOTHING)
        for group, shares in zip(self.columns, self.shares, strict=True):
            joint = _joint(table, group, self.sizes)
            share = shares[np.minimum(joint, len(shares) - 1)]
            is_known = (table.codes[:, group] != self.missing[list(group)]).all(axis=1) & (joint < len(shares))
            rarity = np.minimum(rarity, np.where(is_known, share, NOTHING))
        return rarity

    def is_rare(self, table: Encoded) -> np.ndarray:
        """Whether a row is one of the rare ones, bool [n]."""
        return self.of(table) <= self.highest


def _joint(table: Encoded, group: tuple[int, ...], sizes: np.ndarray) -> np.ndarray:
    """The joint level of a group of columns, int64 [n]."""
    joint = np.zeros(len(table), dtype=np.int64)
    for place in group:
        joint = joint * sizes[place] + table.codes[:, place]
    return joint
