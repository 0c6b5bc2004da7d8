"""Curves: ROC curves of one question for all generators, and the loss of one training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from ehr_pipeline.evaluate.result import Curve
from ehr_pipeline.report import svg

SIDE = 210
LOSS_WIDTH, LOSS_HEIGHT = 320, 120


def roc(label: str, reference: Curve | None, curves: Sequence[tuple[int, Curve]]) -> Markup:
    """ROC curves in one square.

    Parameters
    ----------
    label
        What a screen reader says.
    reference
        The curve of real rows, drawn in ink.
    curves
        Per generator: its place (colour) and its curve.
    """
    frame = svg.Frame(left=28, top=6, width=SIDE - 36, height=SIDE - 36, x_low=0.0, x_high=1.0)
    halves = (0.0, 0.5, 1.0)
    parts = [frame.y_axis(halves), frame.x_axis(halves)]
    parts.append(svg.line(frame.left, frame.bottom, frame.right, frame.top, "chance"))
    if reference is not None:
        parts.append(_curve(frame, reference, "line real"))
    parts += [_curve(frame, curve, f"line {svg.colour(place)}") for place, curve in curves]
    parts.append(svg.text(frame.left + frame.width / 2, SIDE - 3, "false positive rate", "tick", "middle"))
    return svg.picture(SIDE, SIDE, label, parts, "square")


def _curve(frame: svg.Frame, curve: Curve, css: str) -> Markup:
    rates = zip(curve.false_positive_rate, curve.true_positive_rate, strict=False)
    return svg.polyline([(frame.x(x), frame.y(y)) for x, y in rates], css)


def loss(label: str, history: Sequence[Mapping[str, float | None]], place: int) -> Markup | None:
    """Training loss (line) and validation loss (dotted) over epochs; None where there are not two of either."""
    series = {name: _series(history, name) for name in ("loss", "validation_loss")}
    series = {name: points for name, points in series.items() if len(points) > 1}
    if not series:
        return None
    xs = [x for points in series.values() for x, _ in points]
    ys = sorted(y for points in series.values() for _, y in points)
    # The first epochs are far above the rest; the scale is that of the other nineteen twentieths.
    high = ys[int(0.95 * (len(ys) - 1))]
    frame = svg.Frame(
        left=44, top=8, width=LOSS_WIDTH - 52, height=LOSS_HEIGHT - 38,
        x_low=min(xs), x_high=max(xs), y_low=ys[0], y_high=high if high > ys[0] else ys[0] + 1.0,
    )  # fmt: skip
    parts = [frame.y_axis(svg.ticks(frame.y_low, frame.y_high, 3)), frame.x_axis()]
    for name, points in series.items():
        dotted = " dotted" if name == "validation_loss" else ""
        parts.append(svg.polyline([(frame.x(x), frame.y(y)) for x, y in points], f"line {svg.colour(place)}{dotted}"))
    parts.append(svg.text(frame.left + frame.width / 2, LOSS_HEIGHT - 3, "epoch", "tick", "middle"))
    return svg.picture(LOSS_WIDTH, LOSS_HEIGHT, label, parts)


def _series(history: Sequence[Mapping[str, float | None]], name: str) -> list[tuple[float, float]]:
    return [
        (float(record.get("epoch") or place + 1), float(value))
        for place, record in enumerate(history)
        if (value := record.get(name)) is not None and math.isfinite(value)
    ]
