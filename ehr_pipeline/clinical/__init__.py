"""Public clinical knowledge as data: items with units and ranges, code sets, drug classes, vocabularies, rules.

What belongs here: what a clinician or a published dictionary knows without any patient, as YAML, and small
loaders. What does not: SQL over a particular cohort (`cohort/`, `sanity/`), or anything measured on patients.
"""

from ehr_pipeline.clinical.items import Item, Source, load_items

__all__ = ["Item", "Source", "load_items"]
