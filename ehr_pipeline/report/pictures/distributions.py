"""One column in the real table and in every generator's table, drawn over each other.

What belongs here: a histogram for a number, rows of levels for a category. Cells that are hidden (None) are
not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from ehr_pipeline.evaluate.result import ColumnComparison
from ehr_pipeline.report import svg
from ehr_pipeline.report.numbers import percent

WIDTH, N_LEVELS_SHOWN = 260, 12
ROW_HEIGHT, LABEL_LENGTH = 15, 22
CLIPPED_AT = 1.35  # a spike of a synthetic column beyond this many times the real peak is cut off


def distribution(title: str, columns: Sequence[tuple[int, str, ColumnComparison]]) -> Markup:
    """A column's picture.

    Parameters
    ----------
    title
        The column's name for readers.
    columns
        Per generator that has the column: its place (colour), its title, the comparison.
    """
    label = f"{title}: real training patients and {', '.join(name for _, name, _ in columns)}"
    first = columns[0][2]
    if first.bins is not None and len(first.bins) > 1 and first.levels is None:
        return _histogram(label, columns, first.bins)
    return _levels(label, columns, first.levels or [])


def _densities(counts: Sequence[int | None], bins: Sequence[float]) -> list[float]:
    """Share of rows per unit of width; a hidden cell or a bin without width has none."""
    total = sum(n or 0 for n in counts) or 1
    widths = [high - low for low, high in pairwise(bins)]
    return [(n or 0) / total / width if width > 0 else 0.0 for n, width in zip(counts, widths, strict=False)]


def _steps(frame: svg.Frame, bins: Sequence[float], heights: Sequence[float]) -> list[tuple[float, float]]:
    points = [(frame.x(bins[0]), frame.bottom)]
    for (low, high), height in zip(pairwise(bins), heights, strict=False):
        points += [(frame.x(low), frame.y(height)), (frame.x(high), frame.y(height))]
    return [*points, (frame.x(bins[-1]), frame.bottom)]


def _histogram(label: str, columns: Sequence[tuple[int, str, ColumnComparison]], bins: Sequence[float]) -> Markup:
    real = _densities(columns[0][2].train, bins)
    drawn = [
        (place, _densities(column.synthetic, column.bins or bins), column.bins or bins) for place, _, column in columns
    ]
    peak = max([*real, 0.0])
    highest = max([peak, *(height for _, heights, _ in drawn for height in heights)])
    frame = svg.Frame(
        left=6, top=6, width=WIDTH - 12, height=92, x_low=bins[0], x_high=bins[-1],
        y_high=(min(highest, CLIPPED_AT * peak) if peak else highest) or 1.0,
    )  # fmt: skip
    parts = [svg.polygon(_steps(frame, bins, real), "real area")]
    parts += [
        svg.polyline(_steps(frame, edges, heights), f"line {svg.colour(place)}") for place, heights, edges in drawn
    ]
    parts.append(frame.x_axis())
    return svg.picture(WIDTH, 116, label, parts)


def _levels(label: str, columns: Sequence[tuple[int, str, ColumnComparison]], levels: Sequence[str]) -> Markup:
    real = _shares(columns[0][2].train)
    synthetic = [
        (place, dict(zip(column.levels or [], _shares(column.synthetic), strict=False))) for place, _, column in columns
    ]
    shown = sorted(zip(levels, real, strict=False), key=lambda pair: -(pair[1] or 0.0))[:N_LEVELS_SHOWN]
    n_left = len(levels) - len(shown)
    highest = max(
        [
            0.01,
            *(share or 0.0 for _, share in shown),
            *(s.get(level) or 0.0 for _, s in synthetic for level, _ in shown),
        ]
    )
    height = ROW_HEIGHT * max(len(shown), 1) + (ROW_HEIGHT if n_left else 0) + 8
    frame = svg.Frame(left=112, top=4, width=WIDTH - 160, height=height - 8, x_low=0.0, x_high=highest)
    parts = []
    for row, (level, share) in enumerate(shown):
        middle = frame.top + ROW_HEIGHT * (row + 0.5)
        parts.append(svg.text(frame.left - 6, middle + 3.2, short(level), "label", "end"))
        if share is None:
            parts.append(svg.text(frame.left + 2, middle + 3.2, "hidden, few patients", "tick"))
            continue
        parts.append(svg.rectangle(frame.left, middle - 4.5, frame.x(share) - frame.left, 9, "real area"))
        parts += [
            svg.marker(frame.x(s), middle, place, 2.8)
            for place, by_level in synthetic
            if (s := by_level.get(level)) is not None
        ]
        parts.append(svg.text(WIDTH - 2, middle + 3.2, percent(share), "tick", "end"))
    if n_left:
        parts.append(svg.text(frame.left, height - 6, f"and {n_left} more levels", "tick"))
    parts.append(svg.line(frame.left, frame.top, frame.left, frame.top + ROW_HEIGHT * len(shown), "axis"))
    return svg.picture(WIDTH, height, label, parts)


def _shares(counts: Sequence[int | None]) -> list[float | None]:
    total = sum(n or 0 for n in counts)
    return [None if n is None or not total else n / total for n in counts]


def short(name: str, length: int = LABEL_LENGTH) -> str:
    """A name cut to `length` signs.

    >>> short("EMERGENCY ROOM"), short("PHYSICIAN REFERRAL AND MORE")
    ('EMERGENCY ROOM', 'PHYSICIAN REFERRAL AN…')
    """
    return name if len(name) <= length else f"{name[: length - 1]}…"
