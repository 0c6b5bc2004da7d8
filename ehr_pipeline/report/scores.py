"""Every number of the report as plain JSON: `report/scores.json`.

What belongs here: its shape. What does not: any new number. NaN and infinity become null.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from ehr_pipeline.report import verdicts
from ehr_pipeline.report.inputs import GeneratorFacts, ReportInputs
from ehr_pipeline.report.smallcells import is_small, shown_flow

DECIMALS = 6


def report_scores(inputs: ReportInputs) -> dict[str, Any]:
    """Content of `report/scores.json`. `inputs` must have its small cells hidden already."""
    cohort, lineage = inputs.cohort, inputs.lineage
    content = {
        "cohort": {
            "name": cohort.name,
            "title": cohort.title,
            "definition_sha256": cohort.definition_sha256,
            "is_small": cohort.is_small,
            **{name: _patients(getattr(cohort, name)) for name in ("n_patients", "n_train", "n_holdout")},
            "flow": [
                {"label": label, "n_left": _patients(left), "n_left_out": out, "is_rounded": is_rounded}
                for label, left, out, is_rounded in shown_flow(cohort.flow)
            ],
        },
        "lineage": {
            "source": lineage.source,
            "is_simulated": lineage.is_simulated,
            "made_at": lineage.made_at,
            "hashes": dict(lineage.hashes),
            "source_rows": {name: _patients(n) for name, n in lineage.source_rows.items()},
            "versions": dict(lineage.versions),
            "seeds": dict(lineage.seeds),
            "dates": dict(lineage.dates),
            "settings": dict(lineage.settings),
        },
        "schema": inputs.schema.model_dump(mode="json", exclude_none=True),
        "real_sanity": inputs.real_sanity,
        "analyses": None if inputs.analyses is None else [asdict(one) for one in inputs.analyses],
        "generators": {
            generator.name: {"title": generator.title, "tier": card.tier, **_generator(generator, card)}
            for generator, card in zip(inputs.generators, verdicts.cards(inputs), strict=True)
        },
    }
    return finite(content)


def _generator(generator: GeneratorFacts, card: verdicts.Card) -> dict[str, Any]:
    evaluation = generator.evaluation.model_dump(mode="json")
    evaluation["n_rows"] = {table: _patients(n) for table, n in evaluation["n_rows"].items()}
    for name, score in evaluation["scores"].items():
        score["verdict"] = verdicts.shown_verdict(generator.evaluation.scores[name], generator.evaluation.attacks)
    return {
        "release_class": verdicts.RELEASE_CLASS,
        "verdict": card.state,
        "dimensions": {
            one.dimension: {"state": one.state, "n_gates": one.n_gates, "failed": list(one.failed)}
            for one in card.dimensions
        },
        **evaluation,
        "sanity": generator.sanity,
        "reviews": None if generator.reviews is None else asdict(generator.reviews),
        "privacy": generator.privacy,
        "config": dict(generator.config),
        "facts": dict(generator.facts),
        "history": [dict(record) for record in generator.history],
    }


def _patients(n: int) -> int | None:
    return None if is_small(n) else n


def finite(content: Any) -> Any:
    """The content with every number rounded to `DECIMALS`, and None where it is not finite."""
    if isinstance(content, float):
        return round(content, DECIMALS) if math.isfinite(content) else None
    if isinstance(content, dict):
        return {str(name): finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if content is None or isinstance(content, bool | int | str):
        return content
    return finite(content.item()) if hasattr(content, "item") else str(content)
