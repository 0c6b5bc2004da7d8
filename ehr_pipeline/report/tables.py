"""The tables of the page, as rows of text: scores, epidemiology, subgroups, rules, rejections.

What belongs here: findings of several generators brought side by side. What does not: how a table looks (`page/`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ehr_pipeline.evaluate.result import EpidemiologyRow, Evaluation, Score
from ehr_pipeline.report import metrics
from ehr_pipeline.report.inputs import GeneratorFacts
from ehr_pipeline.report.numbers import ABSENT, count, interval, number, percent, position
from ehr_pipeline.report.pictures.strips import bar
from ehr_pipeline.report.sanity_view import Rejection, RuleLine, SanityView
from ehr_pipeline.report.smallcells import HIDDEN
from ehr_pipeline.report.verdicts import shown_verdict


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One generator's score, ready to be shown."""

    generator: str
    place: int
    value: str
    interval: str
    floor: str
    null: str
    normalised: str
    threshold: str
    bar: Markup | None
    verdict: str
    note: str | None


@dataclass(frozen=True, kw_only=True)
class ScoreGroup:
    """One metric with its row per generator."""

    title: str
    name: str
    plain: str | None
    rows: tuple[ScoreRow, ...]

    @property
    def has_bar(self) -> bool:
        """Whether some row stands between floor and null."""
        return any(row.bar is not None for row in self.rows)

    @property
    def shared_note(self) -> str | None:
        """The note of every row, where it is the same."""
        notes = {row.note for row in self.rows}
        return notes.pop() if len(notes) == 1 else None


def key_scores(generators: Sequence[GeneratorFacts]) -> list[ScoreGroup]:
    """The side-by-side comparison."""
    return _groups(generators, metrics.key_names(_names(generators)))


def all_scores(generators: Sequence[GeneratorFacts]) -> list[ScoreGroup]:
    """Every score, in the order met."""
    return _groups(generators, _names(generators))


def scores_of(generators: Sequence[GeneratorFacts], dimension: str) -> list[ScoreGroup]:
    """Every score of one dimension."""
    names = [
        name
        for name in _names(generators)
        if any(name in g.evaluation.scores and g.evaluation.scores[name].dimension == dimension for g in generators)
    ]
    return _groups(generators, names)


def _names(generators: Sequence[GeneratorFacts]) -> list[str]:
    """Names of all scores, each once, in the order met."""
    return list(dict.fromkeys(name for generator in generators for name in generator.evaluation.scores))


def _groups(generators: Sequence[GeneratorFacts], names: Sequence[str]) -> list[ScoreGroup]:
    return [
        ScoreGroup(
            title=metrics.title(name),
            name=name,
            plain=metrics.plain(name),
            rows=tuple(
                _row(place, generator, generator.evaluation.scores[name])
                for place, generator in enumerate(generators)
                if name in generator.evaluation.scores
            ),
        )
        for name in names
    ]


def _row(place: int, generator: GeneratorFacts, score: Score) -> ScoreRow:
    attacks = generator.evaluation.attacks
    verdict = shown_verdict(score, attacks)
    note = score.note if score.note or verdict == score.verdict else "the attack missed its planted leak"
    return ScoreRow(
        generator=generator.title,
        place=place,
        value=number(score.value),
        interval=interval(score.low, score.high),
        floor=number(score.floor),
        null=number(score.null),
        normalised=position(score.normalised),
        threshold=number(score.threshold),
        bar=bar(score, place),
        verdict=verdict,
        note=note,
    )


@dataclass(frozen=True, kw_only=True)
class Table:
    """A plain table: column heads (the first heads the row names) and rows."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def epidemiology(generators: Sequence[GeneratorFacts]) -> Table | None:
    """Real, then synthetic and difference per generator, in the order of the first generator's rows."""
    by_generator = [{(row.label, row.unit): row for row in g.evaluation.epidemiology} for g in generators]
    keys = list(dict.fromkeys(key for rows in by_generator for key in rows))
    if not keys:
        return None
    heads = ["", "Real"]
    for generator in generators:
        heads += [generator.title, "difference"]
    rows = []
    for key in keys:
        label, unit = key
        real = next((rows[key] for rows in by_generator if key in rows), None)
        cells = [f"{label} ({unit})" if unit else label, _hidden_or(real and real.real)]
        for found in by_generator:
            row: EpidemiologyRow | None = found.get(key)
            cells += [number(row.synthetic) if row else ABSENT, number(row.difference) if row else ABSENT]
        rows.append(tuple(cells))
    return Table(heads=tuple(heads), rows=tuple(rows))


def _hidden_or(value: float | None) -> str:
    return "hidden" if value is None else number(value)


def subgroups(generators: Sequence[GeneratorFacts]) -> list[tuple[str, Table]]:
    """Per generator: its title and its table of subgroups."""
    return [(g.title, _subgroups(g.evaluation)) for g in generators if g.evaluation.subgroups]


def _subgroups(evaluation: Evaluation) -> Table:
    names = list(dict.fromkeys(name for group in evaluation.subgroups for name in group.scores))
    heads = ("", "Real patients", "Synthetic rows", "Share ratio", *(metrics.title(name) for name in names))
    rows = tuple(
        (
            f"{group.column}: {group.level}",
            HIDDEN if group.n_real is None else count(group.n_real),
            count(group.n_synthetic),
            number(group.share_ratio, 2),
            *(number(group.scores.get(name)) for name in names),
        )
        for group in evaluation.subgroups
    )
    return Table(heads=heads, rows=rows)


@dataclass(frozen=True, kw_only=True)
class RuleRow:
    """One clinical rule: what it says, and how often it is broken in real and synthetic records."""

    key: str
    title: str
    severity: str
    heading: str
    sources: str
    is_confirmed: bool
    real: str
    synthetic: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    is_broken: bool


def rules(real: SanityView | None, views: Sequence[SanityView | None]) -> tuple[list[RuleRow], int, int]:
    """Rules, per generator the share that breaks each and the verdict.

    Returns
    -------
    The rows of clinical rules, and of schema rules that are broken somewhere; how many schema rules hold everywhere;
    how many rules found no column to read in any table.
    """
    tables = [{line.key: line for line in view.rules} if view else {} for view in (real, *views)]
    lines = {line.key: line for found in reversed(tables) for line in found.values()}
    rows, n_schema_rules, n_not_applicable = [], 0, 0
    for key in dict.fromkeys(key for found in tables for key in found):
        found = [table.get(key) for table in tables]
        applicable = [line for line in found if line is not None and line.is_applicable]
        if not applicable:
            n_not_applicable += 1
        elif not lines[key].is_clinical and not any(line.n_failed != 0 for line in applicable):
            n_schema_rules += 1
        else:
            rows.append(_rule_row(lines[key], found[0], found[1:]))
    return rows, n_schema_rules, n_not_applicable


def _rule_row(line: RuleLine, real: RuleLine | None, synthetic: Sequence[RuleLine | None]) -> RuleRow:
    found = [one for one in (real, *synthetic) if one is not None]
    return RuleRow(
        key=line.key,
        title=line.title,
        severity=line.severity,
        heading=line.heading,
        sources=", ".join(line.sources),
        is_confirmed=line.is_confirmed,
        real=real.shown_share if real else ABSENT,
        synthetic=tuple((one.shown_share, one.state) if one else (ABSENT, "not run") for one in synthetic),
        notes=tuple(dict.fromkeys(one.note for one in found if one.note)),
        is_broken=any(one.n_failed != 0 or one.state in ("failed", "could not run", "demoted") for one in found),
    )


def rejections(
    generators: Sequence[GeneratorFacts],
    views: Sequence[SanityView | None],
    lines: Callable[[SanityView], Sequence[Rejection]],
) -> Table | None:
    """One table of rejection shares, labels down and generators across."""
    by_generator = [{line.label: line for line in lines(view)} if view else {} for view in views]
    labels = list(dict.fromkeys(label for found in by_generator for label in found))
    if not labels:
        return None
    rows = [
        (label, *(_rejected(found[label]) if label in found else ABSENT for found in by_generator)) for label in labels
    ]
    return Table(heads=("", *(generator.title for generator in generators)), rows=tuple(rows))


def _rejected(line: Rejection) -> str:
    return f"{percent(line.share)} ({count(line.n_rejected)} of {count(line.n_drawn)})"


def shifts(
    generators: Sequence[GeneratorFacts], views: Sequence[SanityView | None], at_least: float = 0.0
) -> Table | None:
    """How far rejection moved each column, in standard deviations of the rows drawn; unmoved columns are left out."""
    by_generator = [{shift.label: shift.shift_sd for shift in view.shifts} if view else {} for view in views]
    labels = list(dict.fromkeys(label for found in by_generator for label in found))
    moved = [label for label in labels if any(abs(found.get(label) or 0.0) > at_least for found in by_generator)]
    rows = [(label, *(number(found.get(label), 2) for found in by_generator)) for label in moved]
    return Table(heads=("", *(g.title for g in generators)), rows=tuple(rows)) if rows else None
