"""One column in the real table and in every generator's table, drawn over each other.

What belongs here: a histogram for a number, rows of levels for a category. A hidden cell (None) is left blank, which
looks unlike an empty one, and shares are of all rows with a value, hidden ones included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from ehr_pipeline.evaluate.result import ColumnComparison
from ehr_pipeline.report import svg
from ehr_pipeline.report.numbers import percent

WIDTH, N_LEVELS_SHOWN = 260, 12
ROW_HEIGHT, LABEL_LENGTH = 15, 22
CLIPPED_AT = 1.35  # a spike of a synthetic column beyond this many times the real peak is cut off

Shares = list[float | None]


@dataclass(frozen=True, kw_only=True)
class DrawnColumn:
    """A column as one generator wrote it: the generator's place (colour) and title, and the rows per table."""

    place: int
    generator: str
    column: ColumnComparison
    n_rows: Mapping[str, int]

    def shares(self, table: str) -> Shares:
        """Share of rows with a value that each bin or level holds; None where it is hidden."""
        counts: Sequence[int | None] = getattr(self.column, table)
        shown = sum(n or 0 for n in counts)
        with_value = self.n_rows.get(table, 0) * (1 - (self.column.missing_share.get(table) or 0.0))
        total = max(shown, with_value) if None in counts else shown
        return [None if n is None or not total else n / total for n in counts]


def distribution(title: str, columns: Sequence[DrawnColumn]) -> Markup:
    """The picture of the column that readers know as `title`, for every generator that wrote it."""
    label = f"{title}: real training patients and {', '.join(one.generator for one in columns)}"
    first = columns[0].column
    if first.bins is not None and len(first.bins) > 1 and first.levels is None:
        return _histogram(label, columns, first.bins)
    return _levels(label, columns, first.levels or [])


def _densities(shares: Shares, bins: Sequence[float]) -> Shares:
    """Share of rows per unit of width; a bin without width has none."""
    widths = [high - low for low, high in pairwise(bins)]
    return [
        None if share is None else share / width if width > 0 else 0.0
        for share, width in zip(shares, widths, strict=False)
    ]


def _runs(heights: Shares) -> list[tuple[int, int]]:
    """Stretches of bins that are not hidden, as (first, last + 1).

    >>> _runs([0.1, 0.2, None, 0.3])
    [(0, 2), (3, 4)]
    """
    edges = [place for place, height in enumerate(heights) if height is None]
    bounds = pairwise([-1, *edges, len(heights)])
    return [(before + 1, after) for before, after in bounds if after > before + 1]


def _steps(frame: svg.Frame, bins: Sequence[float], heights: Shares) -> list[list[tuple[float, float]]]:
    """The outline of a histogram: one line per stretch, down to the ground where a stretch ends."""
    outlines = []
    for first, last in _runs(heights):
        points = [(frame.x(bins[first]), frame.bottom)]
        for place in range(first, last):
            y = frame.y(heights[place] or 0.0)
            points += [(frame.x(bins[place]), y), (frame.x(bins[place + 1]), y)]
        outlines.append([*points, (frame.x(bins[last]), frame.bottom)])
    return outlines


def _histogram(label: str, columns: Sequence[DrawnColumn], bins: Sequence[float]) -> Markup:
    real = _densities(columns[0].shares("train"), bins)
    drawn = []
    for one in columns:
        edges = one.column.bins or bins
        drawn.append((one.place, edges, _densities(one.shares("synthetic"), edges)))
    peak = max([0.0, *(height for height in real if height)])
    highest = max([peak, *(height for *_, heights in drawn for height in heights if height)])
    frame = svg.Frame(
        left=6, top=6, width=WIDTH - 12, height=92, x_low=bins[0], x_high=bins[-1],
        y_high=(min(highest, CLIPPED_AT * peak) if peak else highest) or 1.0,
    )  # fmt: skip
    parts = [svg.polygon(outline, "real area") for outline in _steps(frame, bins, real)]
    for place, edges, heights in drawn:
        parts += [svg.polyline(outline, f"line {svg.colour(place)}") for outline in _steps(frame, edges, heights)]
    return svg.picture(WIDTH, 116, label, [*parts, frame.x_axis()])


def _levels(label: str, columns: Sequence[DrawnColumn], levels: Sequence[str]) -> Markup:
    real = columns[0].shares("train")
    synthetic = [
        (one.place, dict(zip(one.column.levels or [], one.shares("synthetic"), strict=False))) for one in columns
    ]
    shown = sorted(zip(levels, real, strict=False), key=lambda pair: -(pair[1] or 0.0))[:N_LEVELS_SHOWN]
    drawn = [share for level, own in shown for share in (own, *(by_level.get(level) for _, by_level in synthetic))]
    n_left = len(levels) - len(shown)
    height = ROW_HEIGHT * max(len(shown), 1) + (ROW_HEIGHT if n_left else 0) + 8
    frame = svg.Frame(
        left=112, top=4, width=WIDTH - 160, height=height - 8, x_low=0.0, x_high=max([0.01, *filter(None, drawn)])
    )
    parts = []
    for row, (level, share) in enumerate(shown):
        middle = frame.top + ROW_HEIGHT * (row + 0.5)
        parts.append(svg.text(frame.left - 6, middle + 3.2, short(level), "label", "end"))
        if share is None:
            parts.append(svg.text(frame.left + 3, middle + 3.2, "few patients, hidden", "tick"))
            continue
        parts.append(svg.rectangle(frame.left, middle - 4.5, frame.x(share) - frame.left, 9, "real area"))
        for place, by_level in synthetic:
            if (own := by_level.get(level)) is not None:
                parts.append(svg.marker(frame.x(own), middle, place, 2.8))
        parts.append(svg.text(WIDTH - 2, middle + 3.2, percent(share), "tick", "end"))
    if n_left:
        parts.append(svg.text(frame.left, height - 6, f"and {n_left} more levels", "tick"))
    parts.append(svg.line(frame.left, frame.top, frame.left, frame.top + ROW_HEIGHT * len(shown), "axis"))
    return svg.picture(WIDTH, height, label, parts)


def short(name: str, length: int = LABEL_LENGTH) -> str:
    """A name cut to `length` signs.

    >>> short("EMERGENCY ROOM"), short("PHYSICIAN REFERRAL AND MORE")
    ('EMERGENCY ROOM', 'PHYSICIAN REFERRAL AN…')
    """
    return name if len(name) <= length else f"{name[: length - 1]}…"
