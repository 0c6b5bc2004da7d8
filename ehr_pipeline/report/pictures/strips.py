"""Scores on one scale: 0 is a fresh real sample (the floor), 1 is independent columns (the null)."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ehr_pipeline.evaluate.result import Score
from ehr_pipeline.report import svg
from ehr_pipeline.report.numbers import number
from ehr_pipeline.report.pictures.distributions import short

LOW, HIGH = -0.2, 1.4
STRIP_WIDTH, MARK_GAP = 460, 11
BAR_WIDTH, BAR_HEIGHT = 120, 14


def strip(rows: Sequence[tuple[str, Sequence[tuple[int, Score]]]], null: str = "independent columns") -> Markup:
    """Rows of metrics with one mark per generator and its interval.

    Parameters
    ----------
    rows
        Per metric: its title, and per generator its place (colour) and its score, which has a normalised value.
    null
        What the null is.
    """
    tops = [22.0]
    for _, scores in rows:
        tops.append(tops[-1] + 18 + MARK_GAP * len(scores))
    frame = svg.Frame(left=4, top=22, width=STRIP_WIDTH - 8, height=tops[-1] - 22, x_low=LOW, x_high=HIGH)
    parts = [
        svg.rectangle(frame.left, frame.top, frame.x(0) - frame.left, frame.height, "beyond"),
        svg.rectangle(frame.x(1), frame.top, frame.right - frame.x(1), frame.height, "beyond"),
        svg.line(frame.x(0), frame.top, frame.x(0), frame.bottom, "floor"),
        svg.line(frame.x(1), frame.top, frame.x(1), frame.bottom, "null"),
        svg.text(frame.x(0), 14, "floor: fresh real patients", "label", "middle"),
        svg.text(frame.x(1), 14, f"null: {null}", "label", "middle"),
    ]
    for top, (title, scores) in zip(tops, rows, strict=False):
        parts.append(svg.line(frame.left, top, frame.right, top, "axis"))
        parts.append(svg.text(frame.x(0) + 5, top + 12, short(title, 70), "name"))
        for order, (generator, score) in enumerate(scores):
            y = top + 19 + MARK_GAP * order
            parts.append(_whisker(frame, score, y, generator))
            parts.append(svg.marker(frame.x(score.normalised or 0.0), y, generator))
    parts.append(frame.x_axis([0.0, 0.25, 0.5, 0.75, 1.0, 1.25]))
    label = "Scores of all generators between the floor (0) and the null (1); the table below has the numbers"
    return svg.picture(STRIP_WIDTH, frame.bottom + 20, label, parts, "wide")


def normalise(score: Score, value: float | None) -> float | None:
    """Where `value` stands between the floor (0) and the null (1) of a score."""
    if value is None or score.normalised is None or score.floor is None or score.null is None:
        return None
    return (value - score.floor) / (score.null - score.floor) if score.null != score.floor else None


def _whisker(frame: svg.Frame, score: Score, y: float, place: int) -> Markup:
    low, high = normalise(score, score.low), normalise(score, score.high)
    if low is None or high is None:
        return Markup("")
    return svg.line(frame.x(low), y, frame.x(high), y, f"whisker {svg.colour(place)}")


def bar(score: Score, place: int) -> Markup | None:
    """A small bar: where one score stands between floor and null; None where that is not defined."""
    if score.normalised is None:
        return None
    frame = svg.Frame(left=4, top=2, width=BAR_WIDTH - 8, height=BAR_HEIGHT - 4, x_low=LOW, x_high=HIGH)
    middle = BAR_HEIGHT / 2
    parts = [
        svg.line(frame.x(0), middle, frame.x(1), middle, "track"),
        svg.line(frame.x(0), 3, frame.x(0), BAR_HEIGHT - 3, "floor"),
        svg.line(frame.x(1), 3, frame.x(1), BAR_HEIGHT - 3, "null"),
        _whisker(frame, score, middle, place),
        svg.marker(frame.x(score.normalised), middle, place, 3.2),
    ]
    return svg.picture(BAR_WIDTH, BAR_HEIGHT, f"normalised {number(score.normalised)}", parts, "bar")
