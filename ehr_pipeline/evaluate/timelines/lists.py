"""Which codes a measure looks at, all chosen on the training patients, and how codes are called.

What belongs here: lists of codes, bins of time. What does not: any measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ehr_pipeline.clinical.items import Item, load_items
from ehr_pipeline.evaluate.timelines.stream import Timelines

MIN_CODE_PATIENTS = 10
RARE_SHARES = (0.01, 0.10)
N_PREVALENT, N_FREQUENT, N_NUMERIC = 100, 50, 20
MIN_CODE_VALUES = 100
MAX_BINS = 48
BIN_HOURS = (1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 120, 168, 336, 730, 2_190, 8_766)
WATCHED_QUANTILE = 0.95


@dataclass(frozen=True, eq=False)
class CodeLists:
    """Codes by place in `codes`, which are the training patients' own, most events first.

    Attributes
    ----------
    judged, rare, prevalent
        At least `MIN_CODE_PATIENTS` patients have it; 1 % to 10 % of them have it; the most common by patients.
    frequent, numeric
        The most common by timed events, and by timed events with a number.
    valued
        At least `MIN_CODE_VALUES` numbers.
    n_carriers
        int64 [len(codes)]: training patients who have each.
    window_hours, bin_hours
        Length of the time that is compared, and of its bins.
    """

    codes: pd.Index
    judged: np.ndarray
    rare: np.ndarray
    prevalent: np.ndarray
    frequent: np.ndarray
    numeric: np.ndarray
    valued: np.ndarray
    n_carriers: np.ndarray
    window_hours: float
    bin_hours: float

    @classmethod
    def of(cls, train: Timelines, codes: pd.Index, window_hours: float | None) -> CodeLists:
        """The lists of the training patients; the window is told from them if it is not given."""
        size, timed, numbers = len(codes), train.timed(), train.with_number()
        n_carriers = np.bincount(train.carriers(size)[1], minlength=size)
        share = n_carriers / max(train.n_patients, 1)
        window = window_hours or watched_hours(train, codes)
        return cls(
            codes=codes,
            judged=np.flatnonzero(n_carriers >= MIN_CODE_PATIENTS),
            rare=np.flatnonzero((share >= RARE_SHARES[0]) & (share <= RARE_SHARES[1])),
            prevalent=_top(n_carriers, N_PREVALENT),
            frequent=_top(_counts(timed.code, size), N_FREQUENT),
            numeric=_top(_counts(numbers.timed().code, size), N_NUMERIC),
            valued=np.flatnonzero(_counts(numbers.code, size) >= MIN_CODE_VALUES),
            n_carriers=n_carriers,
            window_hours=window,
            bin_hours=float(next((width for width in BIN_HOURS if window / width <= MAX_BINS), BIN_HOURS[-1])),
        )

    @property
    def size(self) -> int:
        """Number of training codes."""
        return len(self.codes)

    @property
    def n_bins(self) -> int:
        """Bins of the window, at most `MAX_BINS` of the widest."""
        return int(min(max(np.ceil(self.window_hours / self.bin_hours), 1), MAX_BINS))

    @property
    def begins(self) -> list[float]:
        """Hours at which the bins begin."""
        return [float(self.bin_hours * number) for number in range(self.n_bins)]

    def inside(self, timelines: Timelines) -> Timelines:
        """The timed events inside the window."""
        with np.errstate(invalid="ignore"):
            return timelines.take((timelines.hours >= 0) & (timelines.hours < self.n_bins * self.bin_hours))

    def bin_of(self, inside: Timelines) -> np.ndarray:
        """The bin of each event inside the window: int64 [m]."""
        return (inside.hours // self.bin_hours).astype(np.int64)

    def starting_with(self, *prefixes: str) -> np.ndarray:
        """Places of the codes that start with one of these."""
        return np.flatnonzero(self.codes.str.startswith(prefixes)) if self.size else np.array([], dtype=np.int64)

    @cached_property
    def named(self) -> Titles:
        """What the codes are called."""
        return Titles()


class Titles:
    """Titles and units of codes, from the catalogue of items where it has them."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {code: item for item in load_items().values() for code in item.codes}

    def title(self, code: str) -> str:
        """The item's title, else the code's last words without its unit."""
        if code in self.items:
            return self.items[code].title
        parts = code.split("//")
        return " ".join(parts[1:3] if len(parts) > 1 else parts).strip() or code

    def unit(self, code: str) -> str | None:
        """The unit as the code states it."""
        parts = code.split("//")
        return parts[2] if len(parts) == 3 and parts[0] in ("LAB", "VITAL", "OUTPUT") and parts[2] != "UNK" else None


def watched_hours(train: Timelines, codes: pd.Index) -> float:
    """Whole hours in which nearly all patients were watched: what ends a stay itself, death and discharge, aside."""
    is_end = codes.str.startswith(("MEDS_DEATH", "DISCHARGE", "HOSPITAL_DISCHARGE")) if len(codes) else np.array([])
    watched = train.take(~np.append(np.asarray(is_end, dtype=bool), False)[train.code])
    last = watched.span()[1]
    last = last[np.isfinite(last)]
    return float(max(np.ceil(np.quantile(last, WATCHED_QUANTILE)), 1)) if len(last) else 1.0


def _counts(code: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(code[code >= 0], minlength=size)


def _top(counts: np.ndarray, size: int) -> np.ndarray:
    """Places of the largest counts above 0, at most `size`."""
    order = np.argsort(-counts, kind="stable")[:size]
    return order[counts[order] > 0]
