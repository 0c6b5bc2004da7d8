"""The interface that every generator keeps, and what it learns from.

What belongs here: types. What does not: any algorithm, any path inside the data folder, any Dagster.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from ehr_pipeline.errors import OptionError
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Schema

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class TrainingCohort:
    """The training patients of one cohort: all that `fit` may see.

    Attributes
    ----------
    schema
        Columns of `table`, public knowledge only.
    table
        One row per member, dtypes of `record.DTYPES`, missing values as pandas has them.
    subject_id
        int64 of shape (len(table),): the patient of each row, the unit of privacy.
    """

    schema: Schema
    table: pd.DataFrame
    subject_id: np.ndarray


class GeneratorConfig(BaseModel):
    """Settings that every generator has; each adds its own, all with a default and a description."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, description="seed of training")
    device: Device = Field("auto", description="where to train: auto takes a GPU where there is one")


class Generator(ABC):
    """A fitted generator.

    A subclass is made by `fit` or `load`, never empty. It keeps to its schema: each sampled frame has the
    schema's columns in order, dtypes of `record.DTYPES`, values inside [minimum, maximum], on the column's
    decimals, in its levels, missing only where the schema allows it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    config_type: ClassVar[type[GeneratorConfig]]
    left_out_kinds: ClassVar[frozenset[str]] = frozenset({"text", "id"})
    """Kinds of column this generator cannot write; `fit` leaves them out and `schema` lacks them."""

    schema: Schema
    config: GeneratorConfig
    history: list[dict[str, float]]
    """One record per epoch (epoch, loss, validation_loss, ...); empty for what needs no training."""
    device: str = "cpu"
    """Where it was trained."""
    privacy: PrivacyPlan | None = None
    """What a private fit spent; None for a fit without a budget, which promises nothing."""
    n_patients: int | None = None
    """Number of training patients as a private fit measured it, noise included; None without a budget."""

    @classmethod
    def writable(cls, schema: Schema) -> Schema:
        """The columns of `schema` that this generator can write."""
        return schema.without(column.name for column in schema.columns if column.kind in cls.left_out_kinds)

    @classmethod
    def privacy_plan(cls, schema: Schema, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """What `fit` with this budget will do with patients whose table has the columns `schema`; reads no patient.

        Raises
        ------
        OptionError
            The generator has no private tier, or the budget is too small for any noise.
        DefinitionError
            A column lacks what a private fit must not look up (`private_codec.require_public`).
        """
        raise OptionError(f"{cls.name} has no private tier; leave the budget out")

    @classmethod
    @abstractmethod
    def fit(
        cls,
        cohort: TrainingCohort,
        config: GeneratorConfig,
        budget: Budget | None = None,
        progress: Progress | None = None,
        *,
        checkpoint: Path | None = None,
    ) -> Self:
        """Learn from the training patients.

        With `checkpoint`, a folder, an interrupted training of the same data and config resumes from
        where it was. With `budget`, all that is learned stays inside it, by the plan that `privacy_plan`
        gives (errors as there): the fit keeps no checkpoint and no losses, and its noise has no seed.
        """

    @abstractmethod
    def sample(self, n: int, seed: int, conditions: dict[str, Any] | None = None) -> pd.DataFrame:
        """Draw `n` rows. The same seed gives the same rows on the same machine.

        `conditions` fixes columns (name to value); OptionError if a column or level is unknown.
        """

    def scores(self, table: pd.DataFrame) -> np.ndarray | None:
        """How at home the model finds each row, for attacks on it: log-likelihoods, float64 of shape (n,).

        None where a model has none.
        """
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing empty folder; no pickle."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
