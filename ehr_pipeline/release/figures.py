"""Pictures of a released table made from that table alone: no real patient is behind any of them.

What belongs here: one small picture per column. What does not: anything beside a real table; those pictures are
internal. Shares of fewer than SMALL_CELL rows are left out all the same, so that nobody reads a person into a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from ehr_pipeline.record import SMALL_CELL, Column, Schema
from ehr_pipeline.report import svg
from ehr_pipeline.report.numbers import percent
from ehr_pipeline.report.pictures.distributions import short

N_BINS, N_LEVELS = 24, 10
WIDTH, HEIGHT, ROW_HEIGHT = 260, 120, 15
LABEL_WIDTH, SHARE_WIDTH = 116, 40


def pictures(table: Path, schema: Schema) -> Iterator[tuple[str, Markup, str]]:
    """Title, picture and share without a value of each number, category and flag; one column in memory at a time."""
    for column in schema.columns:
        if column.kind in ("text", "id", "time"):
            continue
        values = pd.read_parquet(table, columns=[column.name])[column.name]
        drawn = _numbers(column, values) if column.is_number else _levels(column, values)
        yield column.title or column.name, drawn, f"{percent(float(values.isna().mean()))} without a value"


def _numbers(column: Column, values: pd.Series) -> Markup:
    found = values.dropna().to_numpy(dtype=float)
    low, high = column.minimum, column.maximum
    if low is None or high is None:
        low, high = np.quantile(found, [0.01, 0.99]) if len(found) else (0.0, 1.0)
    counts, edges = np.histogram(found, N_BINS, (float(low), float(high) if high > low else float(low) + 1))
    counts = np.where(counts < SMALL_CELL, 0, counts)
    frame = svg.Frame(
        left=6, top=8, width=WIDTH - 12, height=HEIGHT - 30, x_low=edges[0], x_high=edges[-1],
        y_high=float(max(counts.max(), 1)),
    )  # fmt: skip
    bars = [
        svg.rectangle(frame.x(a), frame.y(n), frame.x(b) - frame.x(a), frame.bottom - frame.y(n), "mark g0")
        for a, b, n in zip(edges[:-1], edges[1:], counts.astype(float), strict=True)
    ]
    unit = f", {column.unit}" if column.unit else ""
    return svg.picture(WIDTH, HEIGHT, f"{column.title or column.name}{unit}: synthetic rows", [*bars, frame.x_axis()])


def _levels(column: Column, values: pd.Series) -> Markup:
    counts = values.dropna().astype(str).value_counts()
    shown = counts[counts >= SMALL_CELL].head(N_LEVELS)
    total = max(int(counts.sum()), 1)
    frame = svg.Frame(left=LABEL_WIDTH, top=0, width=WIDTH - LABEL_WIDTH - SHARE_WIDTH, height=1, x_low=0, x_high=1)
    parts = []
    for row, (level, n) in enumerate(shown.items()):
        y, share = 4 + row * ROW_HEIGHT, int(n) / total
        parts += [
            svg.text(LABEL_WIDTH - 5, y + 10, short(str(level)), "label", "end"),
            svg.rectangle(frame.left, y + 2, frame.x(share) - frame.left, ROW_HEIGHT - 5, "mark g0"),
            svg.text(frame.x(share) + 4, y + 10, percent(share), "tick"),
        ]
    height = 8 + ROW_HEIGHT * max(len(shown), 1)
    return svg.picture(WIDTH, height, f"{column.title or column.name}: synthetic rows by level", parts)
