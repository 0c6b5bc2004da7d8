"""Static facts of timelines within a budget: each column by itself, of codes that may be named.

What belongs here: two measurements and the columns between them. What does not: which codes may be named
(`private_vocabulary.py`), what is counted over time (`private_markov.py`).
"""

from __future__ import annotations

import math

import numpy as np

from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.configs import IndependentConfig
from ehr_pipeline.generators.independent import Independent
from ehr_pipeline.generators.private_codec import OneRowEach, learn_private_codec
from ehr_pipeline.generators.private_vocabulary import Numbers, PrivateEvents
from ehr_pipeline.generators.static_facts import PRESENT, StaticColumn, StaticFacts
from ehr_pipeline.generators.static_rows import StaticRows
from ehr_pipeline.generators.timelines import BIRTH, TimelineCohort
from ehr_pipeline.privacy.bounded import noisy_sums
from ehr_pipeline.record import Column, Schema

OLDEST_YEARS = 120
MOST_STATIC = 60
"""Static columns at most."""


def private_static(
    cohort: TimelineCohort, events: PrivateEvents, ranges: dict[int, Numbers], groups_noise: float, each_noise: float
) -> StaticRows:
    """Static facts by themselves: columns as `StaticFacts` has them, from codes that were found.

    `groups_noise` and `each_noise` are the noise multipliers of the two measurements: of which groups each patient has
    one code alone, and of the columns, all together.
    """
    places = np.flatnonzero(events.is_static).tolist()
    names = {k: events.names[k] for k in places}
    groups = sorted({name.partition("//")[0] for name in names.values()})
    n_groups, group_of = max(1, len(groups)), np.full(len(events.names), -1)
    for k, name in names.items():
        if name != BIRTH and k not in ranges and k not in events.texts:
            group_of[k] = groups.index(name.partition("//")[0])
    group = group_of[events.code]
    plain = group >= 0
    pair, n_codes = np.unique(events.patient[plain] * n_groups + group[plain], return_counts=True)
    who, which = pair // n_groups, pair % n_groups
    sums = noisy_sums(who, 2 * which + (n_codes > 1), 2 * len(groups), groups_noise, which)
    one, several = sums.reshape(-1, 2).T
    columns: list[tuple[StaticColumn, Column]] = []
    for g, name in enumerate(groups):
        codes = tuple(sorted(names[k] for k in places if group_of[k] == g))
        if len(codes) > 1 and several[g] < 0.02 * one[g]:
            columns.append(_column(StaticColumn(name=name, form="code", levels=codes)))
        else:
            columns += [_column(StaticColumn(name=code, form="presence", levels=(PRESENT,))) for code in codes]
    for k, name in names.items():
        if name == BIRTH:
            age = Numbers(low=0, high=OLDEST_YEARS, decimals=1)
            columns.append(_column(StaticColumn(name=name, form="number", levels=()), age))
        elif k in ranges:
            columns.append(_column(StaticColumn(name=name, form="number", levels=()), ranges[k]))
        elif k in events.texts:
            columns.append(_column(StaticColumn(name=name, form="text", levels=events.texts[k])))
    columns = columns[:MOST_STATIC]
    facts = StaticFacts(tuple(column for column, _ in columns))
    if not columns:
        return StaticRows(facts, {})
    schema = Schema(columns=tuple(own.model_copy(update={"name": str(k)}) for k, (_, own) in enumerate(columns)))
    table = facts.table(cohort)
    rows = OneRowEach(TrainingCohort(schema=schema, table=table, subject_id=np.arange(cohort.n_patients)))
    each = each_noise * math.sqrt(len(columns))
    return StaticRows(facts, {"alone": Independent(learn_private_codec(schema, rows, each)[0], IndependentConfig())})


def _column(column: StaticColumn, numbers: Numbers | None = None) -> tuple[StaticColumn, Column]:
    if numbers is None:
        return column, Column(name="-", kind="categorical", levels=column.levels)
    bounds = {"minimum": numbers.low, "maximum": numbers.high, "decimals": numbers.decimals}
    return column, Column(name="-", kind="continuous", **bounds)
