"""Codes by hours as pictures of one pixel per cell: shares of patients, and differences of shares.

What belongs here: shares to a PNG inside a picture with names and hours. A hidden cell is grey, which no share is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from markupsafe import Markup

from ehr_pipeline.report import svg
from ehr_pipeline.report.pictures.distributions import short
from ehr_pipeline.report.pictures.matrices import BLUE, RED, data_uri
from ehr_pipeline.report.pictures.over_time import edges, hour_ticks

WIDTH, LEFT, ROW = 320, 112, 11
INK, GREY = (29, 95, 138), (128, 128, 128, 90)
DIFFERENCE_SCALE = 0.3
"""A difference of shares this large has full colour."""


def heat_map(
    label: str,
    titles: Sequence[str],
    hours: Sequence[float],
    cells: Sequence[Sequence[float | None]],
    kind: Literal["share", "difference"],
) -> Markup:
    """A picture with a row per code and a column per bin of time.

    Parameters
    ----------
    titles, hours
        Name of each row, begin of each column.
    cells
        `cells[row][column]`: a share in [0, 1] or a difference of shares in [-1, 1]; None is hidden.
    """
    height = ROW * max(len(titles), 1)
    ends = edges(hours)
    frame = svg.Frame(left=LEFT, top=2, width=WIDTH - LEFT - 8, height=height, x_low=ends[0], x_high=ends[-1])
    parts = [svg.rectangle(frame.left, frame.top, frame.width, frame.height, "paper")]
    if titles and hours:
        parts.append(
            Markup(
                '<image class="crisp" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" '
                'preserveAspectRatio="none" href="{}"/>'
            ).format(frame.left, frame.top, frame.width, frame.height, data_uri(pixels(cells, kind)))
        )
    parts += [
        svg.text(frame.left - 5, frame.top + ROW * (row + 0.5) + 3, short(title, 21), "tick", "end")
        for row, title in enumerate(titles)
    ]
    parts += [
        frame.x_axis(hour_ticks(ends)),
        svg.text(frame.left + frame.width / 2, frame.bottom + 25, "hours", "tick", "middle"),
    ]
    return svg.picture(WIDTH, frame.bottom + 29, label, parts, "heat")


def pixels(cells: Sequence[Sequence[float | None]], kind: Literal["share", "difference"]) -> np.ndarray:
    """RGBA picture, uint8 [rows, columns, 4]: see-through at 0, so that it serves a light and a dark page."""
    values = np.array([[np.nan if cell is None else cell for cell in row] for row in cells], dtype=np.float64)
    known = np.nan_to_num(values)
    rgba = np.empty((*values.shape, 4), dtype=np.uint8)
    if kind == "share":
        rgba[..., :3], strength = INK, np.clip(known, 0.0, 1.0)
    else:
        strength = np.clip(known / DIFFERENCE_SCALE, -1.0, 1.0)
        rgba[..., :3] = np.where(strength[..., None] > 0, RED, BLUE)
    rgba[..., 3] = np.rint(255 * np.abs(strength) ** 0.8)
    rgba[np.isnan(values)] = GREY
    return rgba
