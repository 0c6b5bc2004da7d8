"""One synthetic patient over time: measured things as small lines, what was done as marks, one axis below.

What belongs here: a patient that was read (`viewer.py`) to a picture.
"""

from __future__ import annotations

from markupsafe import Markup

from ehr_pipeline.report import svg
from ehr_pipeline.report.numbers import signed
from ehr_pipeline.report.pictures.distributions import short
from ehr_pipeline.report.pictures.over_time import hour_ticks
from ehr_pipeline.report.viewer import Lane, MarkRow, ShownPatient

WIDTH, LEFT, RIGHT = 780, 196, 122
LANE, ROW, HEADING = 27, 15, 18
CHARACTERS = 33
DAY = 24


def patient_picture(patient: ShownPatient) -> Markup:
    """The whole timeline; a lane's range stands at its right."""
    kinds = list(dict.fromkeys(row.kind for row in patient.marks))
    height = LANE * len(patient.lanes) + ROW * len(patient.marks) + HEADING * len(kinds) + 8
    frame = svg.Frame(
        left=LEFT, top=6, width=WIDTH - LEFT - RIGHT, height=height, x_low=0.0, x_high=max(patient.hours, 1.0)
    )
    parts = _days(frame)
    top = frame.top
    for lane in patient.lanes:
        parts += _lane(frame, lane, top)
        top += LANE
    for kind in kinds:
        parts.append(svg.text(frame.left - 8, top + HEADING - 5, kind, "name", "end"))
        top += HEADING
        for row in patient.marks:
            if row.kind == kind:
                parts += _row(frame, row, top)
                top += ROW
    parts += [frame.x_axis(hour_ticks([0.0, frame.x_high])), _axis_title(frame)]
    counted = f"{len(patient.lanes)} measured things and {len(patient.marks)} rows of marks"
    label = f"Synthetic patient {patient.number}: {counted}"
    return svg.picture(WIDTH, frame.bottom + 30, label, parts, "timeline")


def _lane(frame: svg.Frame, lane: Lane, top: float) -> list[Markup]:
    low, high = min(lane.values), max(lane.values)
    inner = svg.Frame(
        left=frame.left, top=top + 5, width=frame.width, height=LANE - 10,
        x_low=frame.x_low, x_high=frame.x_high, y_low=low, y_high=high,
    )  # fmt: skip
    points = [(inner.x(hour), inner.y(value)) for hour, value in zip(lane.hours, lane.values, strict=True)]
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
    said = _plain(low) if low == high else f"{_plain(low)} to {_plain(high)}"
    unit = f" {short(lane.unit, 10)}" if lane.unit else ""
    return [
        svg.line(frame.left, top + LANE, frame.right, top + LANE, "grid"),
        svg.text(frame.left - 8, top + LANE / 2 + 3.5, short(lane.title, CHARACTERS), "label", "end"),
        svg.polyline(points, "line g0"),
        Markup('<path class="dots g0" d="{}"/>').format(dots),
        svg.text(frame.right + 6, top + LANE / 2 + 3, f"{said}{unit}", "tick"),
    ]


def _row(frame: svg.Frame, row: MarkRow, top: float) -> list[Markup]:
    middle = top + ROW / 2
    marks = "".join(f"M{frame.x(hour):.1f} {middle - 4.5:.1f}v9" for hour in row.hours)
    times = f"{len(row.hours)} times" if len(row.hours) > 1 else signed(f"hour {row.hours[0]:.1f}")
    return [
        svg.line(frame.left, middle, frame.right, middle, "grid"),
        svg.text(frame.left - 8, middle + 3.5, short(row.title, CHARACTERS), "label", "end"),
        Markup('<path class="ticks g1" d="{}"/>').format(marks),
        svg.text(frame.right + 6, middle + 3, times, "tick"),
    ]


def _days(frame: svg.Frame) -> list[Markup]:
    """A faint line at each whole day, of at most a month."""
    n = min(int(frame.x_high // DAY), 31)
    return [svg.line(frame.x(DAY * k), frame.top, frame.x(DAY * k), frame.bottom, "grid") for k in range(1, n + 1)]


def _plain(value: float) -> str:
    return signed(f"{value:.4g}")


def _axis_title(frame: svg.Frame) -> Markup:
    return svg.text(frame.left + frame.width / 2, frame.bottom + 26, "hours since the first value", "tick", "middle")
