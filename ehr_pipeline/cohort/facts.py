"""Facts about a member that no measurement, diagnosis or drug says: who they are, how they came and left.

What belongs here: the name, title, kind and vocabulary of each fact, and the index events that have it. How it is
read from events is in `table.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ehr_pipeline.record import Kind

IndexEvent = Literal["admission", "icu_admission", "ed_arrival"]
FactName = Literal[
    "age",
    "sex",
    "race",
    "insurance",
    "language",
    "marital_status",
    "site",
    "bmi",
    "admission_type",
    "admission_location",
    "discharge_location",
    "first_careunit",
    "arrival_transport",
    "disposition",
    "chief_complaint",
    "arrival_hour",
    "stay_hours",
    "stay_days",
    "died_in_hospital",
]

ANY_INDEX: frozenset[IndexEvent] = frozenset({"admission", "icu_admission", "ed_arrival"})


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What is publicly known about one fact.

    Attributes
    ----------
    vocabulary
        Name of the vocabulary of a categorical fact; None for a site, whose levels no dictionary lists.
    indexes
        The index events whose members have the fact.
    """

    title: str
    kind: Kind
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    decimals: int | None = None
    vocabulary: str | None = None
    missing: bool = True
    indexes: frozenset[IndexEvent] = ANY_INDEX


def _category(title: str, vocabulary: str, *indexes: IndexEvent) -> Fact:
    return Fact(title=title, kind="categorical", vocabulary=vocabulary, indexes=frozenset(indexes) or ANY_INDEX)


FACTS: dict[FactName, Fact] = {
    "age": Fact(title="Age", kind="integer", unit="years", minimum=0, maximum=120, decimals=0, missing=False),
    "sex": Fact(title="Sex", kind="categorical", vocabulary="sex", missing=False),
    "race": _category("Race or ethnicity", "race"),
    "insurance": _category("Insurance", "insurance"),
    "language": _category("Language", "language"),
    "marital_status": _category("Marital status", "marital_status"),
    "site": Fact(title="Site", kind="categorical"),
    "bmi": Fact(title="Body mass index", kind="continuous"),
    "admission_type": _category("Admission type", "admission_type", "admission", "icu_admission"),
    "admission_location": _category("Admission location", "admission_location", "admission", "icu_admission"),
    "discharge_location": _category("Discharge location", "discharge_location", "admission", "icu_admission"),
    "first_careunit": _category("First care unit", "care_unit", "icu_admission"),
    "arrival_transport": _category("Arrival by", "arrival_transport", "ed_arrival"),
    "disposition": _category("Disposition", "disposition", "ed_arrival"),
    "chief_complaint": Fact(title="Chief complaint", kind="text", indexes=frozenset({"ed_arrival"})),
    "arrival_hour": Fact(
        title="Hour of arrival", kind="integer", unit="h", minimum=0, maximum=23, decimals=0, missing=False
    ),
    "stay_hours": Fact(title="Length of stay", kind="continuous", unit="h", minimum=0, maximum=9600, decimals=1),
    "stay_days": Fact(title="Length of stay", kind="continuous", unit="d", minimum=0, maximum=400, decimals=2),
    "died_in_hospital": Fact(
        title="Died in hospital",
        kind="binary",
        missing=False,
        indexes=frozenset({"admission", "icu_admission"}),
    ),
}
