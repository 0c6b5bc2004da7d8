"""Events in their order as numbers that can be looked up: pieces of stays, whole stays, and values.

What belongs here: when two pieces are the same. What does not: any attack.

Two pieces are the same if they have the same codes in the same order, with the same whole minutes between them and the
same values (in float32). Events of one minute stand in the order of code and value. When a piece happened does not
count, only how its events follow each other. Memory: 60 bytes per event.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ehr_pipeline.evaluate.timelines.stream import Timelines

SHORT, LONG = 3, 10
"""Events in a row that make a piece, and a stretch."""
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Keys:
    """Hashes uint64 [n] of pieces, and whose each is, int64 [n]."""

    key: np.ndarray
    owner: np.ndarray

    def of(self, owners: np.ndarray) -> Keys:
        """Those of some patients."""
        chosen = np.isin(self.owner, owners)
        return Keys(self.key[chosen], self.owner[chosen])

    def without(self, owners: np.ndarray) -> Keys:
        """Those of all other patients."""
        chosen = ~np.isin(self.owner, owners)
        return Keys(self.key[chosen], self.owner[chosen])


@dataclass(frozen=True, eq=False)
class Pieces:
    """All pieces of some patients' stays.

    Attributes
    ----------
    short, long
        `SHORT` events in a row; `LONG` in a row, and whole stays of fewer.
    stays, values
        Whole stays; values with their codes.
    n_owners
        Patients, numbered from 0, also those without a timed event.
    """

    short: Keys
    long: Keys
    stays: Keys
    values: Keys
    n_owners: int

    def of(self, owners: np.ndarray) -> Pieces:
        """The pieces of some patients, who keep their numbers."""
        return replace(self, **{name: getattr(self, name).of(owners) for name in KINDS})

    def without(self, owners: np.ndarray) -> Pieces:
        """The pieces of all others."""
        return replace(self, **{name: getattr(self, name).without(owners) for name in KINDS})


KINDS = ("short", "long", "stays", "values")


def pieces(timelines: Timelines, owner: np.ndarray | None = None) -> Pieces:
    """The pieces of timed events; `owner` says whose each timeline is, int64 [n_patients], from 0."""
    owner = np.arange(timelines.n_patients) if owner is None else owner
    stays = timelines.timed()
    minute = np.rint(stays.hours * 60).astype(np.int64)
    value = _float_bits(stays.value)
    order = np.lexsort((value, stays.code, minute, stays.patient))
    stay, minute = stays.patient[order], minute[order]
    what = _mixed(stays.code[order].astype(np.uint64) * _STEP ^ value[order])
    has_number = ~np.isnan(stays.value[order])
    starts = np.flatnonzero(np.diff(stay, prepend=-1))
    sizes = np.diff(np.append(starts, len(stay)))
    since = (minute - np.repeat(minute[starts], sizes)).astype(np.uint64) if len(stay) else minute.astype(np.uint64)
    told = _mixed(what + _mixed(since + _STEP))
    whole = np.add.reduceat(told, starts) if len(stay) else told
    at = owner[stay[starts]]
    long, is_brief = _runs(stay, minute, what, LONG), sizes < LONG
    return Pieces(
        short=Keys(*_owned(_runs(stay, minute, what, SHORT), stay, owner)),
        long=Keys(
            np.append(long[0], whole[is_brief]),
            np.append(owner[stay[long[1]]], at[is_brief]),
        ),
        stays=Keys(whole, at),
        values=Keys(what[has_number], owner[stay[has_number]]),
        n_owners=int(owner.max(initial=-1)) + 1,
    )


def stretches(timelines: Timelines, n_events: int, rng: np.random.Generator) -> Timelines:
    """`n_events` timed events in a row of each timeline, from somewhere inside; all where there are no more."""
    timed = timelines.timed()
    minute = np.rint(timed.hours * 60)
    stays = timed.take(np.lexsort((_float_bits(timed.value), timed.code, minute, timed.patient)))
    sizes = np.bincount(stays.patient, minlength=stays.n_patients)
    begin = rng.integers(0, np.maximum(sizes - n_events, 0) + 1)
    place = np.arange(len(stays)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return stays.take((place >= begin[stays.patient]) & (place < begin[stays.patient] + n_events))


def stand_in(key: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Whether each key stands among others, bool [n]."""
    if not len(among):
        return np.zeros(len(key), dtype=bool)
    known = np.unique(among)
    place = np.searchsorted(known, key)
    return known[np.minimum(place, len(known) - 1)] == key


def _runs(stay: np.ndarray, minute: np.ndarray, what: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all `n` events in a row of one stay, and where each begins."""
    begin = np.flatnonzero(stay[: max(len(stay) - n + 1, 0)] == stay[n - 1 :])
    found = what[begin]
    for step in range(1, n):
        gap = (minute[begin + step] - minute[begin + step - 1]).astype(np.uint64)
        found = _mixed(found + _mixed(gap + _STEP) ^ what[begin + step])
    return found, begin


def _owned(runs: tuple[np.ndarray, np.ndarray], stay: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return runs[0], owner[stay[runs[1]]]


def _float_bits(value: np.ndarray) -> np.ndarray:
    """The bits of each value in float32 as uint64: one number for -0 and 0, and one for missing."""
    single = value.astype(np.float32) + np.float32(0)
    single[np.isnan(single)] = np.nan
    return single.view(np.uint32).astype(np.uint64)


def _mixed(number: np.ndarray) -> np.ndarray:
    """A hash of each uint64: the finaliser of splitmix64."""
    number = (number ^ (number >> np.uint64(30))) * _MULTIPLIERS[0]
    number = (number ^ (number >> np.uint64(27))) * _MULTIPLIERS[1]
    return number ^ (number >> np.uint64(31))
