"""Timed events as steps from one code to the next, and how much each counts although patients are not watched for ever.

What belongs here: the arrays that a Markov chain counts. What does not: the chain (`timeline_markov.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.timelines import BIRTH, TimelineCohort, shortest
from ehr_pipeline.record import shown_count

END = -1
"""What comes after a patient's last event."""


@dataclass(frozen=True, kw_only=True)
class TimedEvents:
    """The timed events that are learned from, in order of patient, minute and code.

    Attributes
    ----------
    codes
        Those that at least `MINIMUM_PATIENTS` patients have, by name; the last `n_terminal` are never followed by an
        event at a later time (death, discharge), and stand last inside a time stamp.
    most_events
        Events of one patient that `MINIMUM_PATIENTS` patients reach.
    patient, minute, code
        int64 of shape (n_events,); minutes since the origin, places in `codes`.
    value
        float64, NaN where missing.
    text
        object, None or NaN where missing.
    is_cut
        Patients some of whose events were left out, since they have too many: bool of shape (n_patients,).
    """

    codes: tuple[str, ...]
    n_terminal: int
    most_events: int
    patient: np.ndarray
    minute: np.ndarray
    code: np.ndarray
    value: np.ndarray
    text: np.ndarray
    is_cut: np.ndarray
    notes: tuple[str, ...]

    @classmethod
    def of(cls, cohort: TimelineCohort, events_per_patient: int) -> Self:
        """Leave out what is static, of too few patients, after the window, or too much of one patient."""
        events, window = cohort.events, cohort.clock.window_minutes
        categories = events["code"].cat.categories
        all_codes = events["code"].cat.codes.to_numpy().astype(np.int64)
        is_timed = ~cohort.is_static & (events["code"] != BIRTH).to_numpy()
        is_late = is_timed & (cohort.minutes > window)
        which = np.flatnonzero(is_timed & ~is_late)
        patient, minute, code = cohort.patient[which], cohort.minutes[which], all_codes[which]
        carriers = _carriers(code, patient, len(categories))
        is_kept = carriers >= MINIMUM_PATIENTS
        rank = _ranks(patient, minute, code, is_kept)
        keep = np.flatnonzero(is_kept[code])
        which, patient, minute, code = which[keep], patient[keep], minute[keep], rank.of[code[keep]]
        order = np.lexsort((code, minute, patient))
        which, patient, minute, code = which[order], patient[order], minute[order], code[order]
        counts = np.bincount(patient, minlength=cohort.n_patients)
        first = np.cumsum(counts) - counts
        is_early = np.arange(len(patient)) - first[patient] < events_per_patient
        which, patient, minute, code = which[is_early], patient[is_early], minute[is_early], code[is_early]
        is_cut = counts > events_per_patient
        kept_counts = np.sort(np.minimum(counts, events_per_patient))
        n_rare = int(((carriers > 0) & ~is_kept).sum())
        notes = []
        if n_rare:
            notes.append(f"{n_rare:,} codes of fewer than {MINIMUM_PATIENTS} patients each are not learned")
        if is_late.any():
            notes.append(f"{is_late.sum():,} events later than any {MINIMUM_PATIENTS} patients have are not learned")
        if is_cut.any():
            notes.append(
                f"patients with more than {events_per_patient:,} events: {shown_count(int(is_cut.sum()))}; "
                "of these, the first ones are learned"
            )
        return cls(
            codes=tuple(categories[rank.codes]),
            n_terminal=rank.n_terminal,
            most_events=int(kept_counts[-MINIMUM_PATIENTS:][0]) if len(kept_counts) else 0,
            patient=patient,
            minute=minute,
            code=code,
            value=shortest(events["numeric_value"].to_numpy()[which]),
            text=events["text_value"].iloc[which].astype(object).to_numpy(),
            is_cut=is_cut,
            notes=tuple(notes),
        )

    def steps(self, n_patients: int, window_minutes: int) -> Steps:
        """Every step of every patient, from the beginning to the end."""
        n = np.arange(n_patients)
        before = np.concatenate([np.full(n_patients, len(self.codes)), self.code])
        minute = np.concatenate([np.zeros(n_patients, dtype=np.int64), self.minute])
        patient = np.concatenate([n, self.patient])
        order = np.argsort(patient, kind="stable")
        before, minute, patient = before[order], minute[order], patient[order]
        is_last = np.append(patient[1:] != patient[:-1], True)
        after = np.where(is_last, END, np.append(before[1:], END))
        until = np.where(is_last, window_minutes, np.append(minute[1:], 0))
        known = ~(is_last & self.is_cut[patient])  # what came after the events that were left out, nobody knows
        return Steps(before=before[known], after=after[known], gap=(until - minute)[known], patient=patient[known])


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What follows what: one row per timed event, and one per patient's beginning.

    Attributes
    ----------
    before, after
        Codes: int64 of shape (n,). `before` is the number of codes at a beginning, `after` is `END` at an end.
    gap
        Minutes between them: int64; at an end, minutes for which the patient was still watched.
    patient
        int64.
    """

    before: np.ndarray
    after: np.ndarray
    gap: np.ndarray
    patient: np.ndarray

    @property
    def is_end(self) -> np.ndarray:
        """Which rows are ends, bool of shape (n,)."""
        return self.after == END

    def weights(self, level: np.ndarray, n_codes: int) -> np.ndarray:
        """How much each row counts: float64 of shape (n,); those of one code `before` sum to its number of rows.

        `level` (int64, rising with the gap) says which gaps count as equal. A step counts 1 / G(g), where G(g) is the
        chance, after its code, to be watched until gap g: the Kaplan-Meier estimate of the censoring, steps before ends
        at the same level. What is left of a code's mass, its ends share evenly: no one was watched long enough.
        """
        n_levels = int(level.max(initial=0)) + 1
        cell, shape = self.before * n_levels + level, (n_codes + 1, n_levels)
        ends = np.bincount(cell[self.is_end], minlength=shape[0] * n_levels).reshape(shape)
        steps = np.bincount(cell[~self.is_end], minlength=shape[0] * n_levels).reshape(shape)
        at_risk = np.cumsum((steps + ends)[:, ::-1], axis=1)[:, ::-1]
        watched_on = 1 - ends / np.maximum(at_risk - steps, 1)
        chance = np.concatenate([np.ones((len(ends), 1)), np.cumprod(watched_on, axis=1)[:, :-1]], axis=1)
        step_weight = np.divide(1.0, chance, out=np.zeros(shape), where=chance > 0)
        unseen = np.maximum(at_risk[:, 0] - (steps * step_weight).sum(axis=1), 0.0)
        # Rounding leaves a millionth of a step where nothing is left.
        unseen[unseen < 1e-9 * at_risk[:, 0]] = 0.0
        end_weight = unseen / np.maximum(ends.sum(axis=1), 1)
        return np.where(self.is_end, end_weight[self.before], step_weight[self.before, level])


@dataclass(frozen=True, kw_only=True)
class _Ranks:
    """The kept codes in order, and the rank of every code (-1 where it is not kept)."""

    codes: np.ndarray
    of: np.ndarray
    n_terminal: int


def _ranks(patient: np.ndarray, minute: np.ndarray, code: np.ndarray, is_kept: np.ndarray) -> _Ranks:
    """Kept codes by name, those that nothing follows at a later time last."""
    which = is_kept[code]
    patient, minute, code = patient[which], minute[which], code[which]
    last = np.full(int(patient.max(initial=-1)) + 1, -1)
    np.maximum.at(last, patient, minute)
    is_followed = np.zeros(len(is_kept), dtype=bool)
    is_followed[code[minute < last[patient]]] = True
    kept = np.flatnonzero(is_kept)
    codes = np.concatenate([kept[is_followed[kept]], kept[~is_followed[kept]]])
    of = np.full(len(is_kept), -1)
    of[codes] = np.arange(len(codes))
    return _Ranks(codes=codes, of=of, n_terminal=int((~is_followed[kept]).sum()))


def _carriers(code: np.ndarray, patient: np.ndarray, n_codes: int) -> np.ndarray:
    """Patients that have each code: int64 of shape (n_codes,)."""
    n_patients = int(patient.max(initial=0)) + 1
    pairs = np.unique(code * n_patients + patient)
    return np.bincount(pairs // n_patients, minlength=n_codes)
