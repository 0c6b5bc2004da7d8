"""The interface that every generator of timelines keeps, and what it learns from.

What belongs here: types. What does not: reading files (`timelines/`), any algorithm.

Events in memory are a frame in the MEDS layout (`record.EVENT_SCHEMA`), one row per event:

- `subject_id` int64,
- `time` datetime64[us], missing for a static fact,
- `code` category of text,
- `numeric_value` float32, missing or finite,
- `text_value` category of text,

sorted by subject and time, static facts first. Whatever else a file has (`hadm_id`, `stay_id`) is not learned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.base import GeneratorConfig
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.progress import Progress

BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
"""The two codes to which MEDS gives a meaning."""
EVENT_COLUMNS = ("subject_id", "time", "code", "numeric_value", "text_value")
DAY_MINUTES = 1_440
NEW_ORIGIN = np.datetime64("2000-01-01T00:00", "us")
"""Day on which synthetic patients begin where the real ones have calendars of their own."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """When timelines begin and end.

    Attributes
    ----------
    start
        Time 0 of every synthetic patient: datetime64[us].
    is_shared
        Whether it is the real patients' time 0 as well (times were relative already). If not, each has an origin on
        a calendar, and a synthetic one begins on the day of `start` at an hour of its own.
    window_minutes
        Nothing is seen of a patient later than this after the origin.
    """

    start: np.datetime64
    is_shared: bool
    window_minutes: int

    def state(self) -> dict[str, str | bool | int]:
        """The clock as JSON."""
        return {"start": str(self.start), "is_shared": self.is_shared, "window_minutes": self.window_minutes}

    @classmethod
    def of_state(cls, state: Mapping) -> Self:
        """Read what `state` gave."""
        return cls(**{**state, "start": np.datetime64(state["start"], "us")})


@dataclass(frozen=True, kw_only=True)
class TimelineCohort:
    """The training patients of one cohort, over time: all that `fit` may see.

    Attributes
    ----------
    events
        As the module says. A birth lies at its own time, before the origin; no other event does.
    origin
        datetime64[us] of shape (n_patients,), in the order of `events`: the index event of each patient, else the
        first timed one, else (static facts alone) the clock's start.
    clock
        Public, or learned from at least `codec.MINIMUM_PATIENTS` patients.
    """

    events: pd.DataFrame
    origin: np.ndarray
    clock: Clock

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return len(self.origin)

    @cached_property
    def patient(self) -> np.ndarray:
        """Number of each event's patient, from 0: int64 of shape (n_events,)."""
        subject_id = self.events["subject_id"].to_numpy()
        return np.concatenate([[0], np.cumsum(subject_id[1:] != subject_id[:-1])]) if len(subject_id) else subject_id

    @cached_property
    def is_static(self) -> np.ndarray:
        """Whether each event has no time: bool of shape (n_events,)."""
        return self.events["time"].isna().to_numpy()

    @cached_property
    def minutes(self) -> np.ndarray:
        """Minutes of each event since its patient's origin, rounded: int64 of shape (n_events,), 0 for static facts.

        Times that were hours with decimals once lie microseconds beside the minute that they mean.
        """
        time, origin = self.events["time"].to_numpy().astype("datetime64[us]"), self.origin[self.patient]
        since = np.where(self.is_static, origin, time) - origin
        return (since + np.timedelta64(30, "s")) // np.timedelta64(1, "m")


class TimelineGenerator(ABC):
    """A fitted generator of timelines, made by `fit` or `load`, never empty.

    Synthetic events have times on the minute, inside the clock's window (a birth before it); they are sorted, with new
    patients numbered from 1; no code, text or extreme is drawn that fewer than `codec.MINIMUM_PATIENTS` patients have.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    config_type: ClassVar[type[GeneratorConfig]]

    clock: Clock
    config: GeneratorConfig
    history: list[dict[str, float]]
    """One record per epoch (epoch, loss, validation_loss, ...); empty for what needs no training."""
    device: str = "cpu"
    """Where it was trained."""
    privacy: PrivacyPlan | None = None
    """What a private fit spent; None for a fit without a budget, which promises nothing."""
    n_patients: int | None = None
    """Number of training patients as a private fit measured it, noise included; None without a budget."""
    notes: tuple[str, ...] = ()
    """What was not learned, each one line with counts, for a person."""

    @classmethod
    @abstractmethod
    def fit(
        cls,
        cohort: TimelineCohort,
        config: GeneratorConfig,
        budget: Budget | None = None,
        progress: Progress | None = None,
        *,
        checkpoint: Path | None = None,
    ) -> Self:
        """Learn from the training patients.

        With `checkpoint`, a folder, an interrupted training of the same data and config resumes from where it was.

        Raises
        ------
        OptionError
            There is a budget, and the generator has no private tier (`without_budget`).
        DefinitionError
            There are too few patients or events to learn from.
        """

    @classmethod
    def privacy_plan(cls, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """What a fit within `budget` will spend, known before it starts, so that it can be written down first.

        Raises
        ------
        OptionError
            The generator has no private tier.
        """
        raise OptionError(f"{cls.name} has no private tier; leave the budget out")

    @classmethod
    def without_budget(cls, budget: Budget | None) -> None:
        """Refuse a budget that this generator cannot keep.

        Raises
        ------
        OptionError
            There is one.
        """
        if budget is not None:
            raise OptionError(f"{cls.name} has no private tier; leave the budget out")

    @abstractmethod
    def sample(self, n: int, seed: int, conditions: Mapping[str, str | float] | None = None) -> pd.DataFrame:
        """Draw the events of `n` patients, numbered 1 to n. The same seed gives the same events on the same machine.

        `conditions` fixes static facts (name to value); OptionError if one is unknown.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing empty folder; no pickle."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""


def shortest(values: np.ndarray) -> np.ndarray:
    """float32 as float64 with as few decimals, up to six, as tell it: 36.6 and not 36.599998474121094."""
    wide = values.astype(np.float64)
    told, is_open = wide.copy(), np.isfinite(wide)
    for decimals in range(7):
        rounded = np.round(wide, decimals)
        is_told = is_open & (rounded.astype(np.float32) == values)
        told[is_told], is_open = rounded[is_told], is_open & ~is_told
    return told


def events_frame(
    subject_id: np.ndarray,
    time: np.ndarray,
    code: pd.Categorical | np.ndarray,
    value: np.ndarray,
    text: pd.Categorical | np.ndarray,
) -> pd.DataFrame:
    """Columns of equal length as events, as they are; in the dtypes of the module if code and text are categories."""
    return pd.DataFrame(
        {
            "subject_id": np.asarray(subject_id, dtype=np.int64),
            "time": np.asarray(time, dtype="datetime64[us]"),
            "code": code,
            "numeric_value": np.asarray(value, dtype=np.float32),
            "text_value": text,
        }
    )
