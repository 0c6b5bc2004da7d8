"""What changes over time, real and synthetic over each other: medians with bands, rates, curves of survival.

What belongs here: values by bin or day to a picture. A bin that is hidden (None) leaves a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from markupsafe import Markup

from ehr_pipeline.evaluate.timelines.result import Band
from ehr_pipeline.report import svg

WIDTH, HEIGHT = 260, 150
BEYOND = 0.6
"""The scale reaches so far beyond the real band, in its heights; a synthetic line beyond is cut off there."""

Values = Sequence[float | None]


def trajectory(
    label: str, hours: Sequence[float], real: Band, synthetic: Sequence[tuple[int, Band]], scale: tuple[float, float]
) -> Markup:
    """Medians as lines and quartiles as areas: the real ones in ink, each generator's in its colour.

    Parameters
    ----------
    hours
        Begin of each bin.
    synthetic
        Per generator: its place (colour) and its band.
    scale
        Lowest and highest value of the vertical axis (`scale_of`).
    """
    ends = edges(hours)
    frame = _frame(ends, scale)
    parts = [frame.y_axis(svg.ticks(*scale, 5)), frame.x_axis(hour_ticks(ends))]
    parts += _areas(frame, ends, real, "real area")
    for place, band in synthetic:
        parts += _areas(frame, ends, band, f"band {svg.colour(place)}")
    parts += _lines(frame, ends, real.median, "line real")
    for place, band in synthetic:
        parts += _lines(frame, ends, band.median, f"line {svg.colour(place)}")
    return svg.picture(WIDTH, HEIGHT, label, [*parts, _below("hours")])


def scale_of(real: Iterable[Band], synthetic: Iterable[Band]) -> tuple[float, float]:
    """Lowest and highest value to show: all of the real bands, and of the synthetic ones what is not far off.

    >>> band = Band(median=[5.0], low=[0.0], high=[10.0], n=[50])
    >>> scale_of([band], [Band(median=[500.0], low=[4.0], high=[900.0], n=[50])])
    (0.0, 16.0)
    """
    own, others = ([x for band in bands for x in _values(band)] for bands in (real, synthetic))
    if not own:
        own = others or [0.0, 1.0]
    low, high = min(own), max(own)
    reach = BEYOND * (high - low or abs(high) or 1.0)
    low, high = max(min([low, *others]), low - reach), min(max([high, *others]), high + reach)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def rate(label: str, hours: Sequence[float], real: Values, synthetic: Sequence[tuple[int, Values]]) -> Markup:
    """Events per patient and hour: the real ones as an area, each generator's as a line."""
    ends = edges(hours)
    top = max([0.0, *(x for values in (real, *(one for _, one in synthetic)) for x in values if x is not None)])
    frame = _frame(ends, (0.0, top or 1.0))
    parts = [frame.y_axis(svg.ticks(0.0, top or 1.0, 4)), frame.x_axis(hour_ticks(ends))]
    for first, last in runs(real):
        points = _stairs(frame, ends, real, first, last)
        parts.append(svg.polygon([(points[0][0], frame.bottom), *points, (points[-1][0], frame.bottom)], "real area"))
    for place, values in synthetic:
        parts += [
            svg.polyline(_stairs(frame, ends, values, first, last), f"line {svg.colour(place)}")
            for first, last in runs(values)
        ]
    return svg.picture(WIDTH, HEIGHT, label, [*parts, _below("hour")])


def survival(
    label: str, days: Sequence[float], real: Sequence[float], synthetic: Sequence[tuple[int, Sequence[float]]]
) -> Markup:
    """Kaplan-Meier curves as stairs; the vertical axis begins at 0 unless all curves stay above a half."""
    lowest = min([1.0, *real, *(x for _, curve in synthetic for x in curve)])
    low = 0.0 if lowest < 0.5 else int(20 * lowest) / 20 - 0.05
    frame = svg.Frame(
        left=34, top=8, width=WIDTH - 42, height=HEIGHT - 46, x_low=0.0, x_high=max([*days, 1e-9]), y_low=low
    )
    parts = [frame.y_axis(svg.ticks(low, 1.0, 4)), frame.x_axis()]
    parts.append(svg.polyline(_falling(frame, days, real), "line real"))
    parts += [svg.polyline(_falling(frame, days, curve), f"line {svg.colour(place)}") for place, curve in synthetic]
    return svg.picture(WIDTH, HEIGHT, label, [*parts, _below("days")])


def edges(starts: Sequence[float]) -> list[float]:
    """Begins of bins and the end of the last, which is as wide as the one before it.

    >>> edges([0.0, 2.0, 4.0]), edges([5.0]), edges([])
    ([0.0, 2.0, 4.0, 6.0], [5.0, 6.0], [0.0, 1.0])
    """
    if not starts:
        return [0.0, 1.0]
    width = starts[-1] - starts[-2] if len(starts) > 1 else 1.0
    return [*starts, starts[-1] + width]


def hour_ticks(ends: Sequence[float]) -> list[float] | None:
    """Hours to write below an axis that spans `ends`: every sixth or twelfth of up to four days; else as it comes.

    >>> hour_ticks([0.0, 24.0]), hour_ticks([0.0, 48.0]), hour_ticks([0.0, 200.0])
    ([0.0, 6.0, 12.0, 18.0, 24.0], [0.0, 12.0, 24.0, 36.0, 48.0], None)
    """
    if not 12 <= ends[-1] - ends[0] <= 96 or ends[0] < 0:
        return None
    step = 6 if ends[-1] <= 30 else 12
    return [float(hour) for hour in range(0, int(ends[-1]) + 1, step) if hour >= ends[0]]


def runs(values: Values) -> list[tuple[int, int]]:
    """Stretches without a hidden value, as (first, last + 1).

    >>> runs([0.1, 0.2, None, 0.3])
    [(0, 2), (3, 4)]
    """
    hidden = [place for place, value in enumerate(values) if value is None]
    return [(before + 1, after) for before, after in pairwise([-1, *hidden, len(values)]) if after > before + 1]


def _frame(ends: Sequence[float], scale: tuple[float, float]) -> svg.Frame:
    return svg.Frame(
        left=38, top=8, width=WIDTH - 46, height=HEIGHT - 46,
        x_low=ends[0], x_high=ends[-1], y_low=scale[0], y_high=scale[1],
    )  # fmt: skip


def _below(unit: str) -> Markup:
    return svg.text(38 + (WIDTH - 46) / 2, HEIGHT - 6, unit, "tick", "middle")


def _values(band: Band) -> list[float]:
    return [value for values in (band.median, band.low, band.high) for value in values if value is not None]


def _areas(frame: svg.Frame, ends: Sequence[float], band: Band, css: str) -> list[Markup]:
    both = [None if low is None or high is None else 0.0 for low, high in zip(band.low, band.high, strict=True)]
    found = []
    for first, last in runs(both):
        lower, upper = (_points(frame, ends, values, first, last) for values in (band.low, band.high))
        found.append(svg.polygon([*lower, *reversed(upper)], css))
    return found


def _lines(frame: svg.Frame, ends: Sequence[float], values: Values, css: str) -> list[Markup]:
    return [svg.polyline(_points(frame, ends, values, first, last), css) for first, last in runs(values)]


def _points(
    frame: svg.Frame, ends: Sequence[float], values: Values, first: int, last: int
) -> list[tuple[float, float]]:
    """Values at the middles of bins first to last - 1; a bin alone has both of its ends."""
    if last == first + 1:
        y = frame.y(values[first] or 0.0)
        return [(frame.x(ends[first]), y), (frame.x(ends[last]), y)]
    return [(frame.x((ends[k] + ends[k + 1]) / 2), frame.y(values[k] or 0.0)) for k in range(first, last)]


def _stairs(
    frame: svg.Frame, ends: Sequence[float], values: Values, first: int, last: int
) -> list[tuple[float, float]]:
    return [(frame.x(ends[k + side]), frame.y(values[k] or 0.0)) for k in range(first, last) for side in (0, 1)]


def _falling(frame: svg.Frame, days: Sequence[float], curve: Sequence[float]) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = [(frame.x(0.0), frame.y(1.0))]
    for day, share in zip(days, curve, strict=True):
        points += [(frame.x(day), points[-1][1]), (frame.x(day), frame.y(share))]
    return points
