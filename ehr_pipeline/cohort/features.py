"""How a cohort file asks for columns: one small model per form.

What belongs here: the forms a feature may take in YAML, and their checks against the clinical catalogue. What a
column is publicly known to be follows in `prepare/schema.py`; how it is computed in `table.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from ehr_pipeline.clinical.code_sets import CodeSet, expand_prefixes, load_code_sets
from ehr_pipeline.clinical.drugs import DrugClass, load_drug_classes
from ehr_pipeline.clinical.items import load_items
from ehr_pipeline.clinical.measured import Series
from ehr_pipeline.cohort.facts import FACTS, FactName
from ehr_pipeline.record import NUMBER_KINDS, Statistic

Decimals = Annotated[int, Field(ge=0, le=9)]
Title = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,128}$")]


class Declared(BaseModel):
    """A part of a cohort file: nothing in it but what is declared, and nothing coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CodeList(Declared):
    """ICD prefixes spelled out, dots and ranges (`I10-I16`) allowed."""

    icd10: tuple[str, ...] = ()
    icd9: tuple[str, ...] = ()

    @field_validator("icd10", "icd9", mode="before")
    @classmethod
    def _codes_are_text(cls, entries: Any) -> Any:
        if isinstance(entries, list) and not all(isinstance(entry, str) for entry in entries):
            raise ValueError('codes that are all digits need quotes, such as "250"')
        return expand_prefixes(entries) if isinstance(entries, list) else entries

    @model_validator(mode="after")
    def _is_not_empty(self) -> CodeList:
        if not self.icd10 and not self.icd9:
            raise ValueError("list at least one prefix under icd10 or icd9")
        return self


def _known(kind: str, name: str, names: Iterable[str]) -> str:
    """The name, if the catalogue has it; else ValueError with the names that look like it, or all."""
    if name not in names:
        near = get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(near)}" if near else f"the catalogue has {', '.join(sorted(names))}"
        raise ValueError(f"unknown {kind} {name!r}; {hint}")
    return name


def _known_item(name: str) -> str:
    return _known("item", name, load_items())


def _name_or_content(entry: Any) -> str:
    return "name" if isinstance(entry, str) else "content"


# The name of a set of the catalogue, or its content; told apart first, so that an error speaks of the one meant.
Codes = Annotated[
    Annotated[str, Tag("name")] | Annotated[CodeList, Tag("content")],
    Discriminator(_name_or_content),
]
GenericNames = Annotated[tuple[Annotated[str, Field(pattern=r"\w", max_length=128)], ...], Field(min_length=1)]
Drugs = Annotated[
    Annotated[str, Tag("name")] | Annotated[GenericNames, Tag("content")],
    Discriminator(_name_or_content),
]


class DiagnosisSet(Declared):
    """A condition: the name of a code set of the catalogue, or its prefixes."""

    codes: Codes

    @field_validator("codes")
    @classmethod
    def _is_known(cls, codes: str | CodeList) -> str | CodeList:
        return _known("code set", codes, load_code_sets()) if isinstance(codes, str) else codes

    @property
    def code_set(self) -> CodeSet:
        """Title and prefixes."""
        if isinstance(self.codes, str):
            return load_code_sets()[self.codes]
        codes = self.codes
        return CodeSet(title=", ".join([*codes.icd10, *codes.icd9][:5]), icd10=codes.icd10, icd9=codes.icd9)


class DrugSet(Declared):
    """Drugs: the name of a class of the catalogue, or generic names."""

    drugs: Drugs

    @field_validator("drugs")
    @classmethod
    def _is_known(cls, drugs: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return _known("drug class", drugs, load_drug_classes()) if isinstance(drugs, str) else drugs

    @property
    def drug_class(self) -> DrugClass:
        """Title, names and excluding words."""
        if isinstance(self.drugs, str):
            return load_drug_classes()[self.drugs]
        return DrugClass(title=", ".join(self.drugs[:5]), names=self.drugs)


class ItemFeature(Declared):
    """One statistic of an item's values in the window.

    `sources` keeps to some of the item's codes, written without unit (`VITAL//220179`).
    """

    item: str
    statistic: Statistic
    decimals: Decimals | None = None
    sources: tuple[str, ...] | None = None
    title: Title | None = None

    _item_is_known = field_validator("item")(_known_item)

    @model_validator(mode="after")
    def _sources_are_the_items(self) -> ItemFeature:
        if self.sources is not None and (not self.sources or any(not self._codes(code) for code in self.sources)):
            known = sorted({source.stem for source in load_items()[self.item].sources})
            raise ValueError(f"sources must name codes of the item; it has {', '.join(known)}")
        return self

    def _codes(self, code: str) -> list[str]:
        sources = load_items()[self.item].sources
        return [source.code for source in sources if code in (source.code, source.stem)]

    @property
    def series(self) -> Series:
        """The values that the statistic is taken of."""
        item = load_items()[self.item]
        if self.sources is None:
            return Series(key=item.name, item=item, sources=item.sources)
        kept = {code for wanted in self.sources for code in self._codes(wanted)}
        key = f"{item.name} of {', '.join(self.sources)}"
        return Series(key=key, item=item, sources=tuple(source for source in item.sources if source.code in kept))


class ItemGroup(Declared):
    """Several statistics of several items; each becomes a column `<item>_<statistic>`."""

    items: Annotated[tuple[str, ...], Field(min_length=1)]
    statistics: Annotated[tuple[Statistic, ...], Field(min_length=1)]
    decimals: Decimals | None = None

    @field_validator("items")
    @classmethod
    def _items_are_known(cls, items: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(items)) != len(items):
            raise ValueError("an item stands twice")
        return tuple(_known_item(name) for name in items)

    @field_validator("statistics")
    @classmethod
    def _statistics_are_distinct(cls, statistics: tuple[Statistic, ...]) -> tuple[Statistic, ...]:
        if len(set(statistics)) != len(statistics):
            raise ValueError("a statistic stands twice")
        return statistics

    def columns(self) -> dict[str, ItemFeature]:
        """The features of the group by column name."""
        return {
            f"{item}_{statistic}": ItemFeature(item=item, statistic=statistic, decimals=self.decimals)
            for item in self.items
            for statistic in self.statistics
        }


class DiagnosisFeature(DiagnosisSet):
    """Whether a diagnosis of a set is coded: 0 or 1.

    `within` is the index admission or visit as a whole (diagnoses are coded when it ends), the window, or the
    patient's history before the index event.
    """

    within: Literal["admission", "window", "history"] = "admission"
    title: Title | None = None


class DrugFeature(DrugSet):
    """Whether a drug of a class is prescribed in the index admission or in the window: 0 or 1."""

    within: Literal["admission", "window"] = "admission"
    title: Title | None = None


class FactFeature(Declared):
    """A fact about the member (see `FACTS`)."""

    fact: FactName
    decimals: Decimals | None = None
    title: Title | None = None

    @model_validator(mode="after")
    def _decimals_are_of_a_number(self) -> FactFeature:
        if self.decimals is not None and FACTS[self.fact].kind not in NUMBER_KINDS:
            raise ValueError("only a number has decimals")
        return self


class FollowUpFeature(Declared):
    """Whether something happens within some days after the index admission or visit ends: 0 or 1."""

    follow_up: Literal["readmission", "death"]
    days: Annotated[int, Field(ge=1, le=3650)]
    title: Title | None = None


SingleFeature = ItemFeature | DiagnosisFeature | DrugFeature | FactFeature | FollowUpFeature

_FORMS = ("item", "items", "codes", "drugs", "fact", "follow_up")


def _form(content: Any) -> str | None:
    """The one key that says which form a feature has; None if there is none, or several."""
    keys = content if isinstance(content, dict) else getattr(type(content), "model_fields", ())
    found = [form for form in _FORMS if form in keys]
    return found[0] if len(found) == 1 else None


Feature = Annotated[
    Annotated[ItemFeature, Tag("item")]
    | Annotated[ItemGroup, Tag("items")]
    | Annotated[DiagnosisFeature, Tag("codes")]
    | Annotated[DrugFeature, Tag("drugs")]
    | Annotated[FactFeature, Tag("fact")]
    | Annotated[FollowUpFeature, Tag("follow_up")],
    Discriminator(
        _form,
        custom_error_type="feature_form",
        custom_error_message="a feature has exactly one of item, items, codes, drugs, fact, follow_up",
    ),
]
