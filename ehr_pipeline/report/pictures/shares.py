"""Shares against shares: how common codes are in both tables, and how often what was predicted came true.

What belongs here: pairs of shares in a square with its diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ehr_pipeline.report import svg

SIDE = 230
Pair = tuple[float, float]


def scatter(
    label: str, axes: tuple[str, str], points: Sequence[tuple[int | None, Sequence[Pair]]], *, is_line: bool
) -> Markup:
    """Marks, joined where `is_line`, at pairs of shares in [0, 1].

    Parameters
    ----------
    axes
        What the horizontal and the vertical axis show.
    points
        Per generator its place (colour and mark), None for real patients, and its pairs.
    """
    frame = svg.Frame(left=42, top=8, width=SIDE - 50, height=SIDE - 50, x_low=0.0, x_high=1.0)
    halves = (0.0, 0.5, 1.0)
    parts = [frame.y_axis(halves), frame.x_axis(halves)]
    parts.append(svg.line(frame.left, frame.bottom, frame.right, frame.top, "chance"))
    for place, pairs in points:
        drawn = [(frame.x(x), frame.y(y)) for x, y in pairs]
        css = "real" if place is None else svg.colour(place)
        parts += [svg.polyline(drawn, f"line {css}")] if is_line else []
        parts += [_mark(x, y, place) for x, y in drawn]
    parts.append(svg.text(frame.left + frame.width / 2, SIDE - 6, axes[0], "tick", "middle"))
    parts.append(svg.text(frame.left + 5, frame.top + 8, axes[1], "tick"))
    return svg.picture(SIDE, SIDE, label, parts, "square")


def _mark(x: float, y: float, place: int | None) -> Markup:
    return svg.rectangle(x - 2.2, y - 2.2, 4.4, 4.4, "mark real") if place is None else svg.marker(x, y, place, 2.4)
