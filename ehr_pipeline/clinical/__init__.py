"""Public clinical knowledge as data: items with units and ranges, code sets, drug classes, vocabularies, rules.

What belongs here: what a clinician or a published dictionary knows without any patient, as YAML, and small
loaders. What does not: SQL over a particular cohort (`cohort/`, `sanity/`), or anything measured on patients.
"""

from ehr_pipeline.clinical.code_sets import CodeSet, load_code_sets
from ehr_pipeline.clinical.drugs import DrugClass, load_drug_classes
from ehr_pipeline.clinical.items import Item, Source, load_items
from ehr_pipeline.clinical.vocabularies import Vocabulary, load_vocabularies

__all__ = [
    "CodeSet",
    "DrugClass",
    "Item",
    "Source",
    "Vocabulary",
    "load_code_sets",
    "load_drug_classes",
    "load_items",
    "load_vocabularies",
]
