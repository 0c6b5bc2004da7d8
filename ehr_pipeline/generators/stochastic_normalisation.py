"""Numbers to uniform ones and back: each value owns an interval as long as its share (EHR-Safe, algorithm 1).

What belongs here: one column of numbers. What does not: which columns there are (`record_layout.py`), networks.

A column in which a few values hold most patients pulls a generator into those modes; spread over their intervals, all
columns are uniform, and nothing is heavy any more. The inverse reads in whose interval a number lies.

# NOTE[DIFF] The paper's intervals belong to single values, so that what one patient alone has is given back as it was.
#   By default, values of fewer than `MINIMUM_PATIENTS` patients share an interval here, and what is drawn from it is
#   any number between them on the column's grid (`number_codec.py`). The paper's own is `exact`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.number_codec import NumberCodec

EDGE = 1e-6
"""Part of an interval that is left out at both ends, so that rounding never leaves it."""


@dataclass(frozen=True)
class StochasticNormalisation:
    """One column: the staircase of its values."""

    codec: NumberCodec

    @classmethod
    def fit(
        cls, values: np.ndarray, patient: np.ndarray, *, exact: bool = False, decimals: int | None = None
    ) -> Self | None:
        """Learn from present values, float64 of shape (n,), of the patients `patient`.

        None if fewer than `MINIMUM_PATIENTS` patients have a value at all, or with `exact` if nobody has.
        """
        if exact:
            return cls(_staircase(values)) if len(values) else None
        codec = NumberCodec.fit(values, patient, decimals=decimals, minimum_patients=MINIMUM_PATIENTS)
        return cls(codec) if codec.n_number_levels else None

    def normalise(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A number in (0, 1) for each value: float64 of shape (n,); finite values only."""
        codec = self.codec
        step = 0.0 if codec.decimals is None else 10.0**-codec.decimals
        values = values if codec.decimals is None else np.round(values, codec.decimals)
        segment = np.clip(np.searchsorted(codec.upper, values, side="left"), 0, len(codec.upper) - 1)
        lower, width = codec.lower[segment], (codec.upper - codec.lower)[segment]
        chance = rng.uniform(EDGE, 1 - EDGE, len(values))
        # Inside an interval a value owns one step of the grid; a heavy value owns the whole interval.
        position = np.divide(values + (chance - 0.5) * step - lower, width, out=chance, where=width > 0)
        start, end = codec.segment_ranks[segment], codec.segment_ranks[segment + 1]
        return start + (end - start) * np.clip(position, EDGE, 1 - EDGE)

    def restore(self, ranks: np.ndarray) -> np.ndarray:
        """The value in whose interval each number in [0, 1] lies: float64 of shape (n,)."""
        return self.codec.from_ranks(ranks)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What JSON and safetensors hold of it."""
        return self.codec.state()

    @classmethod
    def of_state(cls, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Read what `state` gave."""
        return cls(NumberCodec(**plain, **arrays))


def _staircase(values: np.ndarray) -> NumberCodec:
    """Each distinct value with its own share, whoever has it."""
    distinct, n_rows = np.unique(values, return_counts=True)
    return NumberCodec(
        decimals=None,
        lowest=float(distinct[0]),
        highest=float(distinct[-1]),
        lower=distinct,
        upper=distinct,
        segment_ranks=np.concatenate([[0.0], np.cumsum(n_rows) / n_rows.sum()]),
        level_starts=np.array([0, len(distinct)]),
        missing_share=0.0,
    )
