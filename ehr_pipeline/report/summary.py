"""A report in brief: the numbers to plot over time, and a picture small enough for an event log.

What belongs here: what fits beside a link to the page. What does not: the page itself.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from ehr_pipeline.report import metrics
from ehr_pipeline.report.build import Report
from ehr_pipeline.report.figures import DIFFERENCE_SCALE
from ehr_pipeline.report.inputs import GeneratorFacts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH, MAX_CELLS = 100, 48


def key_scores(report: Report) -> dict[str, float]:
    """The handful of numbers per generator worth plotting over time: `generator/metric` to value.

    Those of events are `generator/timelines/metric`.
    """
    tables = {name: found["scores"] for name, found in report.scores["generators"].items()}
    events = {
        f"{name}/timelines": found["timelines"]["scores"]
        for name, found in report.scores["generators"].items()
        if found["timelines"] is not None
    }
    return {
        f"{whose}/{name}": scores[name]["value"]
        for whose, scores in (tables | events).items()
        for name in metrics.key_names(scores)
        if scores[name]["value"] is not None
    }


def best_generator(report: Report) -> GeneratorFacts:
    """The generator with the fewest failed gates, then the one nearest to the floor in its key scores."""
    return min(report.inputs.generators, key=lambda one: (_n_failed(report, one), _distance_to_floor(one)))


def _n_failed(report: Report, generator: GeneratorFacts) -> int:
    dimensions = report.scores["generators"][generator.name]["dimensions"]
    return sum(len(dimension["failed"]) for dimension in dimensions.values())


def _distance_to_floor(generator: GeneratorFacts) -> float:
    scores = generator.evaluation.scores
    found = [scores[name].normalised for name in metrics.key_names(scores)]
    known = [abs(value) for value in found if value is not None]
    return float(np.mean(known)) if known else np.inf


def thumbnail(report: Report) -> bytes:
    """A PNG of under 60 kB: correlations of real and synthetic rows of the best generator, and their difference.

    Where no correlation was computed it shows the verdicts in words.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    best = best_generator(report)
    figure = Figure(figsize=(6.0, 2.3), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    if best.evaluation.correlation is None:
        _draw_words(figure, report)
    else:
        _draw_matrices(figure, best)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _draw_matrices(figure: Figure, generator: GeneratorFacts) -> None:
    correlation = generator.evaluation.correlation
    assert correlation is not None  # the caller looked
    real, synthetic = np.array(correlation.train, dtype=float), np.array(correlation.synthetic, dtype=float)
    pictures = [
        ("real", real, 1.0),
        (plain_text(generator.title, 28), synthetic, 1.0),
        (f"difference (to ±{DIFFERENCE_SCALE:g})", synthetic - real, DIFFERENCE_SCALE),
    ]
    for axes, (title, values, scale) in zip(figure.subplots(1, 3), pictures, strict=True):
        axes.imshow(pooled(values), cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest")
        axes.set_title(title, fontsize=9, color="#1f2328", parse_math=False)
        axes.set_xticks([])
        axes.set_yticks([])


def pooled(matrix: np.ndarray) -> np.ndarray:
    """A square matrix of at most `MAX_CELLS` rows: means of blocks, so that wide tables make no larger picture.

    >>> pooled(np.eye(3)).shape, pooled(np.ones((200, 200))).shape
    ((3, 3), (40, 40))
    """
    block = -(-len(matrix) // MAX_CELLS)
    starts = np.arange(0, len(matrix), block)
    sums = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    sizes = np.diff(np.append(starts, len(matrix)))
    return sums / np.outer(sizes, sizes)


def _draw_words(figure: Figure, report: Report) -> None:
    lines = []
    for generator in report.inputs.generators[:8]:
        dimensions = report.scores["generators"][generator.name]["dimensions"]
        states = ", ".join(f"{name} {found['state']}" for name, found in dimensions.items())
        lines.append(f"{plain_text(generator.title, 28)}: {states}")
    figure.text(0.02, 0.95, "\n".join(lines), fontsize=7, va="top", color="#1f2328", parse_math=False)


def plain_text(text: str, length: int) -> str:
    """A title cut to `length` signs, without signs that the picture's font lacks (they would warn, not show).

    >>> plain_text("Autoencoder 😀 with a rather long title", 20)
    'Autoencoder ? with …'
    """
    shown = "".join(sign if sign.isprintable() and ord(sign) < 0x250 else "?" for sign in text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"
