"""What a record holds: which codes are columns, what their values may be, which are rare, which end a stay.

What belongs here: what is learned of columns, none of it by a network. What does not: patients (`record_arrays.py`).

Timed codes play three parts. *Features* are the `MOST_FEATURES` codes with most events: a column of masks each, with
its numbers and texts. The codes after them, up to `MOST_RARE`, are *rare*: the tokens of a set at each time stamp.
*Ends* are codes that nothing ever follows at a later time (death, discharge): a patient has each or not, at the end of
the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ehr_pipeline.generators.category_autoencoder import ABSENT, Tokens
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.event_values import Symbols
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.persistence import under
from ehr_pipeline.generators.stochastic_normalisation import StochasticNormalisation
from ehr_pipeline.generators.timeline_steps import TimedEvents

MOST_FEATURES, MOST_RARE, MOST_ENDS = 64, 4096, 32
MOST_TEXTS = 64
"""Texts of a feature, the commonest; others count as no text."""
NOTHING, NUMBER, FIRST_TEXT = 0, 1, 2
"""What the value of an event may be."""
FARTHEST_Z = 3.5


@dataclass(frozen=True, kw_only=True)
class RecordLayout:
    """The columns of records over time.

    Attributes
    ----------
    features, rare, ends
        Codes in their parts.
    numbers
        Normalisation of each feature that has numbers, by feature.
    texts
        Texts of each feature that has some, by feature.
    forms
        What the value of each feature's events may be: `NOTHING`, `NUMBER`, `FIRST_TEXT` + place of the text. A feature
        with two forms or more is a group of tokens.
    gaps
        Minutes from one time stamp to the next, in levels; and to the first from the origin.
    end_times
        Minutes from the origin to the end of a record that one of `ends` ends.
    begins
        Minute of the day of the origin.
    """

    features: tuple[str, ...]
    rare: tuple[str, ...]
    ends: tuple[str, ...]
    numbers: dict[int, StochasticNormalisation]
    texts: dict[int, tuple[str, ...]]
    forms: tuple[tuple[int, ...], ...]
    gaps: NumberCodec
    end_times: NumberCodec
    begins: NumberCodec

    @property
    def grouped(self) -> list[int]:
        """Features whose values have two forms or more."""
        return [k for k, forms in enumerate(self.forms) if len(forms) > 1]

    @property
    def tokens(self) -> Tokens:
        """Tokens of a time stamp."""
        return Tokens(tuple(len(self.forms[k]) for k in self.grouped), len(self.rare))

    @property
    def has_numbers(self) -> np.ndarray:
        """Which features have numbers: bool of shape (n_features,)."""
        return np.isin(np.arange(len(self.features)), list(self.numbers))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What JSON and safetensors hold of it."""
        plain: dict[str, Any] = {
            "features": list(self.features),
            "rare": list(self.rare),
            "ends": list(self.ends),
            "texts": {str(k): list(texts) for k, texts in self.texts.items()},
            "forms": [list(forms) for forms in self.forms],
            "numbers": {},
        }
        arrays = {}
        for k, column in self.numbers.items():
            plain["numbers"][str(k)], parts = column.state()
            arrays |= {f"numbers.{k}.{part}": array for part, array in parts.items()}
        for name in ("gaps", "end_times", "begins"):
            plain[name], parts = getattr(self, name).state()
            arrays |= {f"{name}.{part}": array for part, array in parts.items()}
        return plain, arrays

    @classmethod
    def of_state(cls, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Read what `state` gave."""
        return cls(
            features=tuple(plain["features"]),
            rare=tuple(plain["rare"]),
            ends=tuple(plain["ends"]),
            texts={int(k): tuple(texts) for k, texts in plain["texts"].items()},
            forms=tuple(tuple(forms) for forms in plain["forms"]),
            numbers={
                int(k): StochasticNormalisation.of_state(column, under(f"numbers.{k}.", arrays))
                for k, column in plain["numbers"].items()
            },
            **{
                name: NumberCodec(**plain[name], **under(f"{name}.", arrays))
                for name in ("gaps", "end_times", "begins")
            },
        )


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Which part each code of `TimedEvents` plays: its place among features, rare codes or ends, or -1."""

    feature: np.ndarray
    rare: np.ndarray
    end: np.ndarray
    n_left_out: int

    @classmethod
    def of(cls, timed: TimedEvents) -> Self:
        """The commonest of each part."""
        n_codes = len(timed.codes)
        n_events = np.bincount(timed.code, minlength=n_codes)
        may_end = np.arange(n_codes) >= n_codes - timed.n_terminal
        end = _places(n_events, may_end, MOST_ENDS)
        feature = _places(n_events, end < 0, MOST_FEATURES)
        rare = _places(n_events, (end < 0) & (feature < 0), MOST_RARE)
        return cls(feature=feature, rare=rare, end=end, n_left_out=int(((end < 0) & (feature < 0) & (rare < 0)).sum()))


def learn_forms(
    symbols: Symbols, feature: np.ndarray, symbol: np.ndarray, patient: np.ndarray
) -> tuple[tuple[tuple[int, ...], ...], np.ndarray]:
    """Forms that enough patients have of each feature, and each event's place among its feature's forms.

    An event of a form that is not kept has the place `ABSENT`.
    """
    n_levels = np.array([symbols.numbers[k].n_number_levels if k in symbols.numbers else 0 for k in range(_n(symbols))])
    rank = symbol - symbols.starts[feature]
    form = np.where(rank == 0, NOTHING, np.where(rank <= n_levels[feature], NUMBER, rank - n_levels[feature] + 1))
    forms, place = [], np.full(len(feature), ABSENT)
    for k in range(_n(symbols)):
        which = np.flatnonzero(feature == k)
        pairs = np.unique(np.column_stack([form[which], patient[which]]), axis=0)
        found, carriers = np.unique(pairs[:, 0], return_counts=True)
        order = np.argsort(-carriers, kind="stable")
        kept = [int(one) for one in found[order] if carriers[found == one][0] >= MINIMUM_PATIENTS][:MOST_TEXTS]
        forms.append(tuple(kept or [NOTHING]))
        for j, one in enumerate(kept):
            place[which[form[which] == one]] = j
    return tuple(forms), place


def padded(row: np.ndarray, values: np.ndarray, n_rows: int, n_places: int) -> np.ndarray:
    """`values` side by side in the row of each, `ABSENT` after them: int64 of shape (n_rows, n_places).

    `row` is sorted; what has no place is left out.
    """
    table = np.full((n_rows, n_places), ABSENT, dtype=np.int64)
    counts = np.bincount(row, minlength=n_rows)
    place = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
    fits = place < n_places
    table[row[fits], place[fits]] = values[fits]
    return table


def _n(symbols: Symbols) -> int:
    return len(symbols.starts) - 1


def _places(n_events: np.ndarray, may: np.ndarray, most: int) -> np.ndarray:
    """Place of each code among the `most` with most events that `may`, in the codes' own order; -1 for others."""
    chosen = np.argsort(np.where(may, -n_events, 1), kind="stable")[: min(most, int(may.sum()))]
    place = np.full(len(n_events), -1)
    place[np.sort(chosen)] = np.arange(len(chosen))
    return place
