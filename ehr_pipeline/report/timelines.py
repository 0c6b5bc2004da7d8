"""What the page shows of timelines, under the names that its templates use; nothing where no generator makes them.

What belongs here: tables, words, and the order of the sections. What does not: figures (`trajectories.py`), reading
synthetic patients (`viewer.py`), analyses (`analyses.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from ehr_pipeline.evaluate.timelines.result import TaskModel
from ehr_pipeline.report import figures, tables, trajectories
from ehr_pipeline.report.analyses_view import analyses_view
from ehr_pipeline.report.inputs import GeneratorFacts, ReportInputs
from ehr_pipeline.report.numbers import ABSENT, count, interval, number, percent, position
from ehr_pipeline.report.patients_view import patients_view
from ehr_pipeline.report.tables import Table
from ehr_pipeline.report.trajectories import Timed

BASELINE = "timeline_markov"
"""The generator that every learned one must beat."""
MEAN = "mean_normalised"
CONTENTS = (
    ("timelines", "Timelines"),
    ("trajectories", "Trajectories"),
    ("measurement", "What is measured, and when"),
    ("survival", "Survival and prediction"),
    ("plausibility", "Plausible patients"),
    ("analyses", "Analyses of MIMIC-IV"),
    ("patients", "Synthetic patients to review"),
)
N_CODES_SHOWN = 40


def timeline_contents(inputs: ReportInputs) -> list[tuple[str, str]]:
    """Anchors and titles of the sections that these findings fill, in order."""
    found = [timed.found for timed in timed_of(inputs.generators)]
    has = {
        "timelines": bool(found),
        "trajectories": any(one.trajectories for one in found),
        "measurement": bool(found),
        "survival": any(one.survival or one.tasks for one in found),
        "plausibility": bool(found),
        "analyses": inputs.analyses is not None,
        "patients": any(one.viewer for one in inputs.generators),
    }
    return [(anchor, title) for anchor, title in CONTENTS if has[anchor]]


def timed_of(generators: Sequence[GeneratorFacts]) -> list[Timed]:
    """The generators whose events were evaluated."""
    return [
        Timed(place=place, name=one.name, title=one.title, found=one.evaluation.timelines)
        for place, one in enumerate(generators)
        if one.evaluation.timelines is not None
    ]


def timelines_view(inputs: ReportInputs, keys: Sequence[Markup]) -> dict[str, Any]:
    """What the templates of the sections of `CONTENTS` show."""
    generators = inputs.generators
    timed, facts = timed_of(generators), _as_facts(generators)
    return {
        "timed_legend": [(keys[one.place], one.title) for one in timed],
        "timeline_summary": _summary(timed),
        "baseline_is_absent": bool(timed) and BASELINE not in {one.name for one in timed} and not inputs.is_of_files,
        "baseline": BASELINE,
        "timeline_strip": figures.score_strip(facts, "events shuffled"),
        "timeline_key_scores": tables.key_scores(facts),
        "timeline_scores": tables.all_scores(facts),
        "timeline_two_sample": trajectories.two_sample(timed),
        "timeline_notes": list(dict.fromkeys(note for one in timed for note in one.found.notes)),
        "trajectories": trajectories.trajectories(timed),
        "outcome_trajectories": trajectories.outcome_trajectories(timed),
        "maps": trajectories.maps(timed),
        "rates": trajectories.rates(timed),
        "prevalence": trajectories.prevalences(timed),
        "prevalence_table": _prevalence(timed),
        "code_values": _values(timed),
        "transitions": _transitions(timed),
        "survivals": trajectories.survivals(timed),
        "timeline_tasks": trajectories.tasks(timed),
        "task_scores": _task_scores(timed),
        **_plausibility(timed),
        **analyses_view(inputs),
        **patients_view(inputs),
    }


def _as_facts(generators: Sequence[GeneratorFacts]) -> list[GeneratorFacts]:
    """Generators whose scores are those of their events; each keeps its place, and those without events have none."""
    found = []
    for one in generators:
        own = one.evaluation.timelines
        update = {"scores": own.scores if own else {}, "attacks": []}
        found.append(replace(one, evaluation=one.evaluation.model_copy(update=update)))
    return found


def _mean(one: Timed) -> float | None:
    score = one.found.scores.get(MEAN)
    return None if score is None else score.value


def _summary(timed: Sequence[Timed]) -> Table | None:
    """Mean normalised error of each generator, and what that is of the baseline's."""
    means = {one.name: _mean(one) for one in timed}
    floor = means.get(BASELINE)
    rows = [
        (
            one.title,
            position(mean),
            percent(mean / floor) if mean is not None and floor else ABSENT,
            count(one.found.n_patients.get("synthetic")),
            count(one.found.n_events.get("synthetic")),
        )
        for one in timed
        for mean in (means[one.name],)
    ]
    heads = ("", "Mean normalised error", "of the baseline's", "Synthetic patients", "Events")
    return Table(heads=heads, rows=tuple(rows)) if rows else None


def _prevalence(timed: Sequence[Timed]) -> Table | None:
    found = trajectories.over_all(timed, lambda one: one.prevalence, lambda entry: entry.code)
    rows = []
    for pairs in list(found.values())[:N_CODES_SHOWN]:
        shares = {one.name: entry.synthetic for one, entry in pairs}
        rows.append((pairs[0][1].title, _share(pairs[0][1].real), *(percent(shares.get(one.name)) for one in timed)))
    return Table(heads=("", "Real", *(one.title for one in timed)), rows=tuple(rows)) if rows else None


def _values(timed: Sequence[Timed]) -> Table | None:
    """KS distance of each code's values, worst first."""
    found = trajectories.over_all(timed, lambda one: one.values, lambda entry: entry.code)
    ordered = sorted(found.values(), key=lambda pairs: -max(entry.distance for _, entry in pairs))
    rows = []
    for pairs in ordered[:N_CODES_SHOWN]:
        first, own = pairs[0][1], {one.name: entry for one, entry in pairs}
        cells = [first.title, number(first.median_real), number(first.floor)]
        for one in timed:
            entry = own.get(one.name)
            cells += [number(entry.distance), number(entry.median_synthetic)] if entry else [ABSENT, ABSENT]
        rows.append(tuple(cells))
    heads = ["", "Real median", "Floor"]
    for one in timed:
        heads += [f"{one.title}: KS", "median"]
    return Table(heads=tuple(heads), rows=tuple(rows)) if rows else None


def _transitions(timed: Sequence[Timed]) -> Table | None:
    found = trajectories.over_all(timed, lambda one: one.transitions, lambda entry: (entry.code, entry.next_code))
    rows = []
    for pairs in list(found.values())[:N_CODES_SHOWN]:
        first, own = pairs[0][1], {one.name: entry.synthetic for one, entry in pairs}
        cells = (percent(own.get(one.name)) for one in timed)
        rows.append((f"{first.code} → {first.next_code}", percent(first.real), *cells))
    return Table(heads=("", "Real", *(one.title for one in timed)), rows=tuple(rows)) if rows else None


def _task_scores(timed: Sequence[Timed]) -> Table | None:
    found = trajectories.over_all(timed, lambda one: one.tasks, lambda entry: entry.name)
    rows = [
        (f"{pairs[0][1].title}: trained on {model.trained_on}{f', {one.title}' if one else ''}", *_measures(model))
        for pairs in found.values()
        for one, model in trajectories.models_of(pairs)
    ]
    heads = ("", "AUROC", "AUPRC", "Calibration slope", "Calibration error", "R²")
    return Table(heads=heads, rows=tuple(rows)) if rows else None


def _measures(model: TaskModel) -> tuple[str, ...]:
    found = (model.auroc, model.auprc, model.calibration_slope, model.calibration_error, model.r2)
    return tuple(number(value) for value in found)


def _share(share: float | None) -> str:
    return "hidden" if share is None else percent(share)


def _plausibility(timed: Sequence[Timed]) -> dict[str, Any]:
    """Shares of patients with any inconsistency, then by rule; rules that could not be run."""
    rows = [
        (
            one.title,
            _share(found.real_share),
            percent(found.synthetic_share),
            interval_percent(found.low, found.high),
            count(found.n_rules),
        )
        for one in timed
        for found in (one.found.plausibility,)
    ]
    by_rule = trajectories.over_all(timed, lambda one: one.plausibility.by_rule, lambda rule: rule.rule)
    shown = []
    for pairs in by_rule.values():
        rule, own = pairs[0][1], {one.name: entry.synthetic for one, entry in pairs}
        if not any(share for share in (rule.real, *own.values())) and rule.real is not None:
            continue
        mark = "" if rule.confirmed else "°"
        cells = (percent(own.get(one.name)) for one in timed)
        shown.append((f"{rule.rule}{mark}: {rule.title}", rule.severity, _share(rule.real), *cells))
    heads = ("", "Severity", "Real", *(one.title for one in timed))
    return {
        "any_inconsistency": Table(
            heads=("", "Real patients", "Synthetic patients", "95 % interval", "Rules checked"),
            rows=tuple(rows),
        ),
        "inconsistency_by_rule": Table(heads=heads, rows=tuple(shown)) if shown else None,
        "n_rules_kept": len(by_rule) - len(shown),
        "rules_not_run": list(dict.fromkeys(rule for one in timed for rule in one.found.plausibility.not_run)),
    }


def interval_percent(low: float | None, high: float | None) -> str:
    """An interval of shares in per cent, or nothing.

    >>> interval_percent(0.1, 0.25), interval_percent(None, 0.2)
    ('[10.0, 25.0] %', '')
    """
    return "" if low is None or high is None else f"{interval(100 * low, 100 * high)} %"
