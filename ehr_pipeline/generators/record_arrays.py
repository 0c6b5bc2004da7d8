"""Patients as records: the static row, what happens at all, and one row of arrays per time stamp.

What belongs here: from events to arrays. What does not: networks, and the way back (`record_events.py`).

Rows of all patients lie one after the other: those of a patient's time stamps, then one for its end. Each knows what
was before it (the last value of each feature and when), so that rows can be learned in any order. About 25 bytes per
feature and time stamp.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from ehr_pipeline.generators.category_autoencoder import ABSENT, Tokens
from ehr_pipeline.generators.event_values import EventValues, Symbols
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.record_layout import (
    FARTHEST_Z,
    FIRST_TEXT,
    Parts,
    RecordLayout,
    learn_forms,
    padded,
)
from ehr_pipeline.generators.record_rows import Rows, Stamps, known_before, latest_before
from ehr_pipeline.generators.static_columns import StaticColumns
from ehr_pipeline.generators.static_facts import StaticFacts
from ehr_pipeline.generators.stochastic_normalisation import StochasticNormalisation
from ehr_pipeline.generators.timeline_steps import TimedEvents
from ehr_pipeline.generators.timelines import DAY_MINUTES, TimelineCohort
from ehr_pipeline.record import shown_count

MOST_RARE_AT_ONCE = 32
"""Rare codes at one time stamp; more are left out."""


@dataclass(frozen=True, kw_only=True)
class Records:
    """P patients with R rows in all, K features, on one device.

    Attributes
    ----------
    static_tokens, static_z, static_present
        As `StaticArrays`.
    bits
        (P, K + 1 + n_ends): whether the patient has each feature, any rare code, each end.
    levels, counts
        (P, K): mean of z over the patient's numbers of each feature, and log(1 + events) of it; 0 without any.
    end_level
        (P,): level of the time at which an end comes; -1 without one.
    begin_level, begin
        (P,): minute of the day of the origin, and its level.
    until
        (P,): minute at which the record ends, or at which patients are watched no longer.
    first, n_rows
        (P,): first row and number of rows, that of the end included.
    minute, before
        (R,): minute of the time stamp and of the one before it (0 before the first); at an end, `until`.
    gap_level
        (R,): level of the minutes between them.
    is_end, is_known
        (R,): rows of ends; and of them, those after which nothing was left out.
    mask, z, is_number, is_same
        (R, K): which features are there, standard normal number, whether there is one, and whether it is just the last.
    last_z, last_minute, mean_z, n_before, n_seen
        (R, K): of the feature's numbers before the row, the last one; minute of its last event (-1 before the first);
        mean of the numbers, how many, and how many events.
    tokens
        (R, n_groups + places): of the row; `state_tokens` has those of the last event of each, `ABSENT` if none.
    n_rare
        (R,): rare codes of the row.
    """

    static_tokens: Tensor
    static_z: Tensor
    static_present: Tensor
    bits: Tensor
    levels: Tensor
    counts: Tensor
    end_level: Tensor
    begin_level: Tensor
    begin: Tensor
    until: Tensor
    first: Tensor
    n_rows: Tensor
    minute: Tensor
    before: Tensor
    gap_level: Tensor
    is_end: Tensor
    is_known: Tensor
    mask: Tensor
    z: Tensor
    is_number: Tensor
    is_same: Tensor
    last_z: Tensor
    last_minute: Tensor
    mean_z: Tensor
    n_before: Tensor
    n_seen: Tensor
    tokens: Tensor
    state_tokens: Tensor
    n_rare: Tensor

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return replace(self, **{one.name: getattr(self, one.name).to(device) for one in fields(self)})

    def tensors(self) -> tuple[Tensor, ...]:
        """All arrays, in the order of the fields."""
        return tuple(getattr(self, one.name) for one in fields(self))

    @property
    def n_patients(self) -> int:
        """P."""
        return len(self.first)

    def stamp_shares(self) -> Tensor:
        """Share of time stamps with each feature, and with any rare code: (K + 1,)."""
        is_stamp = ~self.is_end
        there = torch.cat([self.mask[is_stamp], (self.n_rare[is_stamp] > 0)[:, None]], dim=1)
        return there.float().sum(dim=0) / max(1, len(there))

    def rows_of(self, patients: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of these patients, and the place of each row's patient among them."""
        n_rows = self.n_rows[patients]
        place = torch.repeat_interleave(torch.arange(len(patients), device=patients.device), n_rows)
        ends = n_rows.cumsum(0)
        rows = torch.arange(len(place), device=patients.device) - (ends - n_rows)[place] + self.first[patients][place]
        return rows, place


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What is learned without a network: columns, the records, the values of events that are no features."""

    layout: RecordLayout
    statics: StaticColumns
    others: EventValues
    most_stamps: int
    notes: tuple[str, ...]
    records: Records


def learn_records(
    cohort: TimelineCohort, *, events_per_patient: int, exact: bool, gap_levels: int, rng: np.random.Generator
) -> Learned:
    """Learn the columns of a cohort, and its patients as records."""
    timed, n_patients = TimedEvents.of(cohort, events_per_patient), cohort.n_patients
    parts = Parts.of(timed)
    notes = list(timed.notes)
    if parts.n_left_out:
        notes.append(f"{parts.n_left_out:,} codes with the fewest events are not learned")
    feature, rare, end = (place[timed.code] for place in (parts.feature, parts.rare, parts.end))
    is_record = (feature >= 0) | (rare >= 0)
    stamp = Stamps.of(timed.patient[is_record], timed.minute[is_record], n_patients)
    which = np.flatnonzero(is_record)[stamp.is_kept]
    n_cut = int(stamp.is_cut.sum())
    if n_cut:
        notes.append(
            f"patients with more than {stamp.most:,} time stamps: {shown_count(n_cut)}; of these, the first are learned"
        )
    ends, end_minute = _ends(timed, end, n_patients, sum(parts.end >= 0))
    until = np.where(end_minute >= 0, end_minute, cohort.clock.window_minutes)
    rows = Rows.of(stamp, until)
    is_feature = feature[which] >= 0
    numbers, texts, forms, columns = _features(
        timed,
        which[is_feature],
        feature[which[is_feature]],
        stamp.of_event[is_feature],
        rows=rows,
        n_features=int((parts.feature >= 0).sum()),
        exact=exact,
        rng=rng,
    )
    begin = cohort.origin.astype("datetime64[m]").astype(np.int64) % DAY_MINUTES
    has_end, everyone = end_minute >= 0, np.arange(n_patients)
    gap = (rows.minute - rows.before)[~rows.is_end].astype(np.float64)
    layout = RecordLayout(
        features=_names(timed, parts.feature),
        rare=_names(timed, parts.rare),
        ends=_names(timed, parts.end),
        numbers=numbers,
        texts=texts,
        forms=forms,
        gaps=NumberCodec.fit(gap, rows.patient[~rows.is_end], decimals=0, may_miss=False, n_levels=gap_levels),
        end_times=NumberCodec.fit(
            end_minute[has_end].astype(np.float64), everyone[has_end], decimals=0, may_miss=False, n_levels=gap_levels
        ),
        begins=NumberCodec.fit(begin.astype(np.float64), everyone, decimals=0, may_miss=False, n_levels=24),
    )
    facts = StaticFacts.learn(cohort)
    table = facts.table(cohort)
    statics = StaticColumns.learn(facts, table, exact=exact)
    static = statics.encode(table, rng)
    tokens, state_tokens, n_rare = _tokens(layout, columns, rare[which], stamp.of_event, rows)
    n_events, n_numbers = (
        np.add.reduceat(columns[name], rows.first, axis=0, dtype=np.int64) for name in ("mask", "is_number")
    )
    levels = np.add.reduceat(columns["z"], rows.first, axis=0) / np.maximum(n_numbers, 1)
    has_rare = np.bincount(rows.patient, n_rare, n_patients) > 0
    arrays = {
        "static_tokens": static.tokens,
        "static_z": static.z,
        "static_present": static.present,
        "bits": np.column_stack([n_events > 0, has_rare, ends]).astype(np.float32),
        "levels": levels.astype(np.float32),
        "counts": np.log1p(n_events).astype(np.float32),
        "end_level": np.where(has_end, layout.end_times.levels(end_minute.astype(np.float64)), -1),
        "begin_level": layout.begins.levels(begin.astype(np.float64)),
        "begin": begin,
        "until": until,
        "first": rows.first,
        "n_rows": rows.n_rows,
        "minute": rows.minute,
        "before": rows.before,
        "gap_level": layout.gaps.levels((rows.minute - rows.before).astype(np.float64)),
        "is_end": rows.is_end,
        "is_known": rows.is_end & ~(stamp.is_cut | timed.is_cut)[rows.patient],
        "tokens": tokens,
        "state_tokens": state_tokens,
        "n_rare": n_rare,
        **{name: columns[name] for name in columns if name != "forms"},
    }
    is_other = (rare >= 0) | (end >= 0)
    others = EventValues.learn(
        np.where(rare >= 0, rare, len(layout.rare) + end)[is_other],
        timed.value[is_other],
        timed.text[is_other],
        timed.patient[is_other],
        n_codes=len(layout.rare) + len(layout.ends),
        n_levels=32,
    )
    return Learned(
        layout=layout,
        statics=statics,
        others=others,
        most_stamps=stamp.most,
        notes=tuple(notes),
        records=Records(**{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}),
    )


def _names(timed: TimedEvents, place: np.ndarray) -> tuple[str, ...]:
    return tuple(np.array(timed.codes, dtype=object)[place >= 0])


def _ends(timed: TimedEvents, end: np.ndarray, n_patients: int, n_ends: int) -> tuple[np.ndarray, np.ndarray]:
    """Which ends each patient has, bool of shape (n_patients, n_ends), and when; -1 without one."""
    which = end >= 0
    has = np.zeros((n_patients, n_ends), dtype=bool)
    has[timed.patient[which], end[which]] = True
    minute = np.full(n_patients, -1)
    minute[timed.patient[which]] = timed.minute[which]
    return has, minute


def _features(
    timed: TimedEvents,
    which: np.ndarray,
    feature: np.ndarray,
    stamp: np.ndarray,
    *,
    rows: Rows,
    n_features: int,
    exact: bool,
    rng: np.random.Generator,
) -> tuple[
    dict[int, StochasticNormalisation], dict[int, tuple[str, ...]], tuple[tuple[int, ...], ...], dict[str, np.ndarray]
]:
    """Numbers, texts and forms of features, and the columns (R, K) of `Records`; of several events the last counts."""
    n = len(rows.patient)
    value, text, patient = timed.value[which], timed.text[which], timed.patient[which]
    symbols = Symbols.learn(feature, value, text, patient, n_codes=n_features, n_levels=2)
    forms, place = learn_forms(symbols, feature, symbols.of(feature, value, text), patient)
    row = rows.of_stamp[stamp]
    form_of = np.full((n, n_features), ABSENT, dtype=np.int16)
    mask, is_number = np.zeros((2, n, n_features), dtype=bool)
    z = np.zeros((n, n_features), dtype=np.float32)
    told = np.full((n, n_features), np.nan, dtype=np.float32)
    mask[row, feature] = True
    numbers = {}
    for k in range(n_features):
        own = np.flatnonzero(feature == k)
        own = own[np.append(row[own][1:] != row[own][:-1], True)]  # the last of each row
        form_of[row[own], k] = place[own]
        if k in symbols.numbers and 1 in forms[k]:
            finite = own[np.isfinite(value[own])]
            numbers[k] = StochasticNormalisation.fit(value[finite], patient[finite], exact=exact)
            ranks = numbers[k].normalise(value[finite], rng)
            z[row[finite], k] = ndtri(ranks).clip(-FARTHEST_Z, FARTHEST_Z)
            told[row[finite], k] = value[finite]
            is_number[row[finite], k] = True
    texts = {k: tuple(np.array(symbols.texts[k], dtype=object)) for k in symbols.texts if max(forms[k]) >= FIRST_TEXT}
    columns = {"mask": mask, "z": z, "is_number": is_number, "forms": form_of}
    return numbers, texts, forms, columns | known_before(columns, told, rows)


def _tokens(
    layout: RecordLayout, columns: dict[str, np.ndarray], rare: np.ndarray, stamp: np.ndarray, rows: Rows
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens of each row, those of the state before it, and the number of rare codes."""
    n, tokens, grouped = len(rows.patient), layout.tokens, layout.grouped
    of_groups = columns["forms"][:, grouped].astype(np.int64)
    starts = np.array([group.start for group in tokens.groups], dtype=np.int64)
    of_groups = np.where(of_groups >= 0, of_groups + starts, ABSENT)
    is_rare = rare >= 0
    pairs = np.unique(np.column_stack([rows.of_stamp[stamp[is_rare]], rare[is_rare]]), axis=0)
    n_rare = np.bincount(pairs[:, 0], minlength=n)
    n_places = min(int(n_rare.max(initial=0)), MOST_RARE_AT_ONCE)
    of_set = padded(pairs[:, 0], tokens.set_start + pairs[:, 1], n, n_places)
    all_tokens = np.concatenate([of_groups, of_set], axis=1)
    place, first = np.arange(n), rows.first[rows.patient]
    state = np.full_like(all_tokens, ABSENT)
    for j in range(all_tokens.shape[1]):
        is_there = all_tokens[:, j] >= 0 if j < len(grouped) else n_rare > 0
        latest = latest_before(is_there, place, first)
        state[:, j] = np.where(latest >= 0, all_tokens[latest, j], ABSENT)
    return all_tokens.astype(np.int32), state.astype(np.int32), np.minimum(n_rare, n_places)


def token_rows(records: Records, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Rows of tokens that have any, of shape (some, places), and their patients."""
    patient = torch.repeat_interleave(torch.arange(records.n_patients, device=records.n_rows.device), records.n_rows)
    has_any = (records.tokens >= 0).any(dim=1) & (tokens.n_tokens > 0)
    return records.tokens[has_any], patient[has_any]
