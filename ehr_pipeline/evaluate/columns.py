"""Columns and correlations side by side in the three tables: the counts behind the report's pictures.

What belongs here: counts per bin or level with small cells gone, and the three correlation matrices. What
does not: scores (`marginals.py`, `dependence.py`).
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.correlation import pairwise_correlation
from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.marginals import Marginals
from ehr_pipeline.evaluate.result import ColumnComparison, CorrelationComparison
from ehr_pipeline.evaluate.smallcells import coarse_share, nice_edges, suppressed
from ehr_pipeline.record import SMALL_CELL, Column, Schema

MAX_SHOWN_LEVELS = 12
OTHER = "other"

Three = dict[str, Encoded]
"""The tables by their place: train, holdout, synthetic."""


def compare_columns(
    tables: Three, encoding: Encoding, schema: Schema, marginals: Marginals, *, cut: Encoded, floor: Encoded
) -> list[ColumnComparison]:
    """One comparison per compared column, in the schema's order.

    Distances are those of the scores: `cut` (synthetic) and `floor` (fresh real) have equally many rows. A
    categorical column with a hidden real cell has none, since its distance would give the count back.
    """
    distances, divergences = (
        [measure(table) for table in (cut, floor)] for measure in (marginals.distances, marginals.divergences)
    )
    missing = {place: encoding.missing(table) for place, table in tables.items()}
    found = []
    for column in schema.columns:
        if column.name not in encoding.names:
            continue
        number = encoding.names.index(column.name)
        is_number = column.name in encoding.continuous
        shown = _bins(tables, encoding, column) if is_number else _levels(tables, encoding, column)
        measured: dict[str, float] = {}
        if is_number or None not in shown["train"] + shown["holdout"]:
            measured = {
                "distance": distances[0][column.name],
                "distance_floor": distances[1][column.name],
                "divergence": divergences[0][column.name],
                "divergence_floor": divergences[1][column.name],
            }
        found.append(
            ColumnComparison(
                name=column.name,
                kind=column.kind,
                unit="year" if column.kind == "time" else column.unit,
                missing_share={place: coarse_share(gaps[:, number]) for place, gaps in missing.items()},
                **measured,
                **shown,
            )
        )
    return found


def _bins(tables: Three, encoding: Encoding, column: Column) -> dict:
    values = {place: encoding.number(table, column.name) for place, table in tables.items()}
    is_time = column.kind == "time"
    public = (None, None) if is_time else (column.minimum, column.maximum)
    edges = nice_edges(values["train"], *public, is_whole=is_time or column.kind == "integer")
    inner = np.array(edges[1:-1])
    counts = {
        place: np.bincount(np.searchsorted(inner, present[~np.isnan(present)], side="right"), minlength=len(edges) - 1)
        for place, present in values.items()
    }
    return {"bins": edges, **{place: suppressed(count) for place, count in counts.items()}}


def _levels(tables: Three, encoding: Encoding, column: Column) -> dict:
    """The most frequent levels of training with at least `SMALL_CELL` patients; all the rest is 'other'."""
    levels = encoding.levels[encoding.categorical.index(column.name)]
    counts = {
        place: np.bincount(encoding.column(table, column.name), minlength=len(levels) + 2)[:-1]
        for place, table in tables.items()
    }
    shown = np.flatnonzero(counts["train"][:-1] >= SMALL_CELL)[:MAX_SHOWN_LEVELS]
    names = [level_name(levels[place]) for place in shown]
    pooled = {place: np.append(count[shown], count.sum() - count[shown].sum()) for place, count in counts.items()}
    if not any(count[-1] for count in pooled.values()):
        pooled = {place: count[:-1] for place, count in pooled.items()}
    else:
        names.append(OTHER)
    return {"levels": names, **{place: suppressed(count) for place, count in pooled.items()}}


def level_name(level: object) -> str:
    """How a level is written: whole numbers without a point.

    >>> level_name(1.0), level_name("M")
    ('1', 'M')
    """
    return str(int(level)) if isinstance(level, float) and level.is_integer() else str(level)


def compare_correlations(tables: Three, encoding: Encoding, schema: Schema) -> CorrelationComparison | None:
    """Pearson matrices over numbers and indicators of levels, each side with `SMALL_CELL` training patients or more."""
    names, chosen = [], []
    for column in schema.columns:
        if column.name in encoding.continuous:
            names.append(column.name)
            chosen.append((column.name, None))
        elif column.name in encoding.categorical:
            for code in _shown_codes(tables["train"], encoding, column.name):
                level = encoding.levels[encoding.categorical.index(column.name)][code]
                names.append(column.name if column.kind == "binary" else f"{column.name}={level_name(level)}")
                chosen.append((column.name, code))
    if len(names) < 2:
        return None
    matrices = {}
    for place, table in tables.items():
        values = np.column_stack(
            [
                encoding.number(table, name) if code is None else (encoding.column(table, name) == code).astype(float)
                for name, code in chosen
            ]
        )
        present = (~np.isnan(values)).astype(float)
        is_enough = present.T @ present >= SMALL_CELL
        matrices[place] = np.where(is_enough, pairwise_correlation(values), 0).round(4).tolist()
    return CorrelationComparison(names=names, **matrices)


def _shown_codes(train: Encoded, encoding: Encoding, name: str) -> list[int]:
    """Codes that enough training patients have and enough have not; of two levels one stands for both.

    It is the positive (or rarer) one, and none where either level has too few patients.
    """
    levels = encoding.levels[encoding.categorical.index(name)]
    counts = np.bincount(encoding.column(train, name), minlength=len(levels) + 2)[: len(levels)]
    if len(levels) == 2:
        if counts.min() < SMALL_CELL:
            return []
        return [int(levels.get_loc(1.0))] if 1.0 in levels else [1]
    is_enough = (counts >= SMALL_CELL) & (len(train) - counts >= SMALL_CELL)
    return [int(code) for code in np.flatnonzero(is_enough)[:MAX_SHOWN_LEVELS]]
