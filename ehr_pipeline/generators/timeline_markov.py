"""Timelines as a Markov chain of codes with gaps between them: the floor that every learned model must beat.

1. Static facts and the age: a row of the noisy marginals' generator without noise (`static_rows.py`).
2. The next code given the one before, and whether it comes at the same time; inside a time stamp codes stand in order.
3. The gap given the pair of codes, to the minute: heavy values and intervals (`number_codec.py`).
4. Values given the value before of the same code (`event_values.py`).

The end of the window is censoring: patients are watched no longer, which says nothing of what came next. So an observed
step of gap g after code a counts 1 / G_a(g), where G_a(g) is the chance to be watched for so long after a
(Kaplan-Meier of the censoring; Aalen and Johansen 1978 for the steps as competing ends). What mass is left after each
code means "longer than anyone was watched": the timeline ends there. It ends too where a drawn gap passes the window.

Kept out: codes, cells and texts of fewer than `MINIMUM_PATIENTS` patients; rare steps are drawn from all rare steps.
What it cannot know: how one patient differs from another, and anything older than the event before.

Memory: about 300 bytes per event in the fit, 60 per drawn event.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators.backoff_counts import OTHER, Backoff, CountTable
from ehr_pipeline.generators.base import GeneratorConfig
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.configs import TimelineMarkovConfig
from ehr_pipeline.generators.event_values import EventValues
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.persistence import read_state, under, write_state
from ehr_pipeline.generators.private_markov import fit_private, markov_plan
from ehr_pipeline.generators.static_rows import StaticRows
from ehr_pipeline.generators.timeline_steps import Steps, TimedEvents
from ehr_pipeline.generators.timelines import (
    DAY_MINUTES,
    Clock,
    TimelineCohort,
    TimelineGenerator,
    events_frame,
)
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.progress import Progress, Step

SAME_TIME = 0
"""Level of the gap 0; the codec's levels of longer gaps come after it."""


class TimelineMarkov(TimelineGenerator):
    """Markov timelines."""

    name: ClassVar[str] = "timeline_markov"
    title: ClassVar[str] = "Markov timelines"
    config_type: ClassVar[type[GeneratorConfig]] = TimelineMarkovConfig

    def __init__(
        self,
        *,
        config: GeneratorConfig,
        clock: Clock,
        codes: tuple[str, ...],
        n_terminal: int,
        most_events: int,
        static: StaticRows,
        begins: NumberCodec,
        gaps: NumberCodec,
        next_code: Backoff,
        next_gap: Backoff,
        values: EventValues,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.clock = clock
        self.codes = codes
        """Codes of timed events in the order that they have inside a time stamp; the last `n_terminal` end a stay."""
        self.n_terminal = n_terminal
        self.most_events = most_events
        """Timed events of a patient at most."""
        self.static = static
        self.begins = begins
        """Minute of the day of the origin, where patients have calendars of their own."""
        self.gaps = gaps
        self.next_code = next_code
        self.next_gap = next_gap
        self.values = values
        self.notes = notes
        self.history = []

    @classmethod
    def fit(
        cls,
        cohort: TimelineCohort,
        config: GeneratorConfig,
        budget: Budget | None = None,
        progress: Progress | None = None,
        *,
        checkpoint: Path | None = None,
    ) -> Self:
        """Count; no longer than sorting the events takes, so it keeps no checkpoint."""
        started = time.perf_counter()
        config = TimelineMarkovConfig.model_validate(config.model_dump())
        if budget is not None:
            return cls._fit_private(cohort, config, budget)
        if cohort.n_patients < MINIMUM_PATIENTS:
            raise DefinitionError(f"{cls.name} needs at least {MINIMUM_PATIENTS} patients, and there are fewer")

        def told(done: int) -> None:
            if progress is not None:
                elapsed_s = time.perf_counter() - started
                progress(Step(task=cls.title, done=done, total=3, unit="part", elapsed_s=elapsed_s))

        timed = TimedEvents.of(cohort, config.events_per_patient)
        steps = timed.steps(cohort.n_patients, cohort.clock.window_minutes)
        told(1)
        gaps, next_code, next_gap = _count(steps, len(timed.codes), config.gap_levels)
        told(2)
        values = EventValues.learn(
            timed.code,
            timed.value,
            timed.text,
            timed.patient,
            n_codes=len(timed.codes),
            n_levels=config.value_levels,
        )
        static = StaticRows.learn(cohort, config)
        minute_of_day = cohort.origin.astype("datetime64[m]").astype(np.int64) % DAY_MINUTES
        begins = NumberCodec.fit(
            minute_of_day.astype(np.float64), np.arange(cohort.n_patients), decimals=0, may_miss=False, n_levels=24
        )
        told(3)
        return cls(
            config=config,
            clock=cohort.clock,
            codes=timed.codes,
            n_terminal=timed.n_terminal,
            most_events=timed.most_events,
            static=static,
            begins=begins,
            gaps=gaps,
            next_code=next_code,
            next_gap=next_gap,
            values=values,
            notes=timed.notes,
        )

    @classmethod
    def privacy_plan(cls, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """Noisy counts of bounded contributions, by shares that are fixed (`private_markov.py`)."""
        return markov_plan(budget)

    @classmethod
    def _fit_private(cls, cohort: TimelineCohort, config: TimelineMarkovConfig, budget: Budget) -> Self:
        plan = cls.privacy_plan(config, budget)
        parts, n_patients = fit_private(cohort, config, plan)
        generator = cls(config=config, **parts)
        generator.privacy, generator.n_patients = plan, n_patients
        return generator

    def sample(self, n: int, seed: int, conditions: Mapping[str, str | float] | None = None) -> pd.DataFrame:
        """Draw `n` patients, all of them event by event at once."""
        rng = np.random.default_rng(seed)
        begin = np.zeros(n) if self.clock.is_shared else self.begins.from_ranks(rng.random(n))
        origin = self.clock.start + begin.astype(np.int64).astype("timedelta64[m]")
        patient, minute, code = self.timelines(n, rng)
        value, text = self.values.draw(code, patient, rng)
        timed = events_frame(
            patient + 1,
            origin[patient] + minute.astype("timedelta64[m]"),
            np.array([*self.codes, None], dtype=object)[code],
            value,
            text,
        )
        events = pd.concat([self.static.draw(n, seed, origin, conditions), timed], ignore_index=True)
        # Both parts are in order by themselves, and static facts come first; a birth lies before the origin.
        events = events.sort_values(["subject_id", "time"], na_position="first", kind="stable", ignore_index=True)
        return events.astype({"code": "category", "text_value": "category"})

    def timelines(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Patient, minute and code of each timed event, in order: int64 of shape (n_events,)."""
        n_codes = len(self.codes)
        first_terminal = n_codes - self.n_terminal
        patient, code, minute = np.arange(n), np.full(n, n_codes), np.zeros(n, dtype=np.int64)
        drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for _ in range(self.most_events):
            step, is_fallback = self._step(code, rng)
            after, is_same_time = step // 2, (step % 2 == 1) & (step // 2 >= np.where(code == n_codes, 0, code))
            # A code that ends a stay is followed by what was seen to follow it, at its own time, and nothing else.
            is_terminal = (code >= first_terminal) & (code < n_codes)
            goes_on = (step >= 0) & (after < n_codes) & ~(is_terminal & (is_fallback | ~is_same_time))
            patient, code, minute = patient[goes_on], code[goes_on], minute[goes_on]
            after, is_later = after[goes_on], ~is_same_time[goes_on]
            minute[is_later] += self._gap(code[is_later], after[is_later], rng)
            is_watched = minute <= self.clock.window_minutes
            patient, code, minute = patient[is_watched], after[is_watched], minute[is_watched]
            if not len(patient):
                break
            drawn.append((patient, minute, code))
        if not drawn:
            return tuple(np.empty(0, dtype=np.int64) for _ in range(3))
        patient, minute, code = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        order = np.argsort(patient, kind="stable")
        return patient[order], minute[order], code[order]

    def _step(self, code: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """What comes next, and whether it is drawn from the rare steps of all codes."""
        by_code, pooled = self.next_code.tables
        step = by_code.draw(code, rng)
        is_fallback = step == OTHER
        step[is_fallback] = pooled.draw(np.zeros(is_fallback.sum(), dtype=np.int64), rng)
        return step, is_fallback

    def _gap(self, code: np.ndarray, after: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Minutes of each pair, 1 or more: int64 of shape (n,); beyond the window where no gap is known."""
        level = self.next_gap.draw([code * len(self.codes) + after, code, np.zeros_like(code)], rng)
        minutes = self.gaps.draw(np.where(level == OTHER, self.gaps.n_levels, level), rng)
        return np.where(np.isnan(minutes), self.clock.window_minutes + 1, minutes).astype(np.int64)

    def save(self, folder: Path) -> None:
        """Write the tables; the static rows lie in a folder of their own."""
        values, arrays = self.values.state()
        arrays = {f"values.{name}": array for name, array in arrays.items()}
        plain = {
            "config": self.config.model_dump(mode="json"),
            "clock": self.clock.state(),
            "codes": list(self.codes),
            "n_terminal": self.n_terminal,
            "most_events": self.most_events,
            "values": values,
            "notes": list(self.notes),
        }
        for name, codec in (("begins", self.begins), ("gaps", self.gaps)):
            plain[name], parts = codec.state()
            arrays |= {f"{name}.{part}": array for part, array in parts.items()}
        for name, table in (("next_code", self.next_code), ("next_gap", self.next_gap)):
            arrays |= {f"{name}.{part}": array for part, array in table.state().items()}
        write_state(folder, "generator", plain, arrays)
        self.static.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        plain, arrays = read_state(folder, "generator")
        return cls(
            config=TimelineMarkovConfig.model_validate(plain["config"]),
            clock=Clock.of_state(plain["clock"]),
            codes=tuple(plain["codes"]),
            n_terminal=plain["n_terminal"],
            most_events=plain["most_events"],
            static=StaticRows.load(folder),
            begins=NumberCodec(**plain["begins"], **under("begins.", arrays)),
            gaps=NumberCodec(**plain["gaps"], **under("gaps.", arrays)),
            next_code=Backoff.of_state(under("next_code.", arrays)),
            next_gap=Backoff.of_state(under("next_gap.", arrays)),
            values=EventValues.of_state(plain["values"], under("values.", arrays)),
            notes=tuple(plain["notes"]),
        )


def _count(steps: Steps, n_codes: int, n_levels: int) -> tuple[NumberCodec, Backoff, Backoff]:
    """The levels of gaps, what comes next, and the level of its gap."""
    is_later = ~steps.is_end & (steps.gap > 0)
    minutes = steps.gap.astype(np.float64)
    gaps = NumberCodec.fit(minutes[is_later], steps.patient[is_later], decimals=0, n_levels=n_levels)
    level = np.where(steps.gap > 0, 1 + gaps.levels(minutes), SAME_TIME)
    weight = steps.weights(level, n_codes)
    counted = {"minimum_patients": MINIMUM_PATIENTS}
    step = np.where(steps.is_end, 2 * n_codes, 2 * steps.after + (steps.gap == 0))
    by_code = CountTable.of(steps.before, step, weight, steps.patient, has_other=True, **counted)
    # Counting the rare steps alone, each code keeps its number of arrivals, and so do ends.
    rare = ~by_code.knows(steps.before, step)
    no_context = np.zeros(rare.sum(), dtype=np.int64)
    pooled = CountTable.of(no_context, step[rare], weight[rare], steps.patient[rare], has_other=False, **counted)
    before, after, patient = steps.before[is_later], steps.after[is_later], steps.patient[is_later]
    contexts = [before * n_codes + after, before, np.zeros_like(before)]
    next_gap = Backoff.of(contexts, level[is_later] - 1, patient, weight=weight[is_later], **counted)
    return gaps, Backoff(tables=(by_code, pooled)), next_gap
