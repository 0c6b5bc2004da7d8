"""The figures of timelines: which findings go into which picture, with the caption that says what is seen.

What belongs here: choosing and captioning, generators of timelines over each other. What does not: drawing
(`pictures/`), tables (`timelines.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ehr_pipeline.evaluate.timelines.result import (
    MissingnessMap,
    SurvivalCurve,
    TaskModel,
    TimelineEvaluation,
    TimelineTask,
    Trajectory,
)
from ehr_pipeline.report.figures import Figure
from ehr_pipeline.report.numbers import ABSENT, number, percent
from ehr_pipeline.report.pictures.curves import roc
from ehr_pipeline.report.pictures.heat import DIFFERENCE_SCALE, heat_map
from ehr_pipeline.report.pictures.over_time import rate, scale_of, survival, trajectory
from ehr_pipeline.report.pictures.shares import scatter

T = TypeVar("T")
DEATH_WORDS = {"with MEDS_DEATH": "died", "without MEDS_DEATH": "survived"}


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One generator of timelines: its place among all generators (colour), its title, and what was found out."""

    place: int
    name: str
    title: str
    found: TimelineEvaluation


def over_all(
    timed: Sequence[Timed], listed: Callable[[TimelineEvaluation], Iterable[T]], key: Callable[[T], object]
) -> dict[object, list[tuple[Timed, T]]]:
    """The entries of one list of all generators under one key: key to pairs of generator and entry."""
    found: dict[object, list[tuple[Timed, T]]] = {}
    for one in timed:
        for entry in listed(one.found):
            found.setdefault(key(entry), []).append((one, entry))
    return found


def trajectories(timed: Sequence[Timed]) -> list[Figure]:
    """Medians and quartiles of the main numbers, of all patients."""
    found = over_all(timed, lambda one: one.trajectories, lambda entry: entry.code)
    return [_trajectory(pairs, [pairs]) for pairs in found.values()]


def outcome_trajectories(timed: Sequence[Timed]) -> list[tuple[str, list[Figure]]]:
    """Per code its title, and the same of patients with and without the outcome, on one scale."""
    by_code = over_all(timed, lambda one: one.outcome_trajectories, lambda entry: entry.code)
    shown = []
    for pairs in by_code.values():
        by_outcome: dict[str | None, list[tuple[Timed, Trajectory]]] = {}
        for one, entry in pairs:
            by_outcome.setdefault(entry.outcome, []).append((one, entry))
        shown.append((pairs[0][1].title, [_trajectory(own, by_outcome.values()) for own in by_outcome.values()]))
    return shown


def _trajectory(
    pairs: Sequence[tuple[Timed, Trajectory]], on_scale: Iterable[Sequence[tuple[Timed, Trajectory]]]
) -> Figure:
    """One picture, on the scale that all of `on_scale` need."""
    first = pairs[0][1]
    entries = [entry for group in on_scale for _, entry in group]
    title = first.title if first.outcome is None else outcome_words(first.outcome)
    picture = trajectory(
        f"{first.title}, {title}: medians and quartiles over time" if first.outcome else f"{title} over time",
        first.hours,
        first.real,
        [(one.place, entry.synthetic) for one, entry in pairs],
        scale_of([entry.real for entry in entries], [entry.synthetic for entry in entries]),
    )
    lines = [first.unit or "", _counted(first)] if first.outcome is None else [_counted(first)]
    return Figure(title=title, picture=picture, lines=(" · ".join(line for line in lines if line),))


def outcome_words(outcome: str) -> str:
    """An outcome as readers say it.

    >>> outcome_words("with MEDS_DEATH"), outcome_words("without READMITTED")
    ('died', 'without READMITTED')
    """
    return DEATH_WORDS.get(outcome, outcome)


def _counted(entry: Trajectory) -> str:
    known = [n for n in entry.real.n if n]
    return f"{min(known):,} to {max(known):,} real patients a bin" if known else "too few real patients"


def rates(timed: Sequence[Timed]) -> list[Figure]:
    """Events per patient by hour of stay and by hour of day."""
    found = over_all(timed, lambda one: one.rates, lambda entry: entry.by)
    return [
        Figure(
            title=f"By {by}",
            picture=rate(
                f"Events per patient by {by}",
                pairs[0][1].hours,
                pairs[0][1].real,
                [(one.place, entry.synthetic) for one, entry in pairs],
            ),
            lines=("events per patient",),
        )
        for by, pairs in found.items()
    ]


def maps(timed: Sequence[Timed]) -> list[tuple[int, str, list[Figure]]]:
    """Per generator: its place and title, and how many patients have each code in each hour, real beside synthetic."""
    drawn = [one for one in timed if one.found.missingness.codes]
    return [(one.place, one.title, _maps(one.title, one.found.missingness)) for one in drawn]


def _maps(generator: str, found: MissingnessMap) -> list[Figure]:
    difference = [
        [None if real is None else synthetic - real for real, synthetic in zip(*rows, strict=True)]
        for rows in zip(found.real, found.synthetic, strict=True)
    ]
    n_hidden = sum(cell is None for row in found.real for cell in row)
    hidden = ("grey: too few patients, hidden",) if n_hidden else ()
    label = f"Share of patients with each code by hour, {generator}"
    return [
        Figure(
            title=title,
            picture=heat_map(f"{label}: {title}", found.titles, found.hours, cells, kind),
            lines=(words, *marked),
        )
        for title, cells, kind, words, marked in (
            ("Real", found.real, "share", "full colour: all patients", hidden),
            ("Synthetic", found.synthetic, "share", "full colour: all patients", ()),
            ("Synthetic − real", difference, "difference", f"full colour at ±{DIFFERENCE_SCALE:g}", hidden),
        )
    ]


def survivals(timed: Sequence[Timed]) -> list[Figure]:
    """Kaplan-Meier curves with their restricted means."""
    found = over_all(timed, lambda one: one.survival, lambda entry: entry.name)
    return [_survival(pairs) for pairs in found.values()]


def _survival(pairs: Sequence[tuple[Timed, SurvivalCurve]]) -> Figure:
    first = pairs[0][1]
    curves = [(one.place, entry.synthetic) for one, entry in pairs if entry.days == first.days]
    end = f"{first.days[-1]:g}" if first.days else ABSENT
    lines = [f"mean to day {end}: real {number(first.rmst_real)} days"]
    lines += [
        f"{one.title}: {number(entry.rmst_synthetic)} days, largest gap {number(entry.gap)}" for one, entry in pairs
    ]
    picture = survival(f"{first.title}: share of patients left by day", first.days, first.real, curves)
    return Figure(title=first.title, picture=picture, lines=tuple(lines))


def prevalences(timed: Sequence[Timed]) -> Figure | None:
    """How many patients have each of the most common codes, synthetic against real."""
    points = [
        (one.place, [(entry.real, entry.synthetic) for entry in one.found.prevalence if entry.real is not None])
        for one in timed
    ]
    if not any(pairs for _, pairs in points):
        return None
    picture = scatter(
        "Share of patients who have each code, synthetic against real", ("real", "synthetic"), points, is_line=False
    )
    return Figure(title="Share of patients who have a code", picture=picture, lines=("one mark per code",))


def two_sample(timed: Sequence[Timed]) -> Figure | None:
    """ROC curves of telling real stays from synthetic ones; in ink, real stays from other real ones."""
    curves = [
        (one.place, curve, one.title) for one in timed for curve in one.found.two_sample if "synthetic" in curve.label
    ]
    real = next((curve for one in timed for curve in one.found.two_sample if "synthetic" not in curve.label), None)
    if not curves:
        return None
    lines = [] if real is None else [f"AUC {number(real.auc)} real"]
    lines += [f"AUC {number(curve.auc)} {title}" for _, curve, title in curves]
    picture = roc("ROC: telling stays apart", real, [(place, curve) for place, curve, _ in curves])
    return Figure(title="Can a classifier tell stays apart?", picture=picture, lines=tuple(lines))


def tasks(timed: Sequence[Timed]) -> list[tuple[str, str, list[Figure]]]:
    """Per prediction task its title, whom it was tested on, and its ROC and calibration curves."""
    found = over_all(timed, lambda one: one.tasks, lambda entry: entry.name)
    shown = []
    for pairs in found.values():
        first = pairs[0][1]
        said = [f"from the first {first.hours:g} hours"]
        said += [] if first.n_test is None else [f"{first.n_test:,} real holdout patients"]
        said += [] if first.share_positive is None else [f"{percent(first.share_positive)} of them with the event"]
        figures = [one for one in (_task_roc(pairs), _calibration(pairs)) if one is not None]
        shown.append((first.title, ", ".join(said), figures))
    return shown


def models_of(pairs: Sequence[tuple[Timed, TimelineTask]]) -> list[tuple[Timed | None, TaskModel]]:
    """The model of real patients, once (without a generator), then each generator's."""
    real = [(None, model) for _, task in pairs for model in task.models if model.trained_on == "real"][:1]
    own = [(one, model) for one, task in pairs for model in task.models if model.trained_on == "synthetic"]
    return [*real, *own]


def _task_roc(pairs: Sequence[tuple[Timed, TimelineTask]]) -> Figure | None:
    models = [(one, model.curve) for one, model in models_of(pairs) if model.curve is not None]
    curves = [(one.place, curve) for one, curve in models if one is not None]
    if not models:
        return None
    real = next((curve for one, curve in models if one is None), None)
    lines = tuple(f"AUC {number(curve.auc)} {one.title if one else 'real'}" for one, curve in models)
    return Figure(title="ROC", picture=roc(f"ROC: {pairs[0][1].title}", real, curves), lines=lines)


def _calibration(pairs: Sequence[tuple[Timed, TimelineTask]]) -> Figure | None:
    models = [(one, model) for one, model in models_of(pairs) if model.calibration]
    if not models:
        return None
    points = [
        (one.place if one else None, [(point.predicted, point.observed) for point in model.calibration])
        for one, model in models
    ]
    lines = tuple(f"slope {number(m.calibration_slope)} {one.title if one else 'real'}" for one, m in models)
    label = f"Calibration: {pairs[0][1].title}"
    picture = scatter(label, ("predicted risk", "observed"), points, is_line=True)
    return Figure(title="Calibration", picture=picture, lines=lines)
