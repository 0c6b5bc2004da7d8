"""What is wrong with events, mended and told: sorted, without doubles, nothing before birth.

What belongs here: one function per fault, over arrays. What does not: files (`files.py`), clocks (`cohort.py`).
Nothing of the input is changed; a note says how many rows were left out or set right, never which.

Memory: about 150 bytes per event.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ehr_pipeline.errors import SourceError
from ehr_pipeline.generators.timelines import BIRTH
from ehr_pipeline.timelines.files import LONGEST_TEXT, NO_TIME, RawEvents

YEARS = tuple(np.array(["0001-01-01", "10000-01-01"], dtype="datetime64[us]").astype(np.int64).tolist())
"""Times that can be: two of them differ by what 64 bits hold."""


@dataclass(frozen=True, kw_only=True)
class Events:
    """Events sorted by subject, time (static first) and code; fields as in `RawEvents`, codes and texts by name."""

    subject_id: np.ndarray
    time: np.ndarray
    code: np.ndarray
    value: np.ndarray
    text: np.ndarray
    codes: np.ndarray
    texts: np.ndarray
    notes: tuple[str, ...]

    def keep(self, which: np.ndarray) -> Self:
        """The chosen events, by a mask or an order."""
        names = ("subject_id", "time", "code", "value", "text")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def noted(self, n: int, what: str) -> Self:
        """With one note more, if `n` is not 0."""
        return replace(self, notes=(*self.notes, f"{n:,} {what}")) if n else self

    @property
    def birth(self) -> int:
        """Place of the birth's code, -2 if there is none."""
        found = np.flatnonzero(self.codes == BIRTH)
        return int(found[0]) if len(found) else -2


def mended(raw: RawEvents, path_name: str) -> Events:
    """Mend what was read.

    Raises
    ------
    SourceError
        No event is left, or none has a time.
    """
    code, codes = _in_order(raw.code, raw.codes)
    text, texts = _in_order(raw.text, raw.texts)
    events = Events(
        subject_id=raw.subject_id,
        time=raw.time,
        code=code,
        value=raw.value,
        text=text,
        codes=codes,
        texts=texts,
        notes=(),
    )
    events = events.noted(raw.n_without_subject, "events name no patient (subject_id): left out")
    events = events.noted(raw.n_odd_values, "values are infinite or no number (numeric_value): set to missing")
    events = events.noted(raw.n_long_texts, f"texts are longer than {LONGEST_TEXT} characters: not learned")
    has_code = events.code >= 0
    events = events.keep(has_code).noted(int((~has_code).sum()), "events have no code: left out")
    in_years = (events.time == NO_TIME) | ((events.time >= YEARS[0]) & (events.time < YEARS[1]))
    n_odd = int((~in_years).sum())
    events = events.keep(in_years).noted(n_odd, "events have a time outside the years 1 to 9999: left out")
    events = _one_birth(_without_doubles(_sorted(events)))
    if not len(events.code):
        raise SourceError(f"{path_name} holds no event that names a patient and a code")
    if not (events.time[events.code != events.birth] != NO_TIME).any():
        raise SourceError(f"no event of {path_name} has a time; one row per patient is for synthesize")
    return events


def _sorted(events: Events) -> Events:
    same = events.subject_id[1:] == events.subject_id[:-1]
    n_backwards = int((same & (events.time[1:] < events.time[:-1])).sum())
    n_apart = int((~same).sum()) + 1 - len(np.unique(events.subject_id)) if len(events.code) else 0
    order = np.lexsort((events.text, events.value, events.code, events.time, events.subject_id))
    events = events.keep(order)
    events = events.noted(n_backwards, "events have a time before the row above (time): sorted")
    return events.noted(n_apart, "times a patient's rows are apart from the others (subject_id): brought together")


def _without_doubles(events: Events) -> Events:
    columns = (events.subject_id, events.time, events.code, events.value.view(np.int32), events.text)
    is_double = np.ones(max(0, len(events.code) - 1), dtype=bool)
    for column in columns:
        is_double &= column[1:] == column[:-1]
    is_double = np.concatenate([np.zeros(min(1, len(events.code)), dtype=bool), is_double])
    return events.keep(~is_double).noted(int(is_double.sum()), "events stand twice: counted once")


def _one_birth(events: Events) -> Events:
    """The earliest birth of each patient with a time, and no event before it."""
    patient = np.unique(events.subject_id, return_inverse=True)[1]
    is_birth, has_time = events.code == events.birth, events.time != NO_TIME
    is_timed_birth = is_birth & has_time
    # Sorted by time: of several writes to one place, the last holds, so they are written in reverse.
    place = np.full(int(patient.max(initial=-1)) + 1, -1)
    births = np.flatnonzero(is_timed_birth)[::-1]
    place[patient[births]] = births
    born_at = np.where(place >= 0, events.time[place], NO_TIME)[patient] if len(patient) else events.time
    is_extra = is_birth.copy()
    is_extra[place[place >= 0]] = False
    is_early = has_time & ~is_birth & (events.time < born_at)
    kept = events.keep(~is_extra & ~is_early)
    kept = kept.noted(int(is_extra.sum()), f"{BIRTH} events have no time or are a patient's second: left out")
    return kept.noted(int(is_early.sum()), "events lie before their patient's birth (time): left out")


def _in_order(places: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places among the sorted words, and these: so that the order of places is that of words."""
    order = np.argsort(words, kind="stable")
    rank = np.empty(len(words) + 1, dtype=np.int32)
    rank[order], rank[-1] = np.arange(len(words)), -1
    return rank[places], words[order]
