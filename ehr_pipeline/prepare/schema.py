"""The schema of a cohort's patient table, from its definition and the clinical catalogue alone.

What belongs here: what is publicly known about each column. No function here takes a table.
"""

from __future__ import annotations

from typing import Any

from ehr_pipeline.clinical.items import load_items
from ehr_pipeline.clinical.vocabularies import load_vocabularies
from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.facts import FACTS
from ehr_pipeline.cohort.features import (
    DiagnosisFeature,
    DrugFeature,
    FactFeature,
    FollowUpFeature,
    ItemFeature,
    SingleFeature,
)
from ehr_pipeline.cohort.table import decimals_of
from ehr_pipeline.record import Column, Schema

STATISTIC_TITLES = {
    "first": "first",
    "last": "last",
    "min": "minimum",
    "max": "maximum",
    "mean": "mean",
    "count": "number of values",
}


def build_schema(definition: CohortDefinition) -> Schema:
    """The columns of the definition, in order, with all that is publicly known about them."""
    features = list(definition.columns.values())
    items = [feature.item for feature in features if isinstance(feature, ItemFeature)]
    return Schema(
        columns=tuple(
            Column(name=name, role=definition.role(name), **_known(feature, items))
            for name, feature in definition.columns.items()
        )
    )


def _known(feature: SingleFeature, items: list[str]) -> dict[str, Any]:
    """What is known about a feature; `items` are those of the whole cohort, one entry per column."""
    if isinstance(feature, ItemFeature):
        return _known_of_item(feature, is_alone=items.count(feature.item) == 1)
    if isinstance(feature, FactFeature):
        return _known_of_fact(feature)
    return {"kind": "binary", "missing": False, "title": feature.title or _default_title(feature)}


def _default_title(feature: DiagnosisFeature | DrugFeature | FollowUpFeature) -> str:
    if isinstance(feature, FollowUpFeature):
        return f"{feature.follow_up.capitalize()} within {feature.days} days"
    return feature.code_set.title if isinstance(feature, DiagnosisFeature) else feature.drug_class.title


def _known_of_item(feature: ItemFeature, *, is_alone: bool) -> dict[str, Any]:
    item, statistic, decimals = load_items()[feature.item], feature.statistic, decimals_of(feature)
    title = item.title if is_alone and statistic != "count" else f"{item.title}, {STATISTIC_TITLES[statistic]}"
    known = {"item": item.name, "statistic": statistic, "title": feature.title or title}
    if statistic == "count":
        return known | {"kind": "integer", "minimum": 0, "decimals": 0, "missing": False}
    is_integer = item.kind == "integer" and statistic != "mean" and decimals == 0
    return known | {
        "kind": "integer" if is_integer else "continuous",
        "unit": item.unit,
        "minimum": item.minimum,
        "maximum": item.maximum,
        "decimals": decimals,
    }


def _known_of_fact(feature: FactFeature) -> dict[str, Any]:
    fact = FACTS[feature.fact]
    known = {"kind": fact.kind, "title": feature.title or fact.title, "missing": fact.missing}
    if fact.kind == "categorical" and fact.vocabulary is not None:
        vocabulary = load_vocabularies()[fact.vocabulary]
        missing = fact.missing and vocabulary.missing is None
        return known | {"levels": vocabulary.levels, "missing": missing}
    if feature.fact == "bmi":
        fact = load_items()["bmi"]
        known["item"] = fact.name
    if fact.minimum is not None:
        decimals = decimals_of(feature)
        known |= {"unit": fact.unit, "minimum": fact.minimum, "maximum": fact.maximum, "decimals": decimals}
        known["kind"] = "continuous" if decimals else known["kind"]
    return known
