"""Drawn slots as values in their own units, held to the values that the plan of the stay says.

What belongs here: numbers and texts of events that are drawn already. What does not: which slot
(`timeline_decoding.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ehr_pipeline.generators.event_values import SAME as SAME_SYMBOL
from ehr_pipeline.generators.timeline_levels import SAME, EventLevels


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Events in the order of drawing: int64 of shape (n_events,); `is_told` where the value is the plan's last one."""

    patient: np.ndarray
    minute: np.ndarray
    code: np.ndarray
    slot: np.ndarray
    is_told: np.ndarray

    def sorted(self) -> Drawn:
        """The same by patient; events of one patient stay in order."""
        order = np.argsort(self.patient, kind="stable")
        return Drawn(**{field.name: getattr(self, field.name)[order] for field in fields(self)})


def drawn_values(
    drawn: Drawn, levels: EventLevels, planned: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Value and text of each event, in order of patient and time: float64 and object of shape (n_events,).

    `planned` is float64 of shape (n, n_channels, 4), mean, least, largest and last value, NaN where nothing is planned.
    A number is drawn inside its level and inside the extremes; where a stay does not reach an extreme, its nearest
    value does.
    """
    code, patient, slot = drawn.code, drawn.patient, drawn.slot
    symbol = np.where(slot == SAME, SAME_SYMBOL, levels.symbols.starts[code] + slot - 1)
    value, text = levels.symbols.draw(code, symbol, rng)
    goal = planned[patient, levels.channel[code]]
    value = np.where(np.isnan(goal[:, 0]), value, np.clip(value, goal[:, 1], goal[:, 2]))
    value = np.where(drawn.is_told, goal[:, 3], value)
    order = np.lexsort((np.arange(len(code)), code, patient))
    value, text, goal = value[order], text[order], goal[order]
    starts = _starts(code[order], patient[order])
    place = np.arange(len(code))
    is_source = (slot[order] != SAME) | starts
    source = np.maximum.accumulate(np.where(is_source, place, 0))
    group = np.cumsum(starts) - 1
    may_change = ~drawn.is_told[order] & is_source
    # What repeats the value before is said by `SAME`: others that happen to be it are drawn once more.
    again = np.flatnonzero(may_change & ~starts & (value == value[source[place - 1]]))
    anew, _ = levels.symbols.draw(code[order][again], symbol[order][again], rng)
    value[again] = np.where(np.isnan(goal[again, 0]), anew, np.clip(anew, goal[again, 1], goal[again, 2]))
    for end, pick in ((1, np.fmin), (2, np.fmax)):
        wanted = levels.symbols.of(code[order], goal[:, end], np.full(len(code), None))
        distance = np.abs(symbol[order] - wanted)
        changed = _reach(value, goal[:, end], distance, group=group, may_change=may_change, pick=pick)
        may_change[changed] = False
    back = np.empty(len(code), dtype=np.int64)
    back[order] = source
    return value[back], text[back]


def _starts(code: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Where another code or patient begins."""
    is_start = np.ones(len(code), dtype=bool)
    is_start[1:] = (code[1:] != code[:-1]) | (patient[1:] != patient[:-1])
    return is_start


def _reach(
    value: np.ndarray,
    goal: np.ndarray,
    distance: np.ndarray,
    *,
    group: np.ndarray,
    may_change: np.ndarray,
    pick: np.ufunc,
) -> np.ndarray:
    """Where no value of a group (int64, ascending) is its goal, the nearest that may change becomes it; which did.

    Of several in one level the earliest does: opposite extremes lie far apart in time, and the last value is told.
    """
    n_groups = int(group[-1]) + 1 if len(group) else 0
    extreme, wanted = np.full(n_groups, np.nan), np.full(n_groups, np.nan)
    pick.at(extreme, group, value)
    wanted[group] = goal
    lacks = np.isfinite(wanted) & (extreme != wanted)
    which = np.flatnonzero(lacks[group] & may_change & np.isfinite(value))
    which = which[np.lexsort((which, distance[which], group[which]))]
    nearest = which[np.append(True, group[which][1:] != group[which][:-1])] if len(which) else which
    value[nearest] = wanted[group[nearest]]
    return nearest
