"""The table an epidemiologist reads first: means of numbers, shares of conditions and levels, real and synthetic.

What belongs here: one row per number, condition and common level, in the schema's order. Numbers that rest
on fewer than `SMALL_CELL` real patients are absent.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.columns import level_name
from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.result import EpidemiologyRow
from ehr_pipeline.record import SMALL_CELL, Column, Schema

COMMON_LEVELS = 5


def epidemiology(train: Encoded, synthetic: Encoded, encoding: Encoding, schema: Schema) -> list[EpidemiologyRow]:
    """Rows for every compared column; a level's share is of those with a value."""
    rows = []
    for column in schema.columns:
        if column.kind == "time" or column.name not in encoding.names:
            continue
        if column.name in encoding.continuous:
            rows.append(_mean(column, *(encoding.number(table, column.name) for table in (train, synthetic))))
        else:
            rows += _shares(column, train, synthetic, encoding)
    return rows


def _mean(column: Column, real: np.ndarray, synthetic: np.ndarray) -> EpidemiologyRow:
    means = [
        float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).sum() >= SMALL_CELL else None
        for values in (real, synthetic)
    ]
    return _row(f"Mean {_title(column)}", column.unit, *means)


def _shares(column: Column, train: Encoded, synthetic: Encoded, encoding: Encoding) -> list[EpidemiologyRow]:
    levels = encoding.levels[encoding.categorical.index(column.name)]
    counts = [
        np.bincount(encoding.column(table, column.name), minlength=len(levels) + 2)[:-1] for table in (train, synthetic)
    ]
    if column.kind == "binary":
        shown = [int(levels.get_loc(1.0))] if 1.0 in levels else []
    else:
        shown = [code for code in range(min(COMMON_LEVELS, len(levels))) if counts[0][code] >= SMALL_CELL]
        shown = _without_small_rest(shown, counts[0])
    rows = []
    for code in shown:
        label = _title(column) if column.kind == "binary" else f"{_title(column)}: {level_name(levels[code])}"
        rows.append(_row(label, "%", _percent(counts[0], code), _percent(counts[1], code, is_real=False)))
    return rows


def _without_small_rest(shown: list[int], counts: np.ndarray) -> list[int]:
    """The levels shown, less the rarest where what is not shown would otherwise give away a few patients."""
    rest = int(counts.sum() - counts[shown].sum())
    return shown[:-1] if 0 < rest < SMALL_CELL else shown


def _percent(counts: np.ndarray, code: int, is_real: bool = True) -> float | None:
    """Share in per cent; None where it speaks of too few real patients, with or without the level."""
    total = int(counts.sum())
    if not total or (is_real and min(counts[code], total - counts[code]) < SMALL_CELL):
        return None
    return float(100 * counts[code] / total)


def _row(label: str, unit: str | None, real: float | None, synthetic: float | None) -> EpidemiologyRow:
    difference = None if real is None or synthetic is None else synthetic - real
    return EpidemiologyRow(label=label, unit=unit, real=real, synthetic=synthetic, difference=difference)


def _title(column: Column) -> str:
    return column.title or column.name
