"""Each column drawn alone from its own distribution: the null that every other generator must beat.

Nothing of the dependence between columns is kept; missing values come at each column's own rate.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.conditions import conditions_row, fixed
from ehr_pipeline.generators.configs import IndependentConfig
from ehr_pipeline.generators.persistence import read_state, write_state
from ehr_pipeline.generators.private_codec import OneRowEach, codec_mechanism, learn_private_codec, require_public
from ehr_pipeline.privacy.accountant import accounted, total_noise
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.progress import Progress, Step
from ehr_pipeline.record import Schema


class Independent(Generator):
    """Independent columns."""

    name: ClassVar[str] = "independent"
    title: ClassVar[str] = "Independent columns"
    config_type: ClassVar[type[GeneratorConfig]] = IndependentConfig

    def __init__(self, codec: TableCodec, config: IndependentConfig) -> None:
        self.codec = codec
        self.config = config
        self.schema = codec.schema
        self.history = []

    @classmethod
    def fit(
        cls,
        cohort: TrainingCohort,
        config: GeneratorConfig,
        budget: Budget | None = None,
        progress: Progress | None = None,
        *,
        checkpoint: Path | None = None,
    ) -> Self:
        """Learn each column's distribution; takes no longer than reading the table, so it keeps no checkpoint."""
        schema = cls.writable(cohort.schema)
        config = IndependentConfig.model_validate(config.model_dump())
        if budget is None:
            generator = cls(TableCodec.fit(schema, cohort.table, cohort.subject_id), config)
        else:
            plan = cls.privacy_plan(cohort.schema, config, budget)
            noise = plan.mechanisms[0].noise_multiplier
            codec, n_patients = learn_private_codec(schema, OneRowEach(cohort), noise)
            generator = cls(codec, config)
            generator.privacy, generator.n_patients = plan, n_patients
        if progress is not None:
            progress(Step(task=cls.title, done=1, total=1, unit="pass", elapsed_s=0.0))
        return generator

    @classmethod
    def privacy_plan(cls, schema: Schema, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """The whole budget goes to the columns' histograms."""
        schema = cls.writable(schema)
        require_public(schema)
        histograms = codec_mechanism(schema, total_noise(budget) * math.sqrt(len(schema.columns)))
        return PrivacyPlan(budget=budget, mechanisms=(histograms,), accounted=accounted((histograms,), budget.delta))

    def sample(self, n: int, seed: int, conditions: dict[str, Any] | None = None) -> pd.DataFrame:
        """Draw `n` rows; a conditioned column tells nothing about the others, so nothing is rejected."""
        rng = np.random.default_rng(seed)
        row = conditions_row(self.codec, conditions)
        levels = np.column_stack([_draw_levels(shares, n, rng) for shares in self.codec.level_shares])
        frame = fixed(self.codec.draw(levels, rng), row)
        frame.attrs["acceptance_rate"] = 1.0
        return frame

    def scores(self, table: pd.DataFrame) -> np.ndarray:
        """Log-likelihood of each row's levels; a level that no training row has counts as one in a million million."""
        levels = self.codec.levels(table).T
        chances = [shares[level] for shares, level in zip(self.codec.level_shares, levels, strict=True)]
        return np.log(np.maximum(np.column_stack(chances), 1e-12)).sum(axis=1)

    def save(self, folder: Path) -> None:
        """Write the codec and the config."""
        self.codec.save(folder)
        write_state(folder, "generator", {"config": self.config.model_dump(mode="json")}, {})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        plain, _ = read_state(folder, "generator")
        return cls(TableCodec.load(folder), IndependentConfig.model_validate(plain["config"]))


def _draw_levels(shares: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` levels by their shares: int64 of shape (n,)."""
    return np.minimum(np.searchsorted(np.cumsum(shares), rng.random(n), side="right"), len(shares) - 1)
