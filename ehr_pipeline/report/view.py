"""Everything that the page shows, under the names that its templates use.

What belongs here: bringing figures, tables, verdicts and words together. What does not: making any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from ehr_pipeline.record import SMALL_CELL
from ehr_pipeline.report import controls, figures, metrics, svg, tables, verdicts
from ehr_pipeline.report.inputs import GeneratorFacts, ReportInputs
from ehr_pipeline.report.limits import CONTEXT_OF_USE, PROHIBITED_USES, limits, patients
from ehr_pipeline.report.lineage import lineage_view
from ehr_pipeline.report.numbers import count, number
from ehr_pipeline.report.pairs import named, pairs
from ehr_pipeline.report.promise import SPENT_HEADS, promises, spent_rows
from ehr_pipeline.report.sanity_view import SanityView, read_sanity
from ehr_pipeline.report.tables import RuleRow, ScoreGroup, Table
from ehr_pipeline.report.timelines import timeline_contents, timelines_view

CONTENTS = (
    ("verdict", "Verdict"),
    ("compared", "Generators side by side"),
    ("fidelity", "Fidelity"),
    ("utility", "Utility"),
    ("causal", "Causal"),
    ("privacy", "Privacy"),
    ("subgroups", "Subgroups"),
    ("sanity", "Clinical sanity"),
    ("epidemiology", "Epidemiology"),
    ("generators", "Generators"),
    ("lineage", "Data lineage"),
    ("limits", "Limits"),
    ("glossary", "Glossary"),
)


def view(inputs: ReportInputs) -> dict[str, Any]:
    """The context of `page.html`. `inputs` must have its small cells hidden already."""
    generators = inputs.generators
    keys = [_key(place) for place in range(len(generators))]
    content = {
        "cohort": inputs.cohort,
        "lineage": inputs.lineage,
        "generators": generators,
        "keys": keys,
        "is_of_files": inputs.is_of_files,
        "facts": _facts(inputs),
        "limits": limits(inputs),
        "small_cell": SMALL_CELL,
        "promises": promises(generators),
        "audits": [(one.title, one.audit) for one in generators if one.audit],
        "unpromised": [one.title for one in generators if one.privacy is None],
        "spent": Table(heads=SPENT_HEADS, rows=spent_rows(inputs.spent)) if inputs.spent else None,
        "release_class": verdicts.RELEASE_CLASS,
        "context_of_use": CONTEXT_OF_USE,
        "prohibited_uses": PROHIBITED_USES,
        "strip": figures.score_strip(generators),
        "key_scores": tables.key_scores(generators),
        "scores_of": {dimension: tables.scores_of(generators, dimension) for dimension in verdicts.DIMENSIONS},
        **_fidelity(inputs),
        "utility": figures.utility(generators),
        "effect": next((g.evaluation.effect for g in generators if g.evaluation.effect), None),
        "effects": figures.effects(generators),
        **_privacy(generators),
        "subgroups": tables.subgroups(generators),
        **_sanity(inputs),
        "epidemiology": tables.epidemiology(generators),
        "losses": figures.losses(generators),
        "generator_facts": {one.name: pairs(named(one.facts)) for one in generators},
        "generator_settings": {one.name: pairs(one.config) for one in generators},
        **timelines_view(inputs, keys),
        **lineage_view(inputs),
        **_glossary(generators),
    }
    return content | {"contents": _contents(inputs, content)}


def _contents(inputs: ReportInputs, content: dict[str, Any]) -> list[tuple[str, str]]:
    """Anchors and titles of the sections; those of timelines stand where some generator makes them.

    A report of files has no section that needs a cohort or was not asked for.
    """
    after = next(place for place, (anchor, _) in enumerate(CONTENTS) if anchor == "compared") + 1
    contents = [*CONTENTS[:after], *timeline_contents(inputs), *CONTENTS[after:]]
    if not inputs.is_of_files:
        return contents
    has = {
        "utility": bool(content["utility"]),
        "causal": content["effect"] is not None,
        "subgroups": bool(content["subgroups"]),
        "sanity": False,
        "generators": False,
        **dict.fromkeys(("compared", "fidelity", "epidemiology"), bool(inputs.schema.columns)),
    }
    titles = {"compared": "Key scores"}
    return [(anchor, titles.get(anchor, title)) for anchor, title in contents if has.get(anchor, True)]


def _key(place: int) -> Markup:
    """The mark of a generator as it stands in legends: its line and its shape."""
    parts = [svg.line(1, 7, 25, 7, f"line {svg.colour(place)}"), svg.marker(13, 7, place, 4.2)]
    return Markup('<svg class="key" viewBox="0 0 26 14" aria-hidden="true">{}</svg>').format(Markup("").join(parts))


def _facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    cohort, lineage = inputs.cohort, inputs.lineage
    if inputs.is_of_files:
        what = "Synthetic rows" if inputs.schema.columns else "Synthetic patients"
        made = [(what, count(one.evaluation.n_rows["synthetic"])) for one in inputs.generators]
    else:
        made = [("Generators", count(len(inputs.generators)))]
    return [
        ("Patients", patients(cohort.n_patients)),
        ("Training", patients(cohort.n_train)),
        ("Holdout", patients(cohort.n_holdout)),
        *made,
        *([("Columns", count(len(inputs.schema.columns)))] if inputs.schema.columns else []),
        ("Source", lineage.source),
        ("Made", lineage.made_at[:16].replace("T", " ")),
    ]


def _fidelity(inputs: ReportInputs) -> dict[str, Any]:
    correlations = [
        (
            title,
            pictures,
            Table(
                heads=("", "Real", "Synthetic", "Difference"),
                rows=tuple((names, number(r, 2), number(s, 2), number(s - r, 2)) for names, r, s in pairs),
            ),
        )
        for title, pictures, pairs in figures.correlations(inputs.generators)
    ]
    return {
        "distributions": figures.distributions(inputs.schema, inputs.generators),
        "correlations": correlations,
        "two_sample": figures.two_sample(inputs.generators),
    }


def _privacy(generators: Sequence[GeneratorFacts]) -> dict[str, Any]:
    """Attacks by name, each with its controls and scores over all generators; then what belongs to no attack."""
    groups = tables.scores_of(generators, "privacy")
    by_name: dict[str, ScoreGroup] = {group.name: group for group in groups}
    attacks = {attack.name: attack for g in generators for attack in g.evaluation.attacks}
    shown: list[dict[str, Any]] = []
    taken: set[str] = set()
    for name, attack in attacks.items():
        mine = [by_name[score] for score in attack.score_names if score in by_name and score not in taken]
        taken |= {group.name for group in mine}
        control = controls.control(generators, name)
        shown.append({"name": name, "question": attack.question, "control": control, "groups": mine})
    rest = [group for group in groups if group.name not in taken]
    return {"attacks": shown, "plants": controls.overview(generators), "privacy_rest": rest}


def _sanity(inputs: ReportInputs) -> dict[str, Any]:
    real, views = read_views(inputs)
    rows, n_schema_rules, n_not_applicable = tables.rules(real, views)
    rejected = tables.rejections(inputs.generators, views, lambda one: [one.rejected] if one.rejected else [])
    return {
        "cards": verdicts.cards(inputs),
        "broken_rules": _by_heading([row for row in rows if row.is_broken]),
        "held_rules": _by_heading([row for row in rows if not row.is_broken]),
        "n_held_rules": sum(not row.is_broken for row in rows),
        "n_schema_rules": n_schema_rules,
        "n_not_applicable": n_not_applicable,
        "rejected": rejected,
        "rejected_by_rule": tables.rejections(inputs.generators, views, lambda one: one.by_rule),
        "rejected_by_subgroup": tables.rejections(inputs.generators, views, lambda one: one.by_subgroup),
        "shifts": tables.shifts(inputs.generators, views),
    }


def _by_heading(rows: Sequence[RuleRow]) -> list[tuple[str, list[RuleRow]]]:
    """Rules under Kahn's headings (conformance, completeness, plausibility)."""
    return [
        (heading, [row for row in rows if row.heading == heading]) for heading in dict.fromkeys(r.heading for r in rows)
    ]


def read_views(inputs: ReportInputs) -> tuple[SanityView | None, list[SanityView | None]]:
    """Sanity of the real table, and of every generator's."""
    return read_sanity(inputs.real_sanity, "real"), [read_sanity(g.sanity, "synthetic") for g in inputs.generators]


def _glossary(generators: Sequence[GeneratorFacts]) -> dict[str, Any]:
    of_events = [g.evaluation.timelines.scores for g in generators if g.evaluation.timelines]
    stems = dict.fromkeys(
        metrics.base(name) for scores in (*(g.evaluation.scores for g in generators), *of_events) for name in scores
    )
    meanings = [(stem, metrics.title(stem), metrics.plain(stem)) for stem in stems if metrics.plain(stem)]
    return {"words": list(metrics.glossary().words.items()), "meanings": meanings}
