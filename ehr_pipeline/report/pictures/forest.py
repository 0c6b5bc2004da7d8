"""Forest plots: one effect estimated in several tables, with intervals and, where it is known, the truth."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ehr_pipeline.evaluate.result import EffectEstimate
from ehr_pipeline.report import svg
from ehr_pipeline.report.numbers import number
from ehr_pipeline.report.pictures.distributions import short

FOREST_WIDTH, FOREST_ROW = 340, 22


def forest(measure: str, truth: float | None, rows: Sequence[tuple[str, int | None, EffectEstimate]]) -> Markup:
    """A forest plot of one measure of a treatment effect.

    Parameters
    ----------
    measure
        Its title.
    truth
        The true effect, a vertical line; None where nobody knows it.
    rows
        Per estimate: its label, the generator's place (None for real patients), the estimate.
    """
    ends = [x for *_, row in rows for x in (row.value, row.low, row.high) if x is not None]
    ends += [0.0] + ([] if truth is None else [truth])
    margin = 0.08 * (max(ends) - min(ends)) or 0.1
    frame = svg.Frame(
        left=130, top=8, width=FOREST_WIDTH - 140, height=FOREST_ROW * len(rows),
        x_low=min(ends) - margin, x_high=max(ends) + margin,
    )  # fmt: skip
    parts = [svg.line(frame.x(0), frame.top, frame.x(0), frame.bottom, "chance")]
    if truth is not None:
        parts.append(svg.line(frame.x(truth), frame.top, frame.x(truth), frame.bottom, "truth"))
    for order, (label, place, estimate) in enumerate(rows):
        y = frame.top + FOREST_ROW * (order + 0.5)
        parts.append(svg.text(frame.left - 8, y + 3.5, short(label), "label", "end"))
        if estimate.value is None:
            parts.append(svg.text(frame.left + 4, y + 3.5, "not defined", "tick"))
            continue
        css = "real" if place is None else svg.colour(place)
        if estimate.low is not None and estimate.high is not None:
            parts.append(svg.line(frame.x(estimate.low), y, frame.x(estimate.high), y, f"whisker {css}"))
        mark = svg.rectangle(frame.x(estimate.value) - 3, y - 3, 6, 6, "mark real")
        parts.append(mark if place is None else svg.marker(frame.x(estimate.value), y, place))
    parts.append(frame.x_axis())
    return svg.picture(FOREST_WIDTH, frame.bottom + 20, f"{measure}: {_truth_words(truth)}", parts)


def _truth_words(truth: float | None) -> str:
    return "estimates with 95 % intervals" + ("" if truth is None else f", the truth is {number(truth)}")
