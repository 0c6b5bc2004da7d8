"""What is predicted from the first hours of a timeline: death, long stays, readmission, the next day's laboratory.

What belongs here: who is asked, from which events, and what came true. What does not: models (`utility.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ehr_pipeline.clinical.items import load_items
from ehr_pipeline.evaluate.timelines.features import summaries
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.stream import Timelines
from ehr_pipeline.evaluate.timelines.survival import DISCHARGE
from ehr_pipeline.generators.timelines import DEATH
from ehr_pipeline.record import SMALL_CELL

EARLY_HOURS = (24.0, 48.0)
LEFT_HOURS = 1.0
"""What a window must leave after the hours that are seen: 48 hours of events are asked from their first 47."""
LONG_STAY_DAYS = (3, 7)
READMISSION_HOURS = 24.0 * 30
NEXT_DAY = (24.0, 48.0)
MIN_NUMBERS = 50
"""Patients on either side whom a task that predicts a number needs."""
LABORATORY = ("creatinine", "sodium", "potassium", "haemoglobin", "glucose")
"""Items whose next value may be predicted; the first one that is there is."""

Answer = tuple[np.ndarray, np.ndarray, np.ndarray]
"""By patient: what came true (float), whether the patient is asked (bool), the hour until which events are seen."""


@dataclass(frozen=True, eq=False)
class TimelineProblem:
    """One task: `answer` says of any patients what came true, `hidden` are the codes that a model may not see."""

    name: str
    title: str
    kind: Literal["event", "number"]
    hours: float
    answer: Callable[[Timelines], Answer]
    hidden: np.ndarray
    is_main: bool = False
    needs_discharge: bool = False

    def of(self, timelines: Timelines, lists: CodeLists) -> tuple[np.ndarray, np.ndarray]:
        """Features, float64 [n, p], and what came true, float64 [n], of the patients who are asked."""
        truth, is_asked, until = self.answer(timelines)
        with np.errstate(invalid="ignore"):
            is_seen = ~timelines.is_timed | (timelines.hours <= until[timelines.patient])
        past = timelines.take(is_seen & ~np.isin(timelines.code, self.hidden))
        return summaries(past, lists, self.hidden)[is_asked], truth[is_asked]


class Tasks:
    """The tasks that the training and holdout patients can ask, and why the others cannot be."""

    def __init__(self, train: Timelines, holdout: Timelines, lists: CodeLists, outcome: int | None) -> None:
        self.lists, self.outcome = lists, outcome
        ends = [np.flatnonzero(lists.codes == DEATH), lists.starting_with(*DISCHARGE, "HOURS//")]
        self.ends = np.unique(np.concatenate([*ends, [] if outcome is None else [outcome]])).astype(np.int64)
        self.left = lists.starting_with(*DISCHARGE)
        self.came = lists.starting_with("ADMISSION//", "HOSPITAL_ADMISSION")
        self.asked: list[TimelineProblem] = []
        self.notes: list[str] = []
        for problem in [*self._outcomes(), *self._long_stays(), self._readmission(), *self._next_values()]:
            why_not = self._why_not(problem, (train, holdout))
            if why_not:
                self.notes.append(f"not asked: {problem.title}: {why_not}")
            else:
                self.asked.append(problem)
        self._choose_main()

    def _choose_main(self) -> None:
        """The outcome from the most hours is the main task."""
        own = [place for place, problem in enumerate(self.asked) if problem.name.startswith("outcome")]
        if own:
            self.asked[own[-1]] = replace(self.asked[own[-1]], is_main=True)

    def _why_not(self, problem: TimelineProblem, sides: tuple[Timelines, ...]) -> str | None:
        if problem.needs_discharge and not len(self.left):
            return "these events tell no discharge"
        for timelines in sides:
            truth, is_asked, _ = problem.answer(timelines)
            if problem.hours > self.lists.window_hours:
                return f"the events cover {self.lists.window_hours:g} hours"
            if problem.kind == "number":
                if is_asked.sum() < MIN_NUMBERS:
                    return f"fewer than {MIN_NUMBERS} real patients on a side have it"
            elif np.bincount(truth[is_asked].astype(int), minlength=2).min() < SMALL_CELL:
                return f"fewer than {SMALL_CELL} real patients on a side have one of the two answers"
        return None

    def _outcomes(self) -> list[TimelineProblem]:
        if self.outcome is None:
            self.notes.append("not asked: the outcome: these events name none")
            return []
        code = str(self.lists.codes[self.outcome])
        what = "Death" if code == DEATH else code
        return [
            TimelineProblem(
                name=f"outcome_after_{hours:g}h",
                title=f"{what} after the first {hours:g} hours",
                kind="event",
                hours=hours,
                answer=self._outcome_after(hours),
                hidden=self.ends,
            )
            for hours in sorted({min(hours, max(self.lists.window_hours - LEFT_HOURS, 24.0)) for hours in EARLY_HOURS})
        ]

    def _outcome_after(self, hours: float) -> Callable[[Timelines], Answer]:
        def answer(timelines: Timelines) -> Answer:
            first = timelines.first_time(timelines.code == self.outcome)
            left = timelines.first_time(np.isin(timelines.code, self.left))
            is_asked = (first > hours) & (left > hours)
            return np.isfinite(first).astype(float), is_asked, np.full(timelines.n_patients, hours)

        return answer

    def _long_stays(self) -> list[TimelineProblem]:
        return [
            TimelineProblem(
                name=f"stay_over_{days}d",
                title=f"Stay longer than {days} days, from the first 24 hours",
                kind="event",
                hours=24.0,
                answer=self._stay_over(24.0 * days),
                hidden=self.ends,
                needs_discharge=True,
            )
            for days in LONG_STAY_DAYS
        ]

    def _stay_over(self, limit: float) -> Callable[[Timelines], Answer]:
        def answer(timelines: Timelines) -> Answer:
            left = timelines.first_time(np.isin(timelines.code, self.left))
            is_asked = np.isfinite(left) & (left > 24.0)
            return (left > limit).astype(float), is_asked, np.full(timelines.n_patients, 24.0)

        return answer

    def _readmission(self) -> TimelineProblem:
        def answer(timelines: Timelines) -> Answer:
            left = timelines.first_time(np.isin(timelines.code, self.left))
            died = timelines.first_time(np.isin(timelines.code, np.flatnonzero(self.lists.codes == DEATH)))
            with np.errstate(invalid="ignore"):
                is_later = np.isin(timelines.code, self.came) & (timelines.hours > left[timelines.patient])
                again = timelines.first_time(is_later) - left
                is_asked = np.isfinite(left) & (died > left)
                truth = (again <= READMISSION_HOURS).astype(float)
            return truth, is_asked, np.where(np.isfinite(left), left, 0.0)

        return TimelineProblem(
            name="readmitted_30d",
            title="Readmission within 30 days of the first discharge",
            kind="event",
            hours=0.0,
            answer=answer,
            hidden=self.ends,
            needs_discharge=True,
        )

    def _next_values(self) -> list[TimelineProblem]:
        """The mean value of one laboratory item on the second day."""
        for name in LABORATORY:
            item = load_items()[name]
            wanted = {*item.codes, item.title.casefold(), name}
            is_it = np.array([code in wanted or code.casefold() in wanted for code in self.lists.codes], dtype=bool)
            codes = np.intersect1d(np.flatnonzero(is_it), self.lists.valued)
            if len(codes):
                code = codes[np.argmin(codes)]  # codes stand in the order of their events
                return [
                    TimelineProblem(
                        name=f"next_day_{name}",
                        title=f"{item.title} on the second day, from the first",
                        kind="number",
                        hours=NEXT_DAY[1],
                        answer=self._next_value(code),
                        hidden=self.ends,
                    )
                ]
        self.notes.append("not asked: the next day's laboratory value: no known laboratory item has numbers")
        return []

    def _next_value(self, code: int) -> Callable[[Timelines], Answer]:
        def answer(timelines: Timelines) -> Answer:
            begin, end = NEXT_DAY
            with np.errstate(invalid="ignore"):
                is_next = (timelines.code == code) & (timelines.hours > begin) & (timelines.hours <= end)
            kept = timelines.take(is_next & ~np.isnan(timelines.value))
            n = np.bincount(kept.patient, minlength=timelines.n_patients)
            mean = np.bincount(kept.patient, kept.value, minlength=timelines.n_patients) / np.maximum(n, 1)
            return mean, n > 0, np.full(timelines.n_patients, begin)

        return answer
