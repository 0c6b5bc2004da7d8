"""The plan of a stay within a budget: rows of real stays, learned by the private table generator.

What belongs here: the columns with public bounds, and the rows' generator. What does not: which codes there are
(`private_vocabulary.py`), how a row becomes a plan (`stay_plan.py`), events.

Nothing that is saved comes from a patient but through the rows' noisy histograms and noisy steps: layout and bounds are
those of *guide* stays, drawn from noisy tables; what features mean is learned from rows that are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.column_autoregressive import ColumnAutoregressive
from ehr_pipeline.generators.configs import ColumnAutoregressiveConfig
from ehr_pipeline.generators.log_bilinear import LogBilinearNetwork
from ehr_pipeline.generators.private_codec import OneRowEach, learn_private_codec
from ehr_pipeline.generators.private_tier import train_private_network
from ehr_pipeline.generators.static_rows import StaticRows
from ehr_pipeline.generators.stay_columns import coded, columns_of, decoded
from ehr_pipeline.generators.stay_plan import StayPlan
from ehr_pipeline.generators.stay_sums import MOST_PLANNED, StayLayout, StaySums
from ehr_pipeline.generators.timeline_steps import TimedEvents
from ehr_pipeline.generators.timelines import TimelineCohort
from ehr_pipeline.privacy.budget import GaussianMechanism, PrivacyPlan
from ehr_pipeline.privacy.training import STEPS_NAME
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Column, Schema, conform

ROOM = 2
"""Counts are planned up to so many times what the guide stays reach."""
TOTALS, WEIGHT_OF_TOTALS = ("last_minute", "first_minute", "n_times", "n_other"), 4.0
"""Columns that all else in a stay has to keep to, and how much more of the budget each has than one of the others."""
DRAWN_ROWS = 4_000
"""Drawn rows that the features are standardised by."""


@dataclass(frozen=True, kw_only=True)
class RealAndGuide:
    """Real events, and what noisy tables said already.

    Attributes
    ----------
    timed
        The real events, in the codes of the guide.
    guide
        Stays drawn from noisy tables, whose patients are numbered from 0.
    static
        Columns of static facts that may be told.
    """

    timed: TimedEvents
    guide: TimedEvents
    static: StaticRows


def private_stay_plan(
    cohort: TimelineCohort,
    events: RealAndGuide,
    *,
    histograms: GaussianMechanism,
    training: GaussianMechanism,
    plan: PrivacyPlan,
    seed: int,
    progress: Progress | None = None,
) -> StayPlan:
    """Plans learned from real stays by two mechanisms of the `plan` of the whole fit."""
    guide, static = events.guide, events.static
    n_guide, window = int(guide.patient.max(initial=-1)) + 1, cohort.clock.window_minutes
    # Ends of stays first, however rarely the guide has them: which codes there are is public by now.
    is_terminal = np.arange(len(guide.codes)) >= len(guide.codes) - guide.n_terminal
    common = np.lexsort((-np.bincount(guide.code, minlength=len(guide.codes)), ~is_terminal))
    planned = tuple(common[:MOST_PLANNED].tolist())
    layout = StayLayout(planned=planned, reference=(-1,) * len(planned), numbers=(), window_minutes=window)
    sums = layout.sums(guide, max(1, n_guide))
    facts = static.facts
    # Static facts were measured already: their columns are as noise told them.
    nothing = TableCodec(schema=Schema(columns=()), columns=(), time_steps_s=())
    told = static.parts["alone"].codec if static.parts else nothing
    schema = Schema(columns=tuple(_bounded(column, sums, layout) for column in columns_of(layout)))
    own = conform(coded(layout, layout.sums(events.timed, cohort.n_patients)), schema)
    weight = np.array([WEIGHT_OF_TOTALS if column.name in TOTALS else 1.0 for column in schema.columns])
    noise = histograms.noise_multiplier * np.sqrt(weight.sum() / weight)
    config = ColumnAutoregressiveConfig(seed=seed)
    patients = np.arange(cohort.n_patients)
    stays = OneRowEach(TrainingCohort(schema=schema, table=own, subject_id=patients))
    counted, n_patients = learn_private_codec(schema, stays, noise, n_levels=config.private_levels)
    codec = TableCodec(
        schema=Schema(columns=(*told.schema.columns, *schema.columns)),
        columns=(*told.columns, *counted.columns),
        time_steps_s=(*told.time_steps_s, *counted.time_steps_s),
    )
    table = pd.concat([facts.table(cohort), own], axis=1)
    rows = OneRowEach(TrainingCohort(schema=codec.schema, table=table, subject_id=patients))
    parts = replace(plan, mechanisms=(replace(training, name=STEPS_NAME),))
    network = train_private_network(
        LogBilinearNetwork, codec, rows, parts, config, n_patients=n_patients, task="Plans of stays", progress=progress
    )
    generator = ColumnAutoregressive(codec, config, network, history=[])
    drawn = generator.sample(DRAWN_ROWS, seed)
    sums = decoded(layout, drawn, np.random.default_rng(seed))
    return StayPlan.over(generator, facts, layout, drawn[facts.schema.names], sums)


def _bounded(column: Column, guide: StaySums, layout: StayLayout) -> Column:
    """The column with bounds that the guide stays say: publicly known once these are drawn."""
    name, _, place = column.name.partition(".")
    if name in ("last_minute", "first_minute"):
        return column
    counts = guide.counts[:, int(place)] if place else getattr(guide, name)
    return column.model_copy(update={"maximum": int(ROOM * counts.max(initial=0) + ROOM)})
