"""The plan of a stay, drawn before its events: static facts, and how the stay goes in sum, as one row per patient.

What belongs here: learning and drawing the rows. What does not: which sums there are (`stay_sums.py`), and filling a
stay with events that keep to its row.

A model that draws event by event loses what holds for a stay as a whole: how much is measured, of what, how ill the
patient is. A row of a table has all of that at once, and our generator of tables draws rows nearly as good as real.

Memory: some 100 bytes per event while stays are summed up, then about 30 kB per patient in the training of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.column_autoregressive import ColumnAutoregressive
from ehr_pipeline.generators.configs import ColumnAutoregressiveConfig
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.persistence import read_state, write_state
from ehr_pipeline.generators.static_facts import StaticFacts
from ehr_pipeline.generators.stay_columns import coded, columns_of, decoded
from ehr_pipeline.generators.stay_sums import StayLayout, StaySums
from ehr_pipeline.generators.timeline_steps import TimedEvents
from ehr_pipeline.generators.timelines import TimelineCohort
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Column, Schema, conform

MOST_STATIC = 48
"""Static facts in the row at most."""
HIDDEN = 48
"""Hidden units of the plan's heads."""
MOST_LEVELS_SHOWN = 32
"""Levels of a category that have a feature of their own at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanRows:
    """The plans of n patients.

    Attributes
    ----------
    counts
        int64 of shape (n, n_planned): events of each planned code.
    features
        float32 of shape (n, n_features): the whole row for a network to read, standardised, nothing missing.
    n_other, n_times, first_minute, last_minute
        int64 of shape (n,): events of other codes, distinct times, the first and last of them.
    table
        The row itself: static facts by place first, then `last_minute first_minute n_times n_other`, `n.K` and
        `mean.K min.K max.K last.K` of the K-th planned code.
    """

    counts: np.ndarray
    features: np.ndarray
    n_other: np.ndarray
    n_times: np.ndarray
    first_minute: np.ndarray
    last_minute: np.ndarray
    table: pd.DataFrame


class StayPlan:
    """Draws plans."""

    def __init__(
        self,
        *,
        facts: StaticFacts,
        layout: StayLayout,
        rows: ColumnAutoregressive,
        seen: TableCodec,
        shift: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        self.facts = facts
        self.layout = layout
        self.rows = rows
        self.seen = seen
        """How features read the row."""
        self.shift = shift
        self.scale = scale

    @property
    def planned(self) -> np.ndarray:
        """Places in `TimedEvents.codes` of the codes that are planned: int64 of shape (n_planned,)."""
        return np.array(self.layout.planned, dtype=np.int64)

    @property
    def n_features(self) -> int:
        """Columns of `PlanRows.features`."""
        return len(self.shift)

    @classmethod
    def learn(
        cls,
        cohort: TimelineCohort,
        timed: TimedEvents,
        seed: int,
        progress: Progress | None = None,
        *,
        updates: int | None = None,
    ) -> Self:
        """Choose the sums, and learn the table of real stays, in so many gradient steps at most."""
        facts = StaticFacts(StaticFacts.learn(cohort).columns[:MOST_STATIC])
        layout = StayLayout.learn(timed, cohort.n_patients, cohort.clock.window_minutes)
        sums, static = layout.sums(timed, cohort.n_patients), facts.table(cohort)
        schema = Schema(columns=(*facts.schema.columns, *columns_of(layout)))
        table = conform(pd.concat([static, coded(layout, sums)], axis=1), schema)
        patients = np.arange(cohort.n_patients)
        config = ColumnAutoregressiveConfig(
            seed=seed,
            hidden=HIDDEN,
            correction=False,
            **({} if updates is None else {"updates": updates}),
        )
        training = TrainingCohort(schema=schema, table=table, subject_id=patients)
        rows = ColumnAutoregressive.fit(training, config, progress=progress)
        return cls.over(rows, facts, layout, static, sums)

    @classmethod
    def over(
        cls, rows: ColumnAutoregressive, facts: StaticFacts, layout: StayLayout, static: pd.DataFrame, sums: StaySums
    ) -> Self:
        """Plans that `rows` draws, with features as static facts and sums of some stays suggest."""
        shown = pd.concat([static, sums.frame(layout)], axis=1)
        seen = TableCodec.fit(_shown_schema(facts, layout, shown), shown, np.arange(len(shown)))
        raw = _raw_features(seen, shown)
        return cls(
            facts=facts,
            layout=layout,
            rows=rows,
            seen=seen,
            shift=raw.mean(axis=0),
            scale=np.where(raw.std(axis=0) > 1e-6, raw.std(axis=0), 1.0),
        )

    def of(self, cohort: TimelineCohort, timed: TimedEvents) -> PlanRows:
        """The plans that real stays kept to."""
        return self.of_events(self.facts.table(cohort), timed)

    def of_events(self, static: pd.DataFrame, timed: TimedEvents) -> PlanRows:
        """The plans that stays of so many rows of static facts kept to."""
        return self._plan(static, self.layout.sums(timed, len(static)))

    def draw(self, n: int, seed: int, conditions: Mapping[str, str | float] | None = None) -> PlanRows:
        """Draw the plans of `n` patients, some static facts being given.

        Raises
        ------
        OptionError
            There is no such static fact, or no such level of it.
        """
        table = self.rows.sample(n, seed, self.facts.conditions(conditions) or None)
        static = table[self.facts.schema.names]
        return self._plan(static, decoded(self.layout, table, np.random.default_rng([seed, 1])))

    def static_events(self, rows: PlanRows, origin: np.ndarray) -> pd.DataFrame:
        """Static facts and births of patients numbered from 1, unsorted; `origin` is datetime64[us] of shape (n,)."""
        return self.facts.events(rows.table, origin)

    def _plan(self, static: pd.DataFrame, sums: StaySums) -> PlanRows:
        shown = pd.concat([static.reset_index(drop=True), sums.frame(self.layout)], axis=1)
        return PlanRows(
            counts=sums.counts,
            features=((_raw_features(self.seen, shown) - self.shift) / self.scale).astype(np.float32),
            n_other=sums.n_other,
            n_times=sums.n_times,
            first_minute=sums.first_minute,
            last_minute=sums.last_minute,
            table=shown,
        )

    def save(self, folder: Path) -> None:
        """Write the layout, and the generator and codec into folders of their own, `plan_rows` and `plan_seen`."""
        plain = {"facts": self.facts.state(), "layout": self.layout.state()}
        write_state(folder, "plan", plain, {"shift": self.shift, "scale": self.scale})
        for name, part in (("plan_rows", self.rows), ("plan_seen", self.seen)):
            (folder / name).mkdir()
            part.save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        plain, arrays = read_state(folder, "plan")
        return cls(
            facts=StaticFacts.of_state(plain["facts"]),
            layout=StayLayout.of_state(plain["layout"]),
            rows=ColumnAutoregressive.load(folder / "plan_rows"),
            seen=TableCodec.load(folder / "plan_seen"),
            **arrays,
        )


def _shown_schema(facts: StaticFacts, layout: StayLayout, shown: pd.DataFrame) -> Schema:
    """The columns of `PlanRows.table`: static facts, then numbers."""
    names = shown.columns[len(facts.columns) :]
    return Schema(columns=(*facts.schema.columns, *(Column(name=name, kind="continuous") for name in names)))


def _raw_features(seen: TableCodec, shown: pd.DataFrame) -> np.ndarray:
    """Ranks of numbers as normal numbers, which are missing, and categories one by one: float64 of shape (n, m)."""
    parts = [seen.gaussian(shown).astype(np.float64)]
    for k, codec in enumerate(seen.columns):
        values = shown[seen.schema.names[k]]
        if not isinstance(codec, NumberCodec):
            level = seen.column_levels(k, values)
            parts.append((level[:, None] == np.arange(min(codec.n_levels, MOST_LEVELS_SHOWN))).astype(np.float64))
        elif codec.may_be_missing:
            parts.append(values.isna().to_numpy(dtype=np.float64)[:, None])
    return np.concatenate(parts, axis=1)
