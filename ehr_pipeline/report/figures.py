"""The figures of the page: which findings go into which picture, with the caption that says what is seen.

What belongs here: choosing and captioning. What does not: drawing (`pictures/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ehr_pipeline.evaluate.result import CorrelationComparison, Curve, EffectEstimate, Score
from ehr_pipeline.record import Schema
from ehr_pipeline.report import metrics
from ehr_pipeline.report.inputs import GeneratorFacts
from ehr_pipeline.report.numbers import number, percent
from ehr_pipeline.report.pictures.curves import loss, roc
from ehr_pipeline.report.pictures.distributions import DrawnColumn, distribution
from ehr_pipeline.report.pictures.forest import forest
from ehr_pipeline.report.pictures.matrices import matrix
from ehr_pipeline.report.pictures.strips import strip

N_WORST_PAIRS = 5
DIFFERENCE_SCALE = 0.3  # a difference of correlations this large has full colour


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with its title and lines under it; `place` is the generator's when it shows only one."""

    title: str
    picture: Markup
    lines: tuple[str, ...] = ()
    place: int | None = None


def score_strip(generators: Sequence[GeneratorFacts], null: str = "independent columns") -> Figure | None:
    """Key scores of all generators between floor and null, which `null` names."""
    names = metrics.key_names(name for generator in generators for name in generator.evaluation.scores)
    rows: list[tuple[str, list[tuple[int, Score]]]] = []
    for name in names:
        scores = [
            (place, score)
            for place, generator in enumerate(generators)
            if (score := generator.evaluation.scores.get(name)) is not None and score.normalised is not None
        ]
        if scores:
            rows.append((metrics.title(name), scores))
    return Figure(title="Between floor and null", picture=strip(rows, null)) if rows else None


def distributions(schema: Schema, generators: Sequence[GeneratorFacts]) -> list[Figure]:
    """One picture per column with all generators that wrote it, in the order of the schema."""
    by_name: dict[str, list[DrawnColumn]] = {name: [] for name in schema.names}
    for place, generator in enumerate(generators):
        n_rows = generator.evaluation.n_rows
        for column in generator.evaluation.columns:
            drawn = DrawnColumn(place=place, generator=generator.title, column=column, n_rows=n_rows)
            by_name.setdefault(column.name, []).append(drawn)
    return [_column_figure(schema, name, columns) for name, columns in by_name.items() if columns]


def _column_figure(schema: Schema, name: str, columns: Sequence[DrawnColumn]) -> Figure:
    title = column_title(schema, name)
    found = [one.column for one in columns]
    first = found[0]
    lines = [" · ".join(part for part in ("" if name.lower() == title.lower() else name, first.unit or "") if part)]
    kind = "KS" if first.bins is not None and first.levels is None else "distance"
    distances = " · ".join(number(column.distance) for column in found)
    lines.append(f"{kind} {distances} (floor {number(first.distance_floor)})")
    if any(share for column in found for share in column.missing_share.values()):
        synthetic = " · ".join(percent(column.missing_share.get("synthetic")) for column in found)
        lines.append(f"missing: real {percent(first.missing_share.get('train'))}, synthetic {synthetic}")
    return Figure(title=title, picture=distribution(title, columns), lines=tuple(line for line in lines if line))


def column_title(schema: Schema, name: str) -> str:
    """How readers know a column."""
    return (schema[name].title if name in schema else None) or name


def correlations(
    generators: Sequence[GeneratorFacts],
) -> list[tuple[str, list[Figure], list[tuple[str, float, float]]]]:
    """Per generator: its title, three matrices (real, synthetic, difference), and the pairs that differ most."""
    found = []
    for place, generator in enumerate(generators):
        comparison = generator.evaluation.correlation
        if comparison is None or len(comparison.names) < 2:
            continue
        difference = [
            [synthetic - real for real, synthetic in zip(*rows, strict=True)]
            for rows in zip(comparison.train, comparison.synthetic, strict=True)
        ]
        pictures = [
            ("Real (training)", comparison.train, 1.0),
            ("Synthetic", comparison.synthetic, 1.0),
            ("Synthetic − real", difference, DIFFERENCE_SCALE),
        ]
        figures = [
            Figure(
                title=title,
                picture=matrix(
                    f"Pearson correlation matrix of {generator.title}: {title}", comparison.names, values, scale
                ),
                lines=(f"full colour at ±{scale:g}",),
                place=place,
            )
            for title, values, scale in pictures
        ]
        found.append((generator.title, figures, worst_pairs(comparison)))
    return found


def worst_pairs(comparison: CorrelationComparison) -> list[tuple[str, float, float]]:
    """The pairs whose correlations differ most: names, real, synthetic."""
    names = comparison.names
    pairs = [
        (f"{names[row]} × {names[column]}", comparison.train[row][column], comparison.synthetic[row][column])
        for row in range(len(names))
        for column in range(row)
    ]
    return sorted(pairs, key=lambda pair: -abs(pair[1] - pair[2]))[:N_WORST_PAIRS]


def two_sample(generators: Sequence[GeneratorFacts]) -> Figure | None:
    """ROC curves of telling real rows from synthetic ones; in ink, real rows from other real rows."""
    found = [(place, generator.evaluation.two_sample) for place, generator in enumerate(generators)]
    if not any(curves for _, curves in found):
        return None
    return _roc_figure("Can a classifier tell them apart?", generators, found)


def utility(generators: Sequence[GeneratorFacts]) -> list[Figure]:
    """Per prediction task and model: ROC on real holdout patients; in ink, trained on real rows."""
    tasks: dict[tuple[str, str], list[tuple[int, list[Curve]]]] = {}
    for place, generator in enumerate(generators):
        for task in generator.evaluation.tasks:
            target = task.target if task.level is None else f"{task.target} = {task.level}"
            tasks.setdefault((target, task.model), []).append((place, task.curves))
    return [_roc_figure(f"{target}, {model} model", generators, found) for (target, model), found in tasks.items()]


def _roc_figure(
    title: str, generators: Sequence[GeneratorFacts], found: Sequence[tuple[int, Sequence[Curve]]]
) -> Figure:
    """Every generator's own curve; in ink one of real rows, which is the same for all."""
    synthetic = [(place, curve) for place, curves in found for curve in curves if "synthetic" in curve.label]
    real = next((curve for _, curves in found for curve in curves if "synthetic" not in curve.label), None)
    lines = [] if real is None else [f"AUC {number(real.auc)} real"]
    lines += [f"AUC {number(curve.auc)} {generators[place].title}" for place, curve in synthetic]
    return Figure(title=title, picture=roc(f"ROC: {title}", real, synthetic), lines=tuple(lines))


MEASURES = {"log_odds": "Log-odds ratio", "risk_difference": "Risk difference"}


def effects(generators: Sequence[GeneratorFacts]) -> list[Figure]:
    """A forest plot per measure of the treatment effect: real training, real holdout, every generator."""
    asked = [(place, generator) for place, generator in enumerate(generators) if generator.evaluation.effect]
    figures = []
    for measure, title in MEASURES.items():
        rows: list[tuple[str, int | None, EffectEstimate]] = []
        truth = None
        for place, generator in asked:
            effect = generator.evaluation.effect
            assert effect is not None  # chosen above
            truth = effect.true_log_odds if measure == "log_odds" else effect.true_risk_difference
            for estimate in effect.estimates:
                if estimate.measure == measure and (estimate.table == "synthetic" or place == asked[0][0]):
                    is_synthetic = estimate.table == "synthetic"
                    label = generator.title if is_synthetic else f"real, {estimate.table}"
                    rows.append((label, place if is_synthetic else None, estimate))
        if rows:
            lines = (f"truth {number(truth)} (dashed)",) if truth is not None else ("the truth is not known",)
            figures.append(Figure(title=title, picture=forest(title, truth, rows), lines=lines))
    return figures


def losses(generators: Sequence[GeneratorFacts]) -> dict[str, Markup]:
    """Generator name to its loss curve, for those that were trained."""
    drawn = {
        generator.name: loss(f"Loss of {generator.title} over epochs", generator.history, place)
        for place, generator in enumerate(generators)
    }
    return {name: picture for name, picture in drawn.items() if picture is not None}
