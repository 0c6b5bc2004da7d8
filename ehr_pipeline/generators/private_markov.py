"""Markov timelines within a budget: what `timeline_markov` counts, counted with noise.

What belongs here: the plan, and what is measured in which order. What does not: which codes may be named
(`private_vocabulary.py`), static facts (`private_static.py`), bounded contributions (`privacy/bounded.py`), drawing
(`timeline_markov.py`).

One patient, all their events together, is one vector of length 1 in each of the measurements below, whatever they have.
The last four see only codes that the first one named, and ranges that the third found.

1. Codes and texts that enough patients have; half of delta pays for naming what is not publicly known.
2. How many patients there are, for how long they are watched, at which hour of the day they begin.
3. Ranges and decimals of numbers; groups of static facts of which each patient has one.
4. Static facts, each by itself.
5. The next code given the one before, and whether it comes at once.
6. Gaps, and gaps given the code before.
7. Values of each code.
8. The level of a value given the one before of its code, and whether it is the same.

# NOTE[DIFF] Without a budget, steps are weighed against the censoring by the end of the window. Here they count as they
#   are: gaps nearly as long as the window come too rarely. A context whose noisy counts do not stand out is drawn from
#   all contexts together.

Nothing that depends on a person's own clock is public: origins are each patient's first event.
Memory: some 300 bytes per event.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from ehr_pipeline.generators.backoff_counts import OTHER, Backoff, CountTable
from ehr_pipeline.generators.configs import TimelineMarkovConfig
from ehr_pipeline.generators.event_values import SAME, EventValues, Symbols
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.private_codec import number_codec_of
from ehr_pipeline.generators.private_histogram import NumberCells, even_runs, masses
from ehr_pipeline.generators.private_static import private_static
from ehr_pipeline.generators.private_vocabulary import Numbers, PrivateEvents, number_ranges
from ehr_pipeline.generators.timelines import DAY_MINUTES, TimelineCohort
from ehr_pipeline.privacy.accountant import accounted, total_noise
from ehr_pipeline.privacy.bounded import noisy_sums, reached, stands_out
from ehr_pipeline.privacy.budget import Accounted, Budget, GaussianMechanism, PrivacyPlan
from ehr_pipeline.record import Column

SHARES = {
    "codes and texts that many have": 0.24,
    "number, time and hour of patients": 0.02,
    "time of patients, again": 0.01,
    "ranges of numbers": 0.12,
    "groups of static facts": 0.02,
    "static facts, each by itself": 0.10,
    "next code by code": 0.17,
    "gaps": 0.04,
    "gaps by code": 0.10,
    "values by code": 0.11,
    "values by the one before": 0.07,
}
"""Shares of the budget, by what is measured."""
CONTEXT_LEVELS = 8
"""About how many levels of a code's numbers are told apart as contexts."""
Settings = dict[str, Any]


@functools.cache
def markov_plan(budget: Budget) -> PrivacyPlan:
    """What a fit within `budget` will do with patients, whoever they are."""
    spent = Budget(epsilon=budget.epsilon, delta=budget.delta / 2)
    noise = total_noise(spent)
    mechanisms = tuple(
        GaussianMechanism(name=name, noise_multiplier=noise / math.sqrt(share)) for name, share in SHARES.items()
    )
    found = accounted(mechanisms, spent.delta)
    return PrivacyPlan(
        budget=budget,
        mechanisms=mechanisms,
        accounted=Accounted(**{**vars(found), "delta": budget.delta}),
        notes=(
            "  half of delta is for codes and texts that are named although nobody knew of them before; epsilon is "
            "computed for the other half",
        ),
    )


def fit_private(cohort: TimelineCohort, config: TimelineMarkovConfig, plan: PrivacyPlan) -> tuple[Settings, int]:
    """What `TimelineMarkov` is made of, and the noisy number of patients."""
    noise = {one.name: one.noise_multiplier for one in plan.mechanisms}
    events = PrivateEvents.of(
        cohort,
        config.private_events,
        config.private_codes,
        noise["codes and texts that many have"],
        plan.budget.delta / 2,
    )
    n_patients, window, begins = _patients(
        cohort, noise["number, time and hour of patients"], noise["time of patients, again"]
    )
    clock = replace(cohort.clock, window_minutes=window)
    ranges = number_ranges(events.patient, events.code, events.value, len(events.names), noise["ranges of numbers"])
    static = private_static(
        cohort, events, ranges, noise["groups of static facts"], noise["static facts, each by itself"]
    )
    timed = _Timed(events, ranges)
    gaps, next_gap = timed.gaps(window, config, noise["gaps"], noise["gaps by code"])
    parts = {
        "clock": clock,
        "codes": timed.names,
        "n_terminal": events.n_terminal,
        "most_events": config.private_events,
        "static": static,
        "begins": begins,
        "gaps": gaps,
        "next_code": timed.next_code(noise["next code by code"]),
        "next_gap": next_gap,
        "values": timed.values(noise["values by code"], noise["values by the one before"]),
    }
    return parts, n_patients


def _patients(cohort: TimelineCohort, noise: float, finer_noise: float) -> tuple[int, int, NumberCodec]:
    """Noisy number of patients, minutes for which many are watched, and the minute of the day at which they begin."""
    n, hours, public = cohort.n_patients, 24, cohort.clock.window_minutes
    edges = np.unique(np.append(np.geomspace(1, max(2, public), 100).astype(np.int64), public))
    last = np.zeros(n, dtype=np.int64)
    np.maximum.at(last, cohort.patient, np.clip(cohort.minutes, 0, public))
    at_day = cohort.origin.astype("datetime64[m]").astype(np.int64) % DAY_MINUTES
    cells = np.stack([np.zeros(n, dtype=np.int64), 1 + at_day // 60, 1 + hours + np.searchsorted(edges, last)])
    who, group = np.tile(np.arange(n), 3), np.repeat(np.arange(3), n)
    # Each patient is in three groups, and adds 1 / sqrt(3) in each.
    sums = math.sqrt(3) * noisy_sums(who, cells.ravel(), 1 + hours + len(edges), noise, group)
    noise *= math.sqrt(3)
    mass = np.maximum(sums[1 : 1 + hours], 0) + 1e-9
    start = np.arange(hours) * 60.0
    begins = number_codec_of(NumberCells(start - 0.5, start + 59.5, 0), mass, 0.0, noise, hours)
    upto = reached(sums[1 + hours :], noise, len(edges))
    if not len(upto):
        return max(1, round(sums[0])), public, begins
    # Inside the last cell that many reach, again in finer ones.
    low, high = int(edges[upto[-1] - 1]) if upto[-1] else 0, int(edges[upto[-1]])
    finer = np.unique(np.linspace(low, high, 33).astype(np.int64))[1:]
    inside = np.flatnonzero((last > low) & (last <= high))
    sums_inside = noisy_sums(inside, np.searchsorted(finer, last[inside]), len(finer), finer_noise)
    upto = reached(sums_inside, finer_noise, len(finer))
    return max(1, round(sums[0])), int(finer[upto[-1]]) if len(upto) else high, begins


class _Timed:
    """The timed events of named codes, numbered anew from 0, as arrays of steps."""

    def __init__(self, events: PrivateEvents, ranges: dict[int, Numbers]) -> None:
        places = np.flatnonzero(~events.is_static)
        rank = np.full(len(events.names), -1)
        rank[places] = np.arange(len(places))
        which = rank[events.code] >= 0
        self.names = tuple(events.names[k] for k in places)
        self.patient, self.minute = events.patient[which], events.minute[which]
        self.code, self.value, self.text = rank[events.code[which]], events.value[which], events.text[which]
        self.ranges = {int(rank[k]): own for k, own in ranges.items() if rank[k] >= 0}
        self.texts = {int(rank[k]): own for k, own in events.texts.items() if rank[k] >= 0}
        self.is_first = np.ones(len(self.code), dtype=bool)
        self.is_first[1:] = self.patient[1:] != self.patient[:-1]
        self.gap = np.where(self.is_first, self.minute, np.diff(self.minute, prepend=0))
        self.before = np.where(self.is_first, len(places), np.roll(self.code, 1)) if len(self.code) else self.code

    def next_code(self, noise: float) -> Backoff:
        """What comes next, by code and by none; nothing says that a timeline ends but its window."""
        n = len(self.names)
        cell = self.before * 2 * n + 2 * self.code + (self.gap == 0)
        sums = noisy_sums(self.patient, cell, (n + 1) * 2 * n, noise, self.before).reshape(n + 1, 2 * n)
        return Backoff(tables=(_by_context(sums, noise), _pooled(sums, noise)))

    def gaps(
        self, window: int, config: TimelineMarkovConfig, noise: float, noise_by_code: float
    ) -> tuple[NumberCodec, Backoff]:
        """Levels of gaps, and the level after each code."""
        later = self.gap > 0
        patient, before, gap = self.patient[later], self.before[later], self.gap[later].astype(np.float64)
        cells = _gap_cells(window)
        sums = noisy_sums(patient, cells.index(gap), len(cells), noise)
        codec = _codec(cells, sums, noise, config.gap_levels)
        n, n_levels = len(self.names), max(1, codec.n_number_levels)
        by_code = noisy_sums(patient, before * n_levels + codec.levels(gap), (n + 1) * n_levels, noise_by_code, before)
        own = _by_context(by_code.reshape(n + 1, -1), noise_by_code)
        shares = codec.level_shares[None]
        return codec, Backoff(tables=(_table([], [], []), own, _pooled(shares, 0.0)))

    def values(self, noise: float, noise_before: float) -> EventValues:
        """Values of each code, and what follows each level."""
        n = len(self.names)
        cells = {
            k: NumberCells.of(
                Column(name="-", kind="continuous", minimum=own.low, maximum=own.high, decimals=own.decimals)
            )
            for k, own in self.ranges.items()
        }
        # Of each code: no value, its texts, its cells.
        width = [1 + len(self.texts.get(k, ())) + len(cells.get(k, ())) for k in range(n)]
        first = np.concatenate([[0], np.cumsum(width)]).astype(np.int64)
        cell = first[self.code]
        for k, own in self.texts.items():
            which = np.flatnonzero((self.code == k) & (self.text != None))  # noqa: E711
            cell[which] += 1 + np.searchsorted(np.array(own, dtype=object), self.text[which])
        inside = np.ones(len(cell), dtype=bool)
        for k, own in cells.items():
            which = np.flatnonzero((self.code == k) & np.isfinite(self.value))
            inside[which] = (self.value[which] >= own.lower[0]) & (self.value[which] <= own.upper[-1])
            cell[which] = first[k] + 1 + len(self.texts.get(k, ())) + own.index(self.value[which])
        sums = noisy_sums(self.patient[inside], cell[inside], int(first[-1]), noise, self.code[inside])
        numbers, outcomes = {}, []
        for k in range(n):
            own, n_texts = sums[first[k] : first[k + 1]], len(self.texts.get(k, ()))
            heads, numeric = np.where(stands_out(own[: 1 + n_texts], noise), own[: 1 + n_texts], 0), own[1 + n_texts :]
            shares = np.empty(0)
            if k in cells:
                numbers[k] = _codec(cells[k], numeric, noise, CONTEXT_LEVELS)
                total = max(float(numeric.sum()), noise, 2 * heads.sum() * 1e-3)
                shares = total * numbers[k].level_shares
            outcomes.append(np.concatenate([heads[:1], shares, heads[1:]]))
        symbols = Symbols.of_parts(numbers, self.texts, n)
        following = self._following(symbols, noise_before)
        context = np.repeat(np.arange(n), [len(one) for one in outcomes])
        symbol, mass = np.arange(1, 1 + len(context)), np.concatenate([*outcomes, np.empty(0)])
        has_mass = mass > 0
        overall = _table(context[has_mass], symbol[has_mass], mass[has_mass])
        nothing = _table([], [], [])
        return EventValues(
            symbols=symbols,
            first=Backoff(tables=(nothing, overall)),
            next=Backoff(tables=(following, overall)),
        )

    def _following(self, symbols: Symbols, noise: float) -> CountTable:
        """What follows each symbol of a number or text: the same again, or a symbol of its code."""
        symbol = symbols.of(self.code, self.value, self.text)
        order = np.lexsort((np.arange(len(symbol)), self.code, self.patient))
        code, patient, symbol, value = (part[order] for part in (self.code, self.patient, symbol, self.value))
        after = np.flatnonzero((code[1:] == code[:-1]) & (patient[1:] == patient[:-1])) + 1
        # Of each code, as many outcomes as it has symbols, and one more for the same again.
        n_symbols = np.diff(symbols.starts)
        own_first = symbols.starts[:-1]
        first = np.concatenate([[0], np.cumsum(n_symbols * (n_symbols + 1))]).astype(np.int64)
        k = code[after]
        before, outcome = symbol[after - 1] - own_first[k], symbol[after] - own_first[k] + 1
        outcome = np.where(value[after] == value[after - 1], 0, outcome)
        cell = first[k] + before * (n_symbols[k] + 1) + outcome
        sums = noisy_sums(patient[after], cell, int(first[-1]), noise, symbol[after - 1])
        contexts, outcomes, mass = [], [], []
        for one in range(len(n_symbols)):
            size = int(n_symbols[one])
            own = _by_context(sums[first[one] : first[one + 1]].reshape(size, size + 1), noise)
            context = np.repeat(own.contexts, np.diff(own.starts))
            is_same, is_other = own.outcomes == 0, own.outcomes == OTHER
            contexts.append(context + own_first[one])
            outcomes.append(np.select([is_other, is_same], [OTHER, SAME], own.outcomes - 1 + own_first[one]))
            mass.append(np.diff(own.below))
        none = [np.empty(0, dtype=np.int64)]
        return _table(
            np.concatenate([*none, *contexts]), np.concatenate([*none, *outcomes]), np.concatenate([*none, *mass])
        )


def _by_context(sums: np.ndarray, noise: float) -> CountTable:
    """Cells that stand out, by context; what is left of a context with any is `OTHER`: (n_contexts, n_outcomes)."""
    kept = stands_out(sums, noise)
    left = sums.sum(axis=1) - np.where(kept, sums, 0).sum(axis=1)
    has_other = kept.any(axis=1) & (left > noise * math.sqrt(sums.shape[1]))
    rows = np.concatenate([np.flatnonzero(has_other), np.nonzero(kept)[0]])
    outcome = np.concatenate([np.full(int(has_other.sum()), OTHER), np.nonzero(kept)[1]])
    mass = np.concatenate([left[has_other], sums[kept]])
    order = np.lexsort((outcome, rows))
    return _table(rows[order], outcome[order], mass[order])


def _pooled(sums: np.ndarray, noise: float) -> CountTable:
    """All contexts together; where nothing stands out, what is above 0."""
    mass = sums.sum(axis=0)
    kept = stands_out(mass, noise * math.sqrt(len(sums)))
    kept = kept if kept.any() else mass > 0
    outcome = np.flatnonzero(kept)
    return _table(np.zeros(len(outcome), dtype=np.int64), outcome, mass[outcome])


def _table(context: np.ndarray, outcome: np.ndarray, mass: np.ndarray) -> CountTable:
    as_whole = (np.asarray(part, dtype=np.int64) for part in (context, outcome))
    return CountTable.of_cells(*as_whole, np.asarray(mass, dtype=np.float64))


def _codec(cells: NumberCells, sums: np.ndarray, noise: float, n_levels: int) -> NumberCodec:
    """The codec that noisy sums of cells make probable."""
    total = max(float(sums.sum()), noise)
    starts = even_runs(sums, noise, int(np.clip(total / (6 * noise), 6, 64)))
    size = np.diff(np.append(starts, len(sums)))
    run_noise = noise * math.sqrt(float(size.mean()))
    mass = masses(sums, noise, starts, np.add.reduceat(sums, starts), run_noise, total=total)
    return number_codec_of(cells, mass, 0.0, noise, n_levels)


def _gap_cells(window: int) -> NumberCells:
    """Public cells of gaps in minutes: minutes of the first three hours, later whole hours and what lies between."""
    minutes = np.arange(1, 181)
    hours = np.arange(240, 60 * 73, 60)
    edges = np.concatenate([minutes, hours - 1, hours])
    edges = np.unique(np.append(edges, np.geomspace(60 * 73, max(window, 60 * 73 + 1), 40).astype(np.int64)))
    edges = np.unique(np.append(edges[edges < window], max(1, window)))
    lower = np.append(1, edges[:-1] + 1)
    half = np.where(edges > lower, 0.5, 0.0)
    return NumberCells(lower - half, edges + half, 0)
