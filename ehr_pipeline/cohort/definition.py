"""A cohort as its YAML file declares it: population, index event, window, features, questions.

What belongs here: the model of the whole file and the checks that need the whole of it. Reading files is in
`loading.py`; turning a definition into SQL is in `population.py` and `table.py`.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ehr_pipeline.clinical.vocabularies import load_vocabularies
from ehr_pipeline.cohort.facts import FACTS, IndexEvent
from ehr_pipeline.cohort.features import (
    Codes,
    Declared,
    DiagnosisFeature,
    DiagnosisSet,
    DrugFeature,
    DrugSet,
    FactFeature,
    Feature,
    FollowUpFeature,
    ItemGroup,
    SingleFeature,
    Title,
)
from ehr_pipeline.record import Role

DEFAULT_SALT = "ehr_pipeline"
DEFAULT_HOLDOUT_SHARE = 0.3
RESERVED_COLUMNS = frozenset({"subject_id", "hadm_id", "stay_id", "member"})
WINDOW_ENDS: dict[IndexEvent, tuple[str, ...]] = {
    "admission": ("admission",),
    "icu_admission": ("admission", "stay"),
    "ed_arrival": ("admission", "visit"),
}
CATEGORICAL_OR_BINARY = frozenset({"categorical", "binary"})

ColumnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Hours = Annotated[float, Field(ge=0, le=24 * 3660, allow_inf_nan=False)]
Sex = Literal["F", "M"]


class AgeRange(Declared):
    """Age in whole years at the index event, both ends included."""

    minimum: Annotated[int, Field(ge=0, le=120)] = 0
    maximum: Annotated[int, Field(ge=0, le=120)] = 120

    @model_validator(mode="after")
    def _runs_upwards(self) -> AgeRange:
        if self.minimum > self.maximum:
            raise ValueError("minimum is above maximum")
        return self


class DiagnosisCriteria(Declared):
    """Diagnoses of the index admission or visit: at least one of `any_of`, none of `none_of`."""

    any_of: tuple[Codes, ...] = ()
    none_of: tuple[Codes, ...] = ()

    @field_validator("any_of", "none_of")
    @classmethod
    def _are_known(cls, entries: tuple[Codes, ...]) -> tuple[Codes, ...]:
        return tuple(DiagnosisSet(codes=entry).codes for entry in entries)


class DrugCriteria(Declared):
    """Drugs prescribed in the index admission: at least one of `any_of`, none of `none_of` (class names)."""

    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()

    @field_validator("any_of", "none_of")
    @classmethod
    def _are_known(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            DrugSet(drugs=entry)
        return entries


class Population(Declared):
    """Which index events qualify, and which of a patient's qualifying ones become members."""

    age_years: AgeRange = AgeRange()
    sex: Annotated[tuple[Sex, ...], Field(min_length=1)] | None = None
    icu_stay: bool | None = Field(None, description="true: the admission has an ICU stay; false: it has none")
    ed_visit: bool | None = Field(None, description="true: the admission came through the ED; false: it did not")
    minimum_stay_hours: Hours = 0
    diagnoses: DiagnosisCriteria = DiagnosisCriteria()
    drugs: DrugCriteria = DrugCriteria()
    occurrence: Literal["first", "last", "all"] = "first"


class Window(Declared):
    """From `hours_before` the index event to `hours_after` it, or until something ends, whichever is first."""

    hours_before: Hours = 0
    hours_after: Annotated[float, Field(gt=0, le=24 * 3660, allow_inf_nan=False)] | None = None
    until: Literal["admission", "stay", "visit"] | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> Window:
        if self.hours_after is None and self.until is None:
            raise ValueError("give hours_after, or until (admission, stay, visit), or both")
        return self


class Task(Declared):
    """A prediction task: a column, and for a category the level that counts as yes."""

    target: ColumnName
    level: str | None = None


class CausalQuestion(Declared):
    """What the treatment does to the outcome, given the confounders; `truth` names a simulation that knows."""

    treatment: ColumnName
    outcome: ColumnName
    confounders: tuple[ColumnName, ...] = ()
    truth: Literal["medicore"] | None = None


class Privacy(Declared):
    """Budget of every model that is trained on the cohort, unless a run says otherwise; per patient."""

    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-6


class Split(Declared):
    """Which patients are held out: a salted hash of the patient decides, so that it never changes."""

    salt: Annotated[str, Field(max_length=128)] = DEFAULT_SALT
    holdout_share: Annotated[float, Field(gt=0, lt=1)] = DEFAULT_HOLDOUT_SHARE


class CohortDefinition(Declared):
    """One cohort. `name` is the stem of its file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Title
    description: str | None = None
    population: Population = Population()
    index: IndexEvent
    window: Window
    features: Annotated[dict[ColumnName, Feature], Field(min_length=1)]
    outcome: ColumnName | None = None
    treatment: ColumnName | None = None
    sensitive: tuple[ColumnName, ...] = ()
    tasks: tuple[Task, ...] = ()
    causal: CausalQuestion | None = None
    split: Split = Split()
    privacy: Privacy | None = None

    @cached_property
    def columns(self) -> dict[str, SingleFeature]:
        """Every column of the patient table in order, groups spread out."""
        spread: dict[str, SingleFeature] = {}
        for name, feature in self.features.items():
            spread |= feature.columns() if isinstance(feature, ItemGroup) else {name: feature}
        return spread

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the definition says of its patients, so that a report can name it."""
        return hashlib.sha256(self.model_dump_json(exclude={"privacy"}).encode()).hexdigest()

    def role(self, column: str) -> Role:
        """What part a column plays in the cohort's questions."""
        if column == self.outcome:
            return "outcome"
        if column == self.treatment:
            return "treatment"
        if column in self.sensitive:
            return "sensitive"
        feature = self.columns[column]
        return "site" if isinstance(feature, FactFeature) and feature.fact == "site" else "feature"

    def kind(self, column: str) -> str:
        """`binary`, `categorical` or another kind, as far as the definition's own checks need it."""
        feature = self.columns[column]
        if isinstance(feature, DiagnosisFeature | DrugFeature | FollowUpFeature):
            return "binary"
        return FACTS[feature.fact].kind if isinstance(feature, FactFeature) else "number"

    def levels(self, column: str) -> tuple[str, ...]:
        """Public levels of a categorical column; empty where no vocabulary lists them."""
        feature = self.columns[column]
        vocabulary = FACTS[feature.fact].vocabulary if isinstance(feature, FactFeature) else None
        return load_vocabularies()[vocabulary].levels if vocabulary else ()

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> CohortDefinition:
        n_columns = sum(
            len(feature.columns()) if isinstance(feature, ItemGroup) else 1 for feature in self.features.values()
        )
        if len(self.columns) != n_columns:
            raise ValueError("two features make a column of the same name; rename one")
        if taken := RESERVED_COLUMNS & set(self.columns):
            raise ValueError(f"columns may not be named {', '.join(sorted(taken))}")
        return self

    @model_validator(mode="after")
    def _facts_fit_the_index(self) -> CohortDefinition:
        for name, feature in self.columns.items():
            if isinstance(feature, FactFeature) and self.index not in FACTS[feature.fact].indexes:
                fitting = ", ".join(sorted(FACTS[feature.fact].indexes))
                raise ValueError(f"feature {name}: the fact {feature.fact} needs the index {fitting}")
        if self.window.until is not None and self.window.until not in WINDOW_ENDS[self.index]:
            raise ValueError(f"window.until must be one of {', '.join(WINDOW_ENDS[self.index])} for this index")
        return self

    @model_validator(mode="after")
    def _questions_name_columns(self) -> CohortDefinition:
        asked = {"outcome": [self.outcome], "treatment": [self.treatment], "sensitive": list(self.sensitive)}
        asked["tasks"] = [task.target for task in self.tasks]
        if self.causal is not None:
            asked["causal"] = [self.causal.treatment, self.causal.outcome, *self.causal.confounders]
        for where, names in asked.items():
            if absent := [name for name in names if name is not None and name not in self.columns]:
                raise ValueError(f"{where} names {', '.join(absent)}, which is no column of features")
        return self

    @model_validator(mode="after")
    def _questions_can_be_asked(self) -> CohortDefinition:
        for task in self.tasks:
            kind = self.kind(task.target)
            if kind not in CATEGORICAL_OR_BINARY:
                raise ValueError(f"the task {task.target} must be a binary or categorical column")
            if kind == "binary" and task.level is not None:
                raise ValueError(f"the task {task.target} is 0 or 1 and takes no level")
            if kind == "categorical" and task.level not in self.levels(task.target):
                raise ValueError(f"the task {task.target} needs a level: {', '.join(self.levels(task.target))}")
        if self.causal is not None:
            for name in (self.causal.treatment, self.causal.outcome):
                if self.kind(name) != "binary":
                    raise ValueError(f"causal: {name} must be a binary column (codes, drugs, follow_up or a 0/1 fact)")
        return self
