"""Rules as data: what one clinical rule says, and where the rules are read.

What belongs here: the types and the loader of `clinical/rules/*.yaml`. How a rule meets a patient table is in
`binding.py`; how it is counted is in `run.py` (patient tables) and `warehouse.py` (MIMIC-IV tables).
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ehr_pipeline.clinical.catalogue import read_catalogue
from ehr_pipeline.record import Kind, Statistic

Severity = Literal["hard", "soft"]
Heading = Literal["conformance", "completeness", "plausibility"]
Check = Literal["structure", "completeness", "demographics", "vitals", "laboratory", "codes_and_drugs"]

CHECK_NAMES: tuple[Check, ...] = (
    "structure",
    "completeness",
    "demographics",
    "vitals",
    "laboratory",
    "codes_and_drugs",
)
"""Every check that a table gets, always all of them, so that Dagster can declare them in advance."""

RULE_FILES = ("structure", "time", "demographics", "vitals", "laboratory", "sex_age_disease", "drugs")

CLINICAL_JUDGEMENT = "K"
"""Source tag of a limit or code that was written from general knowledge."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NamedColumn(_Record):
    """A column that a rule knows by name: the names it may have (any case) and the kinds it may be."""

    names: tuple[str, ...] = Field(min_length=1)
    kinds: tuple[Kind, ...] = Field(min_length=1)


class TableForm(_Record):
    """How a rule reads a patient table.

    `violates` is an SQL predicate with a `{placeholder}` per item and named column. It is bound once per column
    of an item, or once per set of columns that have the same statistic when there are several items; a record
    counts as checked when all of them are present. With grain `table` it is an aggregate over those records and
    is checked once.
    """

    items: tuple[str, ...] = ()
    columns: dict[str, NamedColumn] = {}
    statistics: tuple[Statistic, ...] = ("first", "last", "min", "max", "mean")
    violates: str
    grain: Literal["row", "table"] = "row"

    @model_validator(mode="after")
    def _reads_something(self) -> TableForm:
        if not self.items and not self.columns:
            raise ValueError("a table rule names an item or a column")
        if "count" in self.statistics:
            raise ValueError("a count of measurements is not a measurement")
        return self


class WarehouseForm(_Record):
    """How a rule reads MIMIC-IV tables: `records` selects what is checked, `violates` marks what is wrong.

    `measured` is short for the numbers of some items (`schema.table: [itemid, ...]`): one record per number, its
    column is `value`. Otherwise `records` is SQL and `tables` names all that it reads.
    """

    tables: tuple[str, ...] = ()
    records: str = ""
    measured: dict[str, tuple[int, ...]] = {}
    violates: str

    @model_validator(mode="after")
    def _reads_one_way(self) -> WarehouseForm:
        if bool(self.measured) == bool(self.records) or bool(self.records) != bool(self.tables):
            raise ValueError("a warehouse rule has either `measured`, or `tables` and `records`")
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """Every table that must be there."""
        return self.tables or tuple(self.measured)

    @property
    def checked(self) -> str:
        """SQL that returns the records that are checked."""
        return self.records or " UNION ALL ".join(
            f"SELECT valuenum AS value FROM {table} WHERE itemid IN {items} AND valuenum IS NOT NULL"
            for table, items in ((table, f"({', '.join(map(str, ids))})") for table, ids in self.measured.items())
        )

    @property
    def violating(self) -> str:
        """SQL that returns the violating records. What cannot be decided (NULL) counts as violating."""
        return f"SELECT * FROM ({self.checked}) WHERE ({self.violates}) IS NOT FALSE"


class Rule(_Record):
    """One rule: 0 violations allowed where it is hard, no more than in real records where it is soft."""

    id: str
    title: str
    severity: Severity
    check: Check
    heading: Heading
    sources: tuple[str, ...] = Field(min_length=1)
    confirmed: bool = Field(True, description="False for clinical judgement that no clinician has confirmed yet")
    tolerance: float = Field(0.005, ge=0, description="share of records that a soft rule may exceed the real share by")
    demotion: str | None = Field(None, description="why real records are known to break this hard rule")
    note: str | None = None
    table: TableForm | None = None
    warehouse: WarehouseForm | None = None

    @model_validator(mode="after")
    def _judgement_is_marked(self) -> Rule:
        if CLINICAL_JUDGEMENT in self.sources and "confirmed" not in self.model_fields_set:
            raise ValueError(f"rule {self.id} rests on clinical judgement: say `confirmed: false`")
        return self

    @property
    def is_hard(self) -> bool:
        """Whether no record may break the rule."""
        return self.severity == "hard"

    @property
    def is_of_whole_table(self) -> bool:
        """Whether the table is checked once, not record by record."""
        return self.table is not None and self.table.grain == "table"

    @property
    def may_be_demoted(self) -> bool:
        """Whether real records may show that the rule is too strict; a rule of form cannot be."""
        return self.is_hard and self.heading == "plausibility"


@cache
def load_rules() -> tuple[Rule, ...]:
    """Every rule that ships, in the order of its files.

    A file names the check and the Kahn heading of its rules once; a rule may override the heading.
    """
    rules = []
    for name in RULE_FILES:
        content = read_catalogue(f"rules/{name}")
        shared = {"check": content["check"], "heading": content["heading"]}
        rules += [Rule(id=rule_id, **(shared | body)) for rule_id, body in content["rules"].items()]
    return tuple(rules)


def rules_hash(rules: tuple[Rule, ...]) -> str:
    """Hex digest of what the rules say, for the record of a verdict."""
    content = [rule.model_dump(mode="json") for rule in rules]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
