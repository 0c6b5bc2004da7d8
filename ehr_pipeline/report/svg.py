"""Small vector pictures: a plotting frame, ticks and marks, as markup that takes its colours from the page.

What belongs here: geometry to SVG. What does not: what is plotted (`pictures/`). Every text passes through
`Markup.format`, which escapes it; colours are CSS classes (`real`, `g0` ... `g9`), so that one picture serves
light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ehr_pipeline.report.numbers import number

N_COLOURS = 10
MARKERS = ("circle", "square", "diamond", "triangle")


def colour(place: int) -> str:
    """CSS class of the generator at `place`; after `N_COLOURS` they begin again."""
    return f"g{place % N_COLOURS}"


def picture(width: float, height: float, label: str, parts: Iterable[Markup], css: str = "") -> Markup:
    """An `<svg>` that a screen reader names `label`."""
    return Markup('<svg class="plot {}" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}</svg>').format(
        css, width, height, label, Markup("").join(parts)
    )


def text(x: float, y: float, content: str, css: str = "", anchor: str = "start") -> Markup:
    """A piece of text whose baseline begins (or ends, or has its middle) at (x, y)."""
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}" text-anchor="{}">{}</text>').format(
        x, y, css, anchor, content
    )


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, css)


def rectangle(x: float, y: float, width: float, height: float, css: str) -> Markup:
    """A filled rectangle."""
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"/>').format(
        x, y, max(width, 0.0), max(height, 0.0), css
    )


def polyline(points: Iterable[tuple[float, float]], css: str) -> Markup:
    """A line through points; no mark at all for fewer than two."""
    listed = list(points)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in listed)
    return Markup('<polyline points="{}" class="{}"/>').format(path, css) if len(listed) > 1 else Markup("")


def polygon(points: Iterable[tuple[float, float]], css: str) -> Markup:
    """A filled area."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polygon points="{}" class="{}"/>').format(path, css)


def marker(x: float, y: float, place: int, size: float = 3.6) -> Markup:
    """The mark of the generator at `place`: a shape and a colour, so that neither is needed alone."""
    css = f"mark {colour(place)}"
    shape = MARKERS[place % len(MARKERS)]
    if shape == "circle":
        return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" class="{}"/>').format(x, y, size, css)
    if shape == "square":
        return rectangle(x - 0.85 * size, y - 0.85 * size, 1.7 * size, 1.7 * size, css)
    if shape == "diamond":
        reach = 1.25 * size
        return polygon([(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)], css)
    return polygon([(x, y - 1.2 * size), (x + 1.15 * size, y + 0.9 * size), (x - 1.15 * size, y + 0.9 * size)], css)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A rectangle on the picture that stands for a rectangle of values; both axes are linear."""

    left: float
    top: float
    width: float
    height: float
    x_low: float
    x_high: float
    y_low: float = 0.0
    y_high: float = 1.0

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Bottom edge."""
        return self.top + self.height

    def x(self, value: float) -> float:
        """Horizontal place of a value, held inside the frame."""
        return self.left + self.width * _share(value, self.x_low, self.x_high)

    def y(self, value: float) -> float:
        """Vertical place of a value, held inside the frame."""
        return self.bottom - self.height * _share(value, self.y_low, self.y_high)

    def x_axis(self, at: Sequence[float] | None = None, n: int = 4) -> Markup:
        """Base line, tick marks and their numbers."""
        marks = ticks(self.x_low, self.x_high, n) if at is None else at
        parts = [line(self.left, self.bottom, self.right, self.bottom, "axis")]
        for value in marks:
            parts.append(line(self.x(value), self.bottom, self.x(value), self.bottom + 3, "axis"))
            parts.append(text(self.x(value), self.bottom + 13, tick_label(value), "tick", "middle"))
        return Markup("").join(parts)

    def y_axis(self, at: Sequence[float]) -> Markup:
        """Faint horizontal lines with their numbers on the left."""
        parts = []
        for value in at:
            parts.append(line(self.left, self.y(value), self.right, self.y(value), "grid"))
            parts.append(text(self.left - 4, self.y(value) + 3, tick_label(value), "tick", "end"))
        return Markup("").join(parts)


def _share(value: float, low: float, high: float) -> float:
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def ticks(low: float, high: float, n: int = 4) -> list[float]:
    """About `n` round numbers in [low, high].

    >>> ticks(0, 10), ticks(18, 95), ticks(5, 5)
    ([0.0, 5.0, 10.0], [20.0, 40.0, 60.0, 80.0], [5])
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    rough = (high - low) / n
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(place * step, 10) for place in range(first, last + 1)]


def tick_label(value: float) -> str:
    """A tick's number, as short as it goes.

    >>> tick_label(20.0), tick_label(0.25), tick_label(150000.0)
    ('20', '0.25', '150k')
    """
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k" if abs(value) < 10_000_000 else f"{value / 1_000_000:g}M"
    return number(value) if abs(value) < 0.001 and value else f"{value:g}".replace("-", "−")
