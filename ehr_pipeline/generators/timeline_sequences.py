"""Timed events as the arrays that a network of timelines learns from: one entry per event, cut into pieces.

What belongs here: what is known of an event without learning (levels, gaps, what came before of its code), and the
state that a patient is in where a piece begins. What does not: the state inside a piece (`timeline_state.py`).

A *channel* is a code that the plan of the stay counts (`stay_plan.py`), or the last one: all other codes together.
A *slot* is what the value of an event is, among those of its code: `SAME` as the last of its code, `NOTHING`, a
level of numbers, or a text. A *step* is the gap before an event: 0 at the same time as the event before, else a level.

Memory: about 110 bytes per event, 12 per piece and channel.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ehr_pipeline.generators.timeline_levels import SAME, EventLevels, echoes, gaps_of
from ehr_pipeline.generators.timeline_steps import TimedEvents

NEVER = -1
"""Minute of what has not been yet."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """What came before an event of its own code and patient; zeros where nothing did. Shapes (...).

    Attributes
    ----------
    minute
        float32, `NEVER` where there is none.
    z
        float32: number of the last one as a standard normal one.
    has_z, is_same
        float32: 1 where the last one has a number, and where it repeated the one before it.
    least_z, most_z
        float32: extremes so far.
    sum_u
        float32: sum of the standardised numbers so far.
    order
        float32: how many there were.
    """

    minute: Tensor
    z: Tensor
    has_z: Tensor
    is_same: Tensor
    least_z: Tensor
    most_z: Tensor
    sum_u: Tensor
    order: Tensor

    def at(self, which: Tensor | tuple[Tensor, ...]) -> Past:
        """The chosen entries."""
        return Past(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """All pieces of all patients. Tensors have one entry per event, one per piece, or one per piece and channel.

    Attributes
    ----------
    code, minute, step, slot
        int64: the event itself.
    echo, echo_size
        float32: minutes from the event before to where an echo would be, and events of its time (`timeline_levels.py`).
    z, has_z
        float32: its number as a standard normal one, 0 where it has none; and 1 where it has one.
    is_stamp
        float32, 1 where its time is another one than that of the event before.
    past
        What came before of its code.
    first, length, patient
        int64: each piece's first event, its number of events, its patient.
    is_begin
        Whether the piece is its patient's first: bool.
    stamps
        float32: times of the patient before each piece.
    begin
        float32 of shape (n_patients,): minute of the day of each patient's origin.
    counts, last_minute, last_z
        float32 of shape (n_pieces, n_channels): what came before each piece.
    """

    code: Tensor
    minute: Tensor
    step: Tensor
    echo: Tensor
    echo_size: Tensor
    slot: Tensor
    z: Tensor
    has_z: Tensor
    is_stamp: Tensor
    past: Past
    first: Tensor
    length: Tensor
    patient: Tensor
    is_begin: Tensor
    stamps: Tensor
    begin: Tensor
    counts: Tensor
    last_minute: Tensor
    last_z: Tensor

    @classmethod
    def of(cls, timed: TimedEvents, levels: EventLevels, begin: np.ndarray, piece: int) -> Self:
        """Cut every patient's events into pieces of at most `piece`."""
        (gap, is_first), (echo, echo_size) = gaps_of(timed), echoes(timed)
        symbol = levels.symbols.of(timed.code, timed.value, timed.text)
        slot = 1 + symbol - levels.symbols.starts[timed.code]
        z, u = levels.z[timed.code, slot], levels.u[timed.code, slot]
        has_z = np.isfinite(z)
        z, u = np.where(has_z, z, 0).astype(np.float32), np.where(has_z, u, 0).astype(np.float32)
        before, order = _before(timed)
        is_text = ~has_z & (slot > 1)
        is_repeat = (has_z & (timed.value == timed.value[before])) | (is_text & (symbol == symbol[before]))
        is_repeat &= before >= 0
        first = _pieces(is_first, piece)
        is_stamp = is_first | (gap > 0)
        stamps = np.cumsum(is_stamp) - is_stamp
        patient_first = np.flatnonzero(is_first)[np.cumsum(is_first)[first] - 1] if len(first) else first
        arrays = {
            "code": timed.code,
            "minute": timed.minute,
            "step": levels.steps(gap, echo),
            "echo": echo.astype(np.float32),
            "echo_size": echo_size.astype(np.float32),
            "slot": np.where(is_repeat, SAME, slot),
            "z": z,
            "has_z": has_z.astype(np.float32),
            "is_stamp": is_stamp.astype(np.float32),
            "first": first,
            "length": np.diff(np.append(first, len(is_first))),
            "patient": timed.patient[first],
            "is_begin": is_first[first],
            "stamps": (stamps[first] - stamps[patient_first]).astype(np.float32),
            "begin": begin.astype(np.float32),
            **_carried(timed, levels, z, first, patient_first),
        }
        past = _past(timed, before=before, order=order, z=z, u=u, has_z=has_z, is_repeat=is_repeat)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return cls(past=past, **tensors)

    def to(self, device: torch.device) -> Sequences:
        """The same on a device."""
        moved = {field.name: getattr(self, field.name) for field in fields(self)}
        past = Past(**{name: part.to(device) for name, part in vars(moved.pop("past")).items()})
        return Sequences(past=past, **{name: part.to(device) for name, part in moved.items()})

    @property
    def n_pieces(self) -> int:
        """Number of pieces."""
        return len(self.first)


def _past(
    timed: TimedEvents,
    *,
    before: np.ndarray,
    order: np.ndarray,
    z: np.ndarray,
    u: np.ndarray,
    has_z: np.ndarray,
    is_repeat: np.ndarray,
) -> Past:
    has_before = before >= 0
    numbers = pd.DataFrame({"z": np.where(has_z, z, np.nan), "u": u})
    groups = numbers.groupby([timed.patient, timed.code], sort=False)
    so_far = {
        "least_z": groups["z"].cummin().groupby([timed.patient, timed.code], sort=False).ffill(),
        "most_z": groups["z"].cummax().groupby([timed.patient, timed.code], sort=False).ffill(),
        "sum_u": groups["u"].cumsum(),
    }
    arrays = {
        "minute": np.where(has_before, timed.minute[before], NEVER),
        "z": np.where(has_before, z[before], 0),
        "has_z": has_before & has_z[before],
        "is_same": has_before & is_repeat[before],
        "order": order,
        **{name: np.where(has_before, np.nan_to_num(column.to_numpy()[before]), 0) for name, column in so_far.items()},
    }
    return Past(**{name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()})


def _before(timed: TimedEvents) -> tuple[np.ndarray, np.ndarray]:
    """The last event of each event's code and patient (-1 where there is none), and how many came before."""
    n = len(timed.code)
    order = np.lexsort((np.arange(n), timed.code, timed.patient))
    code, patient = timed.code[order], timed.patient[order]
    is_start = np.ones(n, dtype=bool)
    is_start[1:] = (code[1:] != code[:-1]) | (patient[1:] != patient[:-1])
    place = np.arange(n)
    before, count = np.full(n, -1), np.zeros(n, dtype=np.int64)
    if n:
        before[order] = np.where(is_start, -1, np.concatenate([[-1], order[:-1]]))
        count[order] = place - np.maximum.accumulate(np.where(is_start, place, 0))
    return before, count


def _pieces(is_first: np.ndarray, piece: int) -> np.ndarray:
    """First event of each piece: int64 of shape (n_pieces,)."""
    starts = np.flatnonzero(is_first)
    place = np.arange(len(is_first)) - np.repeat(starts, np.diff(np.append(starts, len(is_first))))
    return np.flatnonzero(place % piece == 0)


def _carried(
    timed: TimedEvents, levels: EventLevels, z: np.ndarray, first: np.ndarray, patient_first: np.ndarray
) -> dict[str, np.ndarray]:
    """Per piece and channel, what came before the piece: float32 of shape (n_pieces, n_channels)."""
    shape = (len(first), levels.n_channels)
    counts, last_z = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    last_minute = np.full(shape, NEVER, dtype=np.float32)
    channel = levels.channel[timed.code]
    for one in range(levels.n_channels):
        events = np.flatnonzero(channel == one)
        if len(events):
            upto, since = np.searchsorted(events, first), np.searchsorted(events, patient_first)
            last, has_any = events[np.maximum(upto - 1, 0)], upto > since
            counts[:, one] = upto - since
            last_minute[:, one] = np.where(has_any, timed.minute[last], NEVER)
            last_z[:, one] = np.where(has_any, z[last], 0)
    return {"counts": counts, "last_minute": last_minute, "last_z": last_z}
