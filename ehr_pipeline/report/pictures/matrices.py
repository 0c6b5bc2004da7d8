"""Correlation matrices as pictures of one pixel per pair: blue below zero, red above, see-through at zero.

What belongs here: matrix to a PNG data URI. Being see-through at zero, one picture serves a light and a dark
page. The page enlarges it with crisp pixels, so that 200 columns weigh a few kB.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from ehr_pipeline.report import svg
from ehr_pipeline.report.pictures.distributions import short

RED, BLUE = (196, 58, 43), (42, 98, 172)
SIDE, LABELS_WIDTH, N_LABELS = 300, 92, 26


def matrix(label: str, names: Sequence[str], values: Sequence[Sequence[float]], scale: float = 1.0) -> Markup:
    """A square picture of a correlation matrix with its names where there is room for them.

    Parameters
    ----------
    values
        Matrix of shape (len(names), len(names)) with entries in [-1, 1]; one that is not a number is blank.
    scale
        The size of correlation that has full colour.
    """
    has_labels = len(names) <= N_LABELS
    left = LABELS_WIDTH if has_labels else 2
    side = SIDE - left
    cell = side / max(len(names), 1)
    parts = [
        svg.rectangle(left, 0, side, side, "paper"),
        Markup('<image class="crisp" x="{:.1f}" y="0" width="{:.1f}" height="{:.1f}" href="{}"/>').format(
            left, side, side, data_uri(colours(np.asarray(values, dtype=np.float64), scale))
        ),
    ]
    if has_labels:
        size = f"font-size:{min(10.0, 0.92 * cell):.1f}px"
        parts += [
            Markup('<text x="{:.1f}" y="{:.1f}" class="label" text-anchor="end" style="{}">{}</text>').format(
                left - 4, cell * (row + 0.5) + 3, size, short(name, 18)
            )
            for row, name in enumerate(names)
        ]
    return svg.picture(SIDE, side, label, parts, "matrix")


def colours(values: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """RGBA picture, uint8 of shape (n, n, 4), of a matrix of shape (n, n)."""
    strength = np.clip(np.nan_to_num(values) / scale, -1.0, 1.0)
    rgba = np.empty((*values.shape, 4), dtype=np.uint8)
    rgba[..., :3] = np.where(strength[..., None] > 0, RED, BLUE)
    rgba[..., 3] = np.rint(255 * np.abs(strength) ** 0.8)  # lifts weak correlations, which are most of them
    return rgba


def data_uri(rgba: np.ndarray) -> str:
    """A picture, uint8 of shape (height, width, 4), as a PNG inside a URI."""
    return "data:image/png;base64," + base64.b64encode(png(rgba)).decode("ascii")


def png(rgba: np.ndarray) -> bytes:
    """A picture as PNG bytes (https://www.w3.org/TR/png-3/): 8 bits per sample, true colour with alpha."""
    height, width = rgba.shape[:2]
    rows = b"".join(b"\x00" + row.tobytes() for row in rgba)  # each row begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
