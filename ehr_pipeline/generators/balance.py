"""Rows by given shares: a column's levels re-weighted at sampling time, exactly, on top of any generator.

What belongs here: which parts a sample has, how many rows each gets, and drawing them in shuffled chunks. What does
not: meeting a part's conditions (the generator), or what is rejected afterwards (`sanity/`).

A rare disease gets as many rows as are wanted, a small group as many as a large one; inside a part the rows are as the
model has them. Several columns give their cross, whose shares are the products.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.base import Generator
from ehr_pipeline.generators.category_codec import CategoryCodec
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.conditions import conditions_row
from ehr_pipeline.generators.sampling import CHUNK_ROWS

MOST_PARTS = 1_000
"""Parts of a sample at most: each is drawn by itself."""

FEWEST_ROUND_ROWS = 4_096
"""Rows that may be drawn in one round at least, when few are missing and most are thrown away."""

Balance = Mapping[str, Mapping[str, float]]
"""By column, the share of rows that each level gets; no level means equal shares of all, "" the missing value.

Levels that are not named share what is left, in the proportions that the training patients have them in.
"""

Draw = Callable[[int, int, dict[str, Any]], pd.DataFrame]
"""Rows, seed and conditions to a frame with `attrs["acceptance_rate"]`: what `Generator.sample` is."""

Keep = Callable[[pd.DataFrame], pd.DataFrame]
"""A frame to those of its rows that may stay, under the index that they had."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of one sample that meet the same conditions."""

    conditions: dict[str, Any]
    n_rows: int


@dataclass(kw_only=True)
class Cost:
    """What a part has cost so far.

    Attributes
    ----------
    n_draws
        Draws of the model, as its acceptance rates tell.
    n_met
        Rows that met the conditions.
    n_kept
        Those of them that may stay.
    """

    n_draws: float = 0.0
    n_met: int = 0
    n_kept: int = 0

    @property
    def acceptance_rate(self) -> float:
        """Share of the draws that met the conditions; 1 before the first."""
        return self.n_met / self.n_draws if self.n_draws else 1.0

    def asks(self, n_missing: int) -> int:
        """Rows to draw so that about `n_missing` of them may stay."""
        return math.ceil(n_missing * (self.n_met + 1) / (self.n_kept + 1)) if n_missing else 0


def read_balance(texts: Iterable[str]) -> dict[str, dict[str, float]]:
    """Balances written as COLUMN (equal shares) or COLUMN=LEVEL:SHARE,...; a level with a comma stands in quotes.

    >>> read_balance(["sex", "unit=MICU:0.5,CCU:0.2"])
    {'sex': {}, 'unit': {'MICU': 0.5, 'CCU': 0.2}}

    Raises
    ------
    OptionError
        It is written otherwise, or names a column or a level twice.
    """
    balance: dict[str, dict[str, float]] = {}
    for text in texts:
        name, sign, listed = text.partition("=")
        if not name or (sign and not listed):
            raise OptionError("a balance must be written as COLUMN or COLUMN=LEVEL:SHARE,...")
        if name in balance:
            raise OptionError(f"there are two balances of {name}; write its levels in one, with commas")
        balance[name] = _read_shares(name, listed) if sign else {}
    return balance


def plan_parts(
    codec: TableCodec, n: int, balance: Balance | None = None, conditions: Mapping[str, Any] | None = None
) -> list[Part]:
    """The parts of a sample of `n` rows: the cross of the balanced columns, rows by largest remainder.

    Without a balance, one part. Parts of no row are left out.

    Raises
    ------
    OptionError
        A column is unknown, not of categories, or also conditioned; a level cannot be drawn; shares are none; there
        are more than `MOST_PARTS` parts.
    """
    conditions = dict(conditions or {})
    shares = {name: _shares_of(codec, name, dict(wanted)) for name, wanted in (balance or {}).items()}
    for name in shares:
        if name in conditions:
            raise OptionError(f"{name} has a condition and a balance; leave one out")
    n_parts = math.prod(len(levels) for levels in shares.values())
    if n_parts > MOST_PARTS:
        raise OptionError(
            f"the balance of {', '.join(shares)} makes {n_parts:,} parts, {MOST_PARTS:,} at most; name fewer"
        )
    cross = list(itertools.product(*(levels.items() for levels in shares.values())))
    counts = largest_remainder(np.array([math.prod(share for _, share in cell) for cell in cross]), n)
    parts = [
        Part(conditions=conditions | {name: level for name, (level, _) in zip(shares, cell, strict=True)}, n_rows=count)
        for cell, count in zip(cross, counts.tolist(), strict=True)
    ]
    for part in parts:
        conditions_row(codec, part.conditions)
    return [part for part in parts if part.n_rows]


def largest_remainder(shares: np.ndarray, n: int) -> np.ndarray:
    """Whole numbers that sum to `n` and stand in `shares` (float64, sum 1) as nearly as can be: int64.

    >>> largest_remainder(np.array([0.5, 0.25, 0.25]), 5).tolist()
    [3, 1, 1]
    """
    exact = shares * n
    counts = np.floor(exact + 1e-9).astype(np.int64)
    first = np.argsort(counts - exact, kind="stable")
    counts[first[: n - counts.sum()]] += 1
    return counts


def draw_parts(
    draw: Draw,
    parts: Sequence[Part],
    seed: int,
    costs: Sequence[Cost],
    *,
    keep: Keep | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[pd.DataFrame]:
    """The rows of all parts in chunks of `chunk_rows`, shuffled as if the whole table had been; adds to `costs`.

    How many rows of each part fall into a chunk is drawn as cards are dealt (a multivariate hypergeometric), so
    that one chunk is held at a time and each part has its exact number in the end, whatever `keep` throws away.
    """
    left = np.array([part.n_rows for part in parts], dtype=np.int64)
    for chunk in range(math.ceil(left.sum() / chunk_rows)):
        rng = np.random.default_rng((seed, chunk))
        dealt = rng.multivariate_hypergeometric(left, min(chunk_rows, left.sum()), method="marginals")
        left -= dealt
        rows = pd.concat(_deal(draw, parts, dealt, costs, keep=keep, rng=rng), ignore_index=True)
        yield rows.take(rng.permutation(len(rows))).reset_index(drop=True)


def _deal(
    draw: Draw,
    parts: Sequence[Part],
    dealt: np.ndarray,
    costs: Sequence[Cost],
    *,
    keep: Keep | None,
    rng: np.random.Generator,
) -> Iterator[pd.DataFrame]:
    """`dealt` rows of each part (int64 of shape (n_parts,)), in rounds until `keep` has left enough."""
    missing, most = dealt.copy(), max(int(dealt.sum()), FEWEST_ROUND_ROWS)
    while missing.any():
        asked = np.array([cost.asks(n) for cost, n in zip(costs, missing.tolist(), strict=True)])
        asked = np.ceil(asked * min(1.0, most / asked.sum())).astype(np.int64)
        drawn = []
        for k in np.flatnonzero(asked):
            frame = draw(int(asked[k]), int(rng.integers(2**63)), parts[k].conditions)
            costs[k].n_draws += len(frame) / frame.attrs.pop("acceptance_rate", 1.0)
            costs[k].n_met += len(frame)
            drawn.append(frame)
        rows = pd.concat(drawn, ignore_index=True)
        stay = rows if keep is None else keep(rows)
        part = np.repeat(np.arange(len(parts)), asked)[stay.index]
        place_in_part = pd.Series(part).groupby(part).cumcount().to_numpy()
        for cost, n_kept in zip(costs, np.bincount(part, minlength=len(parts)).tolist(), strict=True):
            cost.n_kept += n_kept
        is_wanted = place_in_part < missing[part]
        missing -= np.bincount(part[is_wanted], minlength=len(parts))
        yield stay[is_wanted]


def sample_balanced(
    generator: Generator, n: int, seed: int, balance: Balance | None = None, conditions: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """`n` rows by the shares of `balance`, as one frame.

    `attrs["acceptance_rate"]` is the rate over all parts, `attrs["parts"]` what `account` says of each.
    """
    parts = plan_parts(generator.codec, n, balance, conditions)
    if not parts:
        return generator.sample(0, seed, dict(conditions or {}))
    costs = [Cost() for _ in parts]
    frame = pd.concat(draw_parts(generator.sample, parts, seed, costs), ignore_index=True)
    frame.attrs["acceptance_rate"] = overall_rate(costs)
    frame.attrs["parts"] = account(parts, costs)
    return frame


def overall_rate(costs: Iterable[Cost]) -> float:
    """Share of all draws that met their part's conditions; 1 if there was none."""
    n_met, n_draws = np.sum([(cost.n_met, cost.n_draws) for cost in costs], axis=0)
    return float(n_met / n_draws) if n_draws else 1.0


def account(parts: Sequence[Part], costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """Per part its conditions, its rows, and the share of the draws that met the conditions, as plain JSON."""
    return [
        {"conditions": part.conditions, "n_rows": part.n_rows, "acceptance_rate": cost.acceptance_rate}
        for part, cost in zip(parts, costs, strict=True)
    ]


def _read_shares(name: str, listed: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    try:
        fields = next(csv.reader([listed]))
    except csv.Error:  # a line break outside of quotes, a field without end
        raise OptionError(f"the balance of {name} must be one line: LEVEL:SHARE,...") from None
    for field in fields:
        level, sign, text = field.rpartition(":")
        try:
            share = float(text)
        except ValueError:
            share = math.nan
        if not sign or not 0 <= share <= 1:
            raise OptionError(f"the balance of {name} must be written as LEVEL:SHARE,... with shares from 0 to 1")
        if level in shares:
            raise OptionError(f"the balance of {name} names a level twice")
        shares[level] = share
    return shares


def _shares_of(codec: TableCodec, name: str, wanted: dict[str, float]) -> dict[str, float]:
    """The share of each level of a column, those that are not named included; sums to 1."""
    if name not in codec.schema:
        raise OptionError(f"the balance names the column {name!r}, which the model does not have")
    column = codec.columns[codec.schema.names.index(name)]
    if not isinstance(column, CategoryCodec):
        raise OptionError(f"{name} is a column of numbers or times, which has no levels to balance; condition on it")
    levels = [*column.names, *([""] if column.may_be_missing else [])]
    own = dict(zip(levels, column.level_shares.tolist(), strict=True))
    if not wanted:
        return dict.fromkeys(column.names, 1 / len(column.names)) if column.names else {"": 1.0}
    if not set(wanted) <= set(levels):
        raise OptionError(f"the balance of {name} names a level that no training patient has, or too few")
    total, rest = sum(wanted.values()), {level: share for level, share in own.items() if level not in wanted}
    if any(not 0 <= share <= 1 for share in wanted.values()) or total > 1 + 1e-6:
        raise OptionError(f"the balance of {name} must have shares from 0 to 1 that sum to 1 at most")
    if not sum(rest.values()) and abs(total - 1) > 1e-6:
        raise OptionError(f"the balance of {name} names every level, so its shares must sum to 1")
    scale = max(0.0, 1 - total) / sum(rest.values()) if sum(rest.values()) else 0.0
    shares = wanted | {level: share * scale for level, share in rest.items()}
    return {level: share / sum(shares.values()) for level, share in shares.items()}
