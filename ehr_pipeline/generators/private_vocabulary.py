"""Which codes and texts a private fit of timelines may name, and where its numbers lie, measured within the budget.

What belongs here: noisy findings about codes, one by one. What does not: what follows what (`private_markov.py`), noise
and its account (`privacy/`).

A patient's codes are named if enough patients have them (`privacy/bounded.py: found`). Ranges come from public cells
that fit every number: by sign and size, four to a factor of ten.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ehr_pipeline.generators.timelines import BIRTH, DEATH, TimelineCohort, shortest
from ehr_pipeline.privacy.bounded import found, noisy_sums, reached, stands_out

TERMINAL = (DEATH, "DISCHARGE//")
"""Codes, by how they begin, after which a stay is over: publicly known."""
CELLS_PER_DECADE, DECADES = 4, (-4, 7)
MOST_DECIMALS = 3
"""Numbers of more digits count as having these."""
MOST_ITEMS = 256
"""Codes, and texts of codes, that one patient can bring up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PrivateEvents:
    """The events that a private fit reads, each patient's by themselves, in order of patient, minute and code.

    Attributes
    ----------
    names
        Codes that were found, static ones too.
    is_static
        bool of shape (n_codes,); a code found both with and without time is two. A birth is a static fact.
    n_terminal
        Of the codes with time, the last ones, after which a stay is over.
    texts
        By code, those that were found.
    patient, minute, code
        int64 of shape (n_events,): of these codes alone, the first `most_events` of each patient.
    value
        float64 of shape (n_events,).
    text
        object of shape (n_events,): None where it was not found.
    """

    names: tuple[str, ...]
    is_static: np.ndarray
    n_terminal: int
    texts: dict[int, tuple[str, ...]]
    patient: np.ndarray
    minute: np.ndarray
    code: np.ndarray
    value: np.ndarray
    text: np.ndarray

    @classmethod
    def of(cls, cohort: TimelineCohort, most_events: int, most_codes: int, noise: float, delta: float) -> PrivateEvents:
        """Find the codes and texts, `noise` and `delta` being spent on it, and keep the events of these."""
        events = cohort.events
        static = cohort.is_static | (events["code"] == BIRTH).to_numpy()
        within = static | ((cohort.minutes >= 0) & (cohort.minutes <= cohort.clock.window_minutes))
        # In order of names, codes before texts: which of a patient's items come first depends on the patient alone.
        code_names, name = _in_order(events["code"])
        text_names, text = _in_order(events["text_value"])
        item = 2 * name + static
        n_codes, n_texts = 2 * len(code_names), max(1, len(text_names))
        has_text = within & (text >= 0)
        said, pair_of = np.unique(item[has_text] * n_texts + text[has_text], return_inverse=True)
        items = np.concatenate([item[within], n_codes + pair_of])
        who = np.concatenate([cohort.patient[within], cohort.patient[has_text]])
        named, sums = found(who, items, n_codes + len(said), noise=noise, delta=delta, most_items=MOST_ITEMS)
        kept = named[named < n_codes]
        kept = np.sort(kept[np.argsort(-sums[: len(kept)], kind="stable")[:most_codes]])
        # A stay's last codes stand last, inside a time stamp too.
        is_last = np.array([not k % 2 and code_names[k // 2].startswith(TERMINAL) for k in kept], dtype=bool)
        kept = kept[np.argsort(is_last, kind="stable")]
        rank = np.full(n_codes, -1)
        rank[kept] = np.arange(len(kept))
        told = said[named[named >= n_codes] - n_codes]
        told = told[rank[told // n_texts] >= 0]
        texts: dict[int, tuple[str, ...]] = {}
        for code, one in zip(rank[told // n_texts].tolist(), told % n_texts, strict=True):
            texts[code] = (*texts.get(code, ()), text_names[one])
        where = np.flatnonzero(within & (rank[item] >= 0))
        where = where[np.lexsort((rank[item[where]], cohort.minutes[where], ~static[where], cohort.patient[where]))]
        patient = cohort.patient[where]
        where = where[np.arange(len(where)) - np.searchsorted(patient, patient) < most_events]
        is_told = has_text[where] & np.isin(item[where] * n_texts + text[where], told)
        return cls(
            names=tuple(code_names[k // 2] for k in kept),
            is_static=kept % 2 == 1,
            n_terminal=int(is_last.sum()),
            texts=texts,
            patient=cohort.patient[where],
            minute=cohort.minutes[where],
            code=rank[item[where]],
            value=shortest(events["numeric_value"].to_numpy()[where]),
            text=np.where(is_told, events["text_value"].iloc[where].astype(object).to_numpy(), None),
        )


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What was found of a code's numbers: None where it has none to speak of."""

    low: float
    high: float
    decimals: int


def number_ranges(
    patient: np.ndarray, code: np.ndarray, value: np.ndarray, n_codes: int, noise: float
) -> dict[int, Numbers]:
    """Range and decimals of the numbers of each code, from n events: cells that enough patients reach."""
    edges = _edges()
    n_cells, n_forms = len(edges) - 1, MOST_DECIMALS + 1
    width = n_cells + n_forms
    has_value = np.isfinite(value)
    code, patient, value = code[has_value], patient[has_value], value[has_value]
    cell = np.clip(np.searchsorted(edges, value, side="right") - 1, 0, n_cells - 1)
    decimals = np.full(len(value), MOST_DECIMALS)
    for d in reversed(range(MOST_DECIMALS)):
        decimals[np.isclose(value, np.round(value, d), rtol=1e-9, atol=1e-9)] = d
    both = np.concatenate([code * width + cell, code * width + n_cells + decimals])
    who = np.concatenate([patient, patient])
    once = np.unique(np.stack([who, both]), axis=1)  # who has a cell at all, however often
    sums = noisy_sums(once[0], once[1], n_codes * width, noise, group=once[1] // width).reshape(n_codes, width)
    ranges = {}
    for k in range(n_codes):
        cells = reached(sums[k, :n_cells], noise, n_codes * n_cells)
        if len(cells):
            forms = np.flatnonzero(stands_out(sums[k, n_cells:], noise))
            d = int(forms[-1]) if len(forms) else MOST_DECIMALS
            # One cell more on either side: what few reach, the counts of values will tell from noise.
            low, high = edges[max(0, cells[0] - 1)], edges[min(n_cells, cells[-1] + 2)]
            low = min(float(np.ceil(low * 10**d) / 10**d), float(np.floor(high * 10**d) / 10**d))
            ranges[k] = Numbers(low=low, high=float(high), decimals=d)
    return ranges


def _in_order(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Names of a column of categories in order, and the place of each entry among them, -1 where missing."""
    names = column.cat.categories.to_numpy(dtype=object)
    order = np.argsort(names.astype(str), kind="stable")
    place = np.empty(len(names) + 1, dtype=np.int64)
    place[order], place[-1] = np.arange(len(names)), -1
    return names[order], place[column.cat.codes.to_numpy()]


def _edges() -> np.ndarray:
    """Edges of the public cells of all numbers, float64 in order: 0 is a cell of its own."""
    sizes = 10.0 ** (np.arange(DECADES[0] * CELLS_PER_DECADE, DECADES[1] * CELLS_PER_DECADE + 1) / CELLS_PER_DECADE)
    return np.concatenate([-sizes[::-1], [0.0, np.nextafter(0, 1)], sizes])
