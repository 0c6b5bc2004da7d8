"""What a network of timelines tells apart: the slots of each code's values, the steps of time, the parts of code names.

What belongs here: tables that are learned by counting. What does not: events of patients (`timeline_sequences.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.event_values import Symbols
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.persistence import under
from ehr_pipeline.generators.timeline_steps import TimedEvents

SAME, NOTHING = 0, 1
"""The two slots that every code has; its numbers' levels come next, then its texts."""
NOW, ECHO, FIRST_LEVEL = 0, 1, 2
"""Steps: at the same time; an hour after the earliest time of the last hour, as charting comes back to its minute; and
the first of the levels of gaps."""
ECHO_MINUTES = 60
PACE_BINS = 20
"""Parts of a stay, by its minutes."""
FURTHEST_U = 4.0
"""Standardised numbers are cut here."""
PREFIXES = (1, 3, 4)
"""Characters of a code's last part that say what it is a kind of: ICD chapter and category, ATC groups."""


@dataclass(frozen=True, kw_only=True)
class EventLevels:
    """What each code's slots and each step stand for.

    Attributes
    ----------
    codes
        Names.
    n_terminal
        The last ones end a stay.
    symbols
        Values of all codes.
    gaps
        Minutes of the steps from `FIRST_LEVEL` on: those above 0.
    channel
        int64 of shape (n_codes,): where each code is counted; the last channel is of all codes that are not planned.
    n_channels
        Planned codes and one more.
    pace
        float64 of shape (`PACE_BINS`,): the mean gap in each part of a stay, as a share of minutes left per time left.
    may_repeat
        bool of shape (n_codes,): codes that stand twice in one time stamp of `MINIMUM_PATIENTS` patients.
    """

    codes: tuple[str, ...]
    n_terminal: int
    symbols: Symbols
    gaps: NumberCodec
    channel: np.ndarray
    n_channels: int
    pace: np.ndarray
    may_repeat: np.ndarray

    @classmethod
    def learn(cls, timed: TimedEvents, planned: np.ndarray, *, gap_levels: int, value_levels: int) -> Self:
        """Learn levels of values and gaps; `planned` are the codes with a channel of their own."""
        n_codes = len(timed.codes)
        symbols = Symbols.learn(
            timed.code, timed.value, timed.text, timed.patient, n_codes=n_codes, n_levels=value_levels
        )
        gap, is_first = gaps_of(timed)
        is_later = gap > 0
        gaps = NumberCodec.fit(
            gap[is_later].astype(np.float64), timed.patient[is_later], decimals=0, may_miss=False, n_levels=gap_levels
        )
        channel = np.full(n_codes, len(planned))
        channel[planned] = np.arange(len(planned))
        is_again = ~is_first & (gap == 0) & (timed.code == np.roll(timed.code, 1))
        pairs = np.unique(timed.code[is_again] * (timed.patient.max(initial=0) + 1) + timed.patient[is_again])
        again = np.bincount(pairs // (timed.patient.max(initial=0) + 1), minlength=n_codes)
        return cls(
            codes=timed.codes,
            n_terminal=timed.n_terminal,
            symbols=symbols,
            gaps=gaps,
            channel=channel,
            n_channels=len(planned) + 1,
            pace=_pace(timed),
            may_repeat=again >= MINIMUM_PATIENTS,
        )

    @property
    def n_steps(self) -> int:
        """Steps: the same time, an echo, and levels of gaps."""
        return FIRST_LEVEL + self.gaps.n_number_levels

    def steps(self, gap: np.ndarray, echo: np.ndarray) -> np.ndarray:
        """The step of each gap in minutes where an echo would come after `echo`: int64 of shape (n,)."""
        level = FIRST_LEVEL + self.gaps.levels(np.maximum(gap, 1).astype(np.float64))
        return np.where(gap == 0, NOW, np.where(gap == echo, ECHO, level))

    @cached_property
    def gap_minutes(self) -> np.ndarray:
        """Mean minutes of each level of gaps: float64 of shape (n_number_levels,)."""
        n_levels = self.gaps.n_number_levels
        return self.gaps.from_ranks(_level_grid(self.gaps).ravel()).reshape(n_levels, -1).mean(axis=1)

    def pace_at(self, share: np.ndarray) -> np.ndarray:
        """The pace where so large a share of a stay is over: float64 of shape (n,)."""
        return self.pace[np.clip(share * PACE_BINS, 0, PACE_BINS - 1).astype(np.int64)]

    @cached_property
    def n_slots(self) -> np.ndarray:
        """Slots of each code, int64 of shape (n_codes,)."""
        return 1 + np.diff(self.symbols.starts)

    @cached_property
    def z(self) -> np.ndarray:
        """Slots as standard normal numbers, NaN where they are none: float32 of shape (n_codes, most slots)."""
        z = np.full((len(self.codes), int(self.n_slots.max(initial=2))), np.nan, dtype=np.float32)
        for code, codec in self.symbols.numbers.items():
            z[code, 2 : 2 + codec.n_number_levels] = codec.level_positions[: codec.n_number_levels]
        return z

    @cached_property
    def is_heavy(self) -> np.ndarray:
        """Slots that hold one number and no other: bool of the shape of `z`."""
        heavy = np.zeros(self.z.shape, dtype=bool)
        for code, codec in self.symbols.numbers.items():
            heavy[code, 2 : 2 + codec.n_number_levels] = [codec.is_heavy_level(k) for k in range(codec.n_number_levels)]
        return heavy

    @cached_property
    def u(self) -> np.ndarray:
        """Slots as standardised numbers, linear in the value, NaN where they are none: shape of `z`."""
        u = np.full_like(self.z, np.nan)
        for code, codec in self.symbols.numbers.items():
            middle = codec.from_ranks(_level_grid(codec).ravel()).reshape(codec.n_number_levels, -1).mean(axis=1)
            u[code, 2 : 2 + codec.n_number_levels] = self.standardised(code, middle)
        return u

    def standardised(self, code: int, values: np.ndarray) -> np.ndarray:
        """Values of one code less their median, in units of their spread: float64 of shape (n,)."""
        low, middle, high = self.symbols.numbers[code].from_ranks(np.array([0.1, 0.5, 0.9]))
        spread = max((high - low) / 2.56, 1e-6 * max(1.0, abs(middle)))
        return np.clip((values - middle) / spread, -FURTHEST_U, FURTHEST_U)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What JSON and safetensors hold of it."""
        plain: dict[str, Any] = {
            "codes": list(self.codes),
            "n_terminal": self.n_terminal,
            "n_channels": self.n_channels,
            "texts": {str(code): list(texts) for code, texts in self.symbols.texts.items()},
            "numbers": {},
        }
        arrays = {
            "starts": self.symbols.starts,
            "channel": self.channel,
            "may_repeat": self.may_repeat,
            "pace": self.pace,
        }
        plain["gaps"], parts = self.gaps.state()
        arrays |= {f"gaps.{part}": array for part, array in parts.items()}
        for code, codec in self.symbols.numbers.items():
            plain["numbers"][str(code)], parts = codec.state()
            arrays |= {f"numbers.{code}.{part}": array for part, array in parts.items()}
        return plain, arrays

    @classmethod
    def of_state(cls, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Read what `state` gave."""
        numbers = {
            int(code): NumberCodec(**fields, **under(f"numbers.{code}.", arrays))
            for code, fields in plain["numbers"].items()
        }
        texts = {int(code): tuple(texts) for code, texts in plain["texts"].items()}
        return cls(
            codes=tuple(plain["codes"]),
            n_terminal=plain["n_terminal"],
            symbols=Symbols(numbers=numbers, texts=texts, starts=arrays["starts"]),
            gaps=NumberCodec(**plain["gaps"], **under("gaps.", arrays)),
            channel=arrays["channel"],
            n_channels=plain["n_channels"],
            pace=arrays["pace"],
            may_repeat=arrays["may_repeat"],
        )


def gaps_of(timed: TimedEvents) -> tuple[np.ndarray, np.ndarray]:
    """Minutes since the event before (the origin, for the first) and which are first: (n_events,)."""
    is_first = np.ones(len(timed.patient), dtype=bool)
    is_first[1:] = timed.patient[1:] != timed.patient[:-1]
    return timed.minute - np.where(is_first, 0, np.roll(timed.minute, 1)), is_first


def _pace(timed: TimedEvents) -> np.ndarray:
    """The mean gap in each part of a stay over the mean of minutes left per time left: float64 (`PACE_BINS`,)."""
    gap, is_first = gaps_of(timed)
    is_stamp = is_first | (gap > 0)
    n = int(timed.patient.max(initial=-1)) + 1
    n_stamps, end = np.bincount(timed.patient[is_stamp], minlength=n), np.zeros(n)
    np.maximum.at(end, timed.patient, timed.minute)
    used = np.cumsum(is_stamp) - is_stamp
    used -= used[is_first][np.cumsum(is_first) - 1] if n else 0
    which = np.flatnonzero(is_stamp & ~is_first)
    patient = timed.patient[which]
    before = timed.minute[which] - gap[which]
    left = (end[patient] - before) / (n_stamps[patient] - used[which])
    part = np.minimum(PACE_BINS - 1, PACE_BINS * before / np.maximum(end[patient], 1)).astype(np.int64)
    total, minutes = (np.bincount(part, weights=weights, minlength=PACE_BINS) for weights in (left, gap[which]))
    return np.where(total > 0, minutes / np.maximum(total, 1e-9), 1.0)


def echoes(timed: TimedEvents) -> tuple[np.ndarray, np.ndarray]:
    """Minutes from the event before each event to an hour after the earliest time of the last hour, and its events.

    int64 of shape (n_events,) each. 0 before a patient's first event, else 1 to 60. At 60 the earliest time is that of
    the event before, which may not be over: its events count as 0.
    """
    _, is_first = gaps_of(timed)
    before = np.roll(timed.minute, 1)
    span = int(timed.minute.max(initial=0)) + ECHO_MINUTES + 1
    key = timed.patient * span + timed.minute
    since = np.searchsorted(key, timed.patient * span + np.maximum(before - ECHO_MINUTES, -1), side="right")
    since = np.minimum(since, len(key) - 1)
    echo = np.where(is_first, 0, timed.minute[since] + ECHO_MINUTES - before)
    size = np.searchsorted(key, key[since], side="right") - since
    return echo, np.where(is_first | (echo == ECHO_MINUTES), 0, size)


def name_parts(codes: tuple[str, ...]) -> tuple[np.ndarray, int]:
    """What each code's name is made of: places of its parts, 0 where it has fewer, and the number of parts and one.

    A part is what stands before a `//`, or the first characters of the last piece (`DIAGNOSIS//ICD//10//I5`); those of
    one code alone are left out. int64 of shape (n_codes, most parts).
    """
    names = [_parts(code) for code in codes]
    carriers: dict[str, int] = {}
    for parts in names:
        for part in parts:
            carriers[part] = carriers.get(part, 0) + 1
    shared = sorted(part for part, n in carriers.items() if n > 1)
    place = {part: k for k, part in enumerate(shared, start=1)}
    most = max((sum(part in place for part in parts) for parts in names), default=0)
    table = np.zeros((len(codes), max(most, 1)), dtype=np.int64)
    for row, parts in enumerate(names):
        found = [place[part] for part in parts if part in place]
        table[row, : len(found)] = found
    return table, len(shared) + 1


def _parts(code: str) -> set[str]:
    pieces = code.split("//")
    before = ["//".join(pieces[:k]) + "//" for k in range(1, len(pieces))]
    base = before[-1] if before else ""
    return {*before, *(base + pieces[-1][:n] for n in PREFIXES if base and len(pieces[-1]) > n)}


def _level_grid(codec: NumberCodec) -> np.ndarray:
    """Ranks inside each level of numbers: float64 of shape (n_number_levels, 9)."""
    edges = codec.segment_ranks[codec.level_starts]
    inside = (np.arange(9) + 0.5) / 9
    return edges[:-1, None] + np.diff(edges)[:, None] * inside
