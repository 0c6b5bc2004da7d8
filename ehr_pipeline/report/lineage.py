"""The lineage section: source, flow of the cohort, columns, and what is needed to make the numbers again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ehr_pipeline.report.inputs import GeneratorFacts, ReportInputs
from ehr_pipeline.report.limits import patients
from ehr_pipeline.report.numbers import count, number
from ehr_pipeline.report.pairs import verbatim
from ehr_pipeline.report.smallcells import HIDDEN, shown_flow
from ehr_pipeline.report.tables import Table


def lineage_view(inputs: ReportInputs) -> dict[str, Any]:
    """What `lineage.html` shows."""
    cohort, lineage = inputs.cohort, inputs.lineage
    flow = shown_flow(cohort.flow)
    rows = tuple(
        (label, f"about {count(left)}" if is_rounded else patients(left), _left_out(out) if place else "")
        for place, (label, left, out, is_rounded) in enumerate(flow)
    )
    return {
        "source_facts": [
            ("Source", lineage.source),
            ("Kind", _kind(inputs)),
            *([] if inputs.is_of_files else [("Definition, SHA-256", cohort.definition_sha256)]),
            ("Report made", lineage.made_at),
        ],
        "flow": Table(heads=("Criterion", "Patients left", "Left out"), rows=rows) if rows else None,
        "flow_is_rounded": any(is_rounded for *_, is_rounded in flow),
        "columns": Table(
            heads=("Column", "Kind", "Unit", "Range", "Role"),
            rows=tuple(
                (c.name, c.kind, c.unit or "", _range(c.minimum, c.maximum), c.role) for c in inputs.schema.columns
            ),
        ),
        "manifest": [
            ("Hashes (SHA-256)", verbatim(lineage.hashes)),
            ("Seeds", verbatim(lineage.seeds)),
            ("Versions", verbatim(lineage.versions)),
            ("When each stage ran", verbatim(lineage.dates)),
            ("Settings", verbatim(lineage.settings)),
        ],
        "manifest_details": [
            ("Evaluation", verbatim(_provenance(inputs.generators))),
            ("Rows of the source", [(name, patients(n)) for name, n in lineage.source_rows.items()]),
        ],
    }


def _kind(inputs: ReportInputs) -> str:
    if inputs.is_of_files:
        return "files compared as they are"
    return "simulated hospital, truth known" if inputs.lineage.is_simulated else "hospital records"


def _left_out(n: int | None) -> str:
    return HIDDEN if n is None else count(n)


def _provenance(generators: Sequence[GeneratorFacts]) -> dict[str, Any]:
    """What evaluations say of themselves: once where all say the same, else by generator."""
    said = {one.name: one.evaluation.provenance for one in generators}
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for provenance in said.values() for name in provenance):
        values = {generator: provenance[name] for generator, provenance in said.items() if name in provenance}
        first = next(iter(values.values()))
        if len(values) == len(said) and all(value == first for value in values.values()):
            found[name] = first
        else:
            found |= {f"{name}, {generator}": value for generator, value in values.items()}
    return found


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None and high is None else f"{number(low)} to {number(high)}"
