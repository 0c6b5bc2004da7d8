"""Stays drawn from noisy tables, held to drawn plans: what the network of a private fit may learn from freely.

What belongs here: made-up stays alone. What does not: patients, noise (`private_markov.py`), plans
(`private_stay_plan.py`), the network (`private_transformer.py`).

Noisy tables say what follows what, when, and which values; but all of their stays are alike. Drawn plans say how much
is measured of whom. So each plan gets times and events of a drawn stay, of a second and third one where it has more
times, and then what is too much goes at random, and what is missing is put at random times of the stay: a code that
hardly stands out of the noise among what follows what has its events all the same. Values come last.

Memory: 100 bytes per event and round, and 40 per time of a stay and code of which events are missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ehr_pipeline.generators.event_values import EventValues
from ehr_pipeline.generators.stay_plan import PlanRows
from ehr_pipeline.generators.stay_sums import StayLayout
from ehr_pipeline.generators.timeline_markov import TimelineMarkov
from ehr_pipeline.generators.timeline_steps import TimedEvents

ROUNDS = 3
"""Drawn stays whose times one plan may have."""


def guide_stays(markov: TimelineMarkov, n: int, rng: np.random.Generator) -> TimedEvents:
    """`n` stays drawn from the noisy tables."""
    patient, minute, code = markov.timelines(n, rng)
    value, text = markov.values.draw(code, patient, rng)
    return TimedEvents(
        codes=markov.codes,
        n_terminal=markov.n_terminal,
        most_events=markov.most_events,
        patient=patient,
        minute=minute,
        code=code,
        value=value,
        text=text,
        is_cut=np.zeros(n, dtype=bool),
        notes=(),
    )


def held_to_plans(
    guide: TimedEvents, rows: PlanRows, layout: StayLayout, values: EventValues, rng: np.random.Generator
) -> TimedEvents:
    """One stay for each drawn plan, from `guide` stays, with the plan's times and events and new values."""
    n, n_codes, n_planned = len(rows.counts), len(guide.codes), rows.counts.shape[1]
    times, at, code = _at_planned_times(guide, rows, rng)
    # What is too much: a plan has room for so many events of each planned code, and of all others together.
    place = layout.places(n_codes)[code]
    room = np.column_stack([rows.counts, rows.n_other])
    cell = times.patient[at] * (n_planned + 1) + np.where(place < 0, n_planned, place)
    inside = _rank_within(cell, times.turn[at]) < room.ravel()[cell]
    at, code, cell = at[inside], code[inside], cell[inside]
    missing = rows.counts - np.bincount(cell, minlength=room.size).reshape(room.shape)[:, :n_planned]
    planned = np.array(layout.planned, dtype=np.int64)
    more_at, more = _put(missing, planned, planned >= n_codes - guide.n_terminal, times, (at, code))
    at, code = np.append(at, more_at), np.append(code, more)
    order = np.lexsort((code, at))
    at, code = at[order], code[order]
    value, text = values.draw(code, times.patient[at], rng)
    return replace(
        guide,
        is_cut=np.zeros(n, dtype=bool),
        patient=times.patient[at],
        minute=times.minute[at],
        code=code,
        value=value,
        text=text,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Times:
    """The times of all stays, in order of patient and minute.

    Attributes
    ----------
    patient, minute
        int64 of shape (n_times,).
    turn
        float64 of shape (n_times,): a random order. Of each code the first times that have it keep it, and the first
        that lack it get it, so that codes stay together where several are too many or missing.
    """

    patient: np.ndarray
    minute: np.ndarray
    turn: np.ndarray


def _at_planned_times(
    guide: TimedEvents, rows: PlanRows, rng: np.random.Generator
) -> tuple[_Times, np.ndarray, np.ndarray]:
    """As many times of drawn stays as plans have, and the events at these: their place among the times, and codes."""
    n, n_guide = len(rows.counts), len(guide.is_cut)
    lasting = np.flatnonzero(guide.code < len(guide.codes) - guide.n_terminal)
    lasting = lasting[np.argsort(guide.patient[lasting], kind="stable")]
    starts = np.searchsorted(guide.patient[lasting], np.arange(n_guide + 1))
    parts = []
    for k in range(ROUNDS):
        source = np.resize(rng.permutation(n_guide), n)
        size = np.diff(starts)[source]
        owner = np.repeat(np.arange(n), size)
        which = lasting[np.arange(len(owner)) + np.repeat(starts[source] - (np.cumsum(size) - size), size)]
        parts.append((owner, guide.minute[which], guide.code[which], np.full(len(owner), k)))
    patient, minute, code, stay = (np.concatenate(part) for part in zip(*parts, strict=True))
    early = minute <= rows.last_minute[patient]
    patient, minute, code, stay = patient[early], minute[early], code[early], stay[early]
    width = int(minute.max(initial=0)) + 1
    time, at = np.unique(patient * width + minute, return_inverse=True)
    first = np.full(len(time), ROUNDS)
    np.minimum.at(first, at, stay)
    owner, turn = time // width, rng.random(len(time))
    is_kept = _rank_within(owner, first, turn) < rows.n_times[owner]
    times = _Times(patient=owner[is_kept], minute=time[is_kept] % width, turn=turn[is_kept])
    inside = is_kept[at]
    at, code = (np.cumsum(is_kept) - 1)[at[inside]], code[inside]
    event = np.unique(at * len(guide.codes) + code)
    return times, event // len(guide.codes), event % len(guide.codes)


def _put(
    missing: np.ndarray, planned: np.ndarray, is_end: np.ndarray, times: _Times, events: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Places among the times, and codes, of what is missing: int64 of shape (n, n_planned), 0 or less where nothing is.

    No time has a code twice; what ends a stay (`is_end`) comes at its last time.
    """
    at, code = events
    n_codes = int(max(code.max(initial=0), planned.max(initial=0))) + 1
    is_last = np.append(times.patient[1:] != times.patient[:-1], True)[: len(times.patient)]
    time, k = np.nonzero((missing[times.patient] > 0) & (~is_end | is_last[:, None]))
    free = ~np.isin(time * n_codes + planned[k], at * n_codes + code)
    time, k = time[free], k[free]
    cell = times.patient[time] * len(planned) + k
    taken = _rank_within(cell, times.turn[time]) < missing.ravel()[cell]
    return time[taken], planned[k[taken]]


def _rank_within(group: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """The place of each of n entries within its group, by the first key, then the next."""
    order = np.lexsort((*keys[::-1], group))
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return rank
