"""Recombined patients: each column, or block of columns, drawn from what noisy reports of all patients say of it.

The method of a post on recombined MIMIC-IV records: noise on every value of a patient, then records put together from
values of different patients. Two modes:

- `shuffle`: the honest one. Each patient sends one epsilon0-private report per block (`local_reports.py`); the reports
  of a block are shuffled by themselves, every patient once; histograms are corrected for the noise, and rows are drawn
  from them, as many as asked for. What that promises is computed (`privacy/shuffle.py`): in the centre (epsilon,
  delta), and for a patient's own reports the sum of epsilon0.
- `as_published`: the post's formulas (`published_recipe.py`), with the epsilon that they truly have. Not for release.

Dependence is kept inside blocks and lost between them. NOTE[DIFF]: clinical consistency is not checked here; sanity
draws rows that break a HARD rule again, as for every generator, and tells how many.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.conditions import conditions_row, fixed, wanted_levels
from ehr_pipeline.generators.configs import RecombinationConfig
from ehr_pipeline.generators.local_reports import LEAST_SHARE, Block, blocks_of
from ehr_pipeline.generators.persistence import read_state, write_state
from ehr_pipeline.generators.private_codec import OneRowEach, public_part, require_public
from ehr_pipeline.generators.published_recipe import published_plan, published_reports
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan, ShuffledMechanism
from ehr_pipeline.privacy.shuffle import UNIT, local_epsilon, shuffled
from ehr_pipeline.progress import Progress, Step
from ehr_pipeline.record import Schema


class Recombination(Generator):
    """Recombined blocks of columns."""

    name: ClassVar[str] = "recombination"
    title: ClassVar[str] = "Recombined reports"
    config_type: ClassVar[type[GeneratorConfig]] = RecombinationConfig

    def __init__(
        self, codec: TableCodec, blocks: tuple[tuple[int, ...], ...], shares: list[np.ndarray], config: GeneratorConfig
    ) -> None:
        self.codec = codec
        self.blocks = blocks
        """Places of each block's columns in the schema."""
        self.shares = shares
        """Per block the share of each combination of levels: float64, one axis per column."""
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
        """Take one report per patient and block; keeps no checkpoint.

        Without a budget the reports are as private as the config says, and `privacy` tells what that comes to; columns
        that are not public are then left out.

        Raises
        ------
        OptionError
            There are fewer patients than the config says are publicly known to be there.
        DefinitionError
            No column is public.
        """
        config = RecombinationConfig.model_validate(config.model_dump())
        schema, rows = cls.writable(cohort.schema), OneRowEach(cohort)
        if budget is not None:
            plan = cls.privacy_plan(cohort.schema, config, budget)
            if len(rows) < config.public_rows:
                raise OptionError(
                    f"recombination reckons with at least {config.public_rows:,} patients (public_rows of its config) "
                    "and there are fewer; set it lower, or leave the budget out"
                )
        else:
            schema = public_part(schema)
            if not schema.columns:
                raise DefinitionError(
                    "no column has public bounds or levels in the schema, and recombination needs them"
                )
            plan = _plan_without_budget(schema, config, len(rows))
        if config.mode == "shuffle":
            epsilon0 = plan.mechanisms[0].epsilon
            blocks = blocks_of(schema, config.blocks, config.numbers, epsilon0)
        else:
            rng = np.random.default_rng(config.seed)  # noise with a seed: it promises nothing in any case
            blocks = blocks_of(schema, (), "response", None)
        shares = []
        for done, block in enumerate(blocks, start=1):
            if config.mode == "shuffle":
                reports = np.bincount(block.reports(block.index(rows), epsilon0), minlength=block.n_cells)
                shares.append(block.shares(reports, epsilon0).reshape(block.shape))
            else:
                reports = published_reports(block, rows, rng)
                shares.append(reports / max(1, reports.sum()))
            if progress is not None:
                progress(Step(task=cls.title, done=done, total=len(blocks), unit="block", elapsed_s=0.0))
        generator = cls(_codec(schema, blocks, shares), tuple(block.columns for block in blocks), shares, config)
        generator.privacy = plan
        generator.n_patients = len(rows)  # public in this unit of privacy
        return generator

    @classmethod
    def privacy_plan(cls, schema: Schema, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """Each block's report as noisy as the budget wants it, among as many patients as are publicly known."""
        config = RecombinationConfig.model_validate(config.model_dump())
        if config.mode == "as_published":
            raise OptionError("the recipe as published keeps to no budget; use recombination's mode shuffle")
        schema = cls.writable(schema)
        require_public(schema)
        n_blocks = len(blocks_of(schema, config.blocks, config.numbers, None))
        epsilon0 = local_epsilon(budget.epsilon, n_blocks, config.public_rows, budget.delta)
        return _shuffled_plan(budget, epsilon0, n_blocks, config.public_rows)

    def sample(self, n: int, seed: int, conditions: dict[str, Any] | None = None) -> pd.DataFrame:
        """Draw `n` rows, block by block; a condition tells of its own block only, so nothing is rejected."""
        rng = np.random.default_rng(seed)
        row = conditions_row(self.codec, conditions)
        wanted = wanted_levels(self.codec, row)
        levels = np.empty((n, len(self.schema.columns)), dtype=np.int64)
        for columns, shares in self._blocks():
            levels[:, list(columns)] = _draw(shares, [wanted.get(k) for k in columns], n, rng)
        frame = fixed(self.codec.draw(levels, rng), row)
        frame.attrs["acceptance_rate"] = 1.0
        return frame

    def scores(self, table: pd.DataFrame) -> np.ndarray:
        """Log-likelihood of each row's cells."""
        levels = self.codec.levels(table)
        chances = [shares[tuple(levels[:, list(columns)].T)] for columns, shares in self._blocks()]
        return np.log(np.maximum(np.column_stack(chances), LEAST_SHARE)).sum(axis=1)

    def save(self, folder: Path) -> None:
        """Write the codec, the blocks and their shares."""
        self.codec.save(folder)
        plain = {"config": self.config.model_dump(mode="json"), "blocks": [list(columns) for columns in self.blocks]}
        write_state(folder, "generator", plain, {str(k): shares for k, shares in enumerate(self.shares)})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        plain, arrays = read_state(folder, "generator")
        blocks = tuple(tuple(columns) for columns in plain["blocks"])
        shares = [arrays[str(k)] for k in range(len(blocks))]
        return cls(TableCodec.load(folder), blocks, shares, RecombinationConfig.model_validate(plain["config"]))

    def _blocks(self) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        return zip(self.blocks, self.shares, strict=True)


def _plan_without_budget(schema: Schema, config: RecombinationConfig, n_patients: int) -> PrivacyPlan:
    """What the config's own noise promises; the number of patients is public in this unit."""
    if config.mode == "as_published":
        return published_plan(schema, config.reported_delta)
    n_blocks = len(blocks_of(schema, config.blocks, config.numbers, None))
    spent = shuffled(config.epsilon0, n_blocks, n_patients, config.reported_delta)
    return _shuffled_plan(
        Budget(epsilon=spent.epsilon, delta=config.reported_delta), config.epsilon0, n_blocks, n_patients
    )


def _shuffled_plan(budget: Budget, epsilon0: float, n_blocks: int, n_patients: int) -> PrivacyPlan:
    reports = ShuffledMechanism(name="report of each block", epsilon=epsilon0, n_patients=n_patients, steps=n_blocks)
    return PrivacyPlan(
        budget=budget,
        mechanisms=(reports,),
        accounted=shuffled(epsilon0, n_blocks, n_patients, budget.delta),
        unit=UNIT,
        notes=(
            f"a patient's own reports, before they are shuffled, are epsilon {n_blocks * epsilon0:.4g} together",
            f"at least {n_patients:,} patients take part; who computes this is trusted to shuffle",
            "one patient's values are replaced here: an epsilon for adding or removing a patient counts twice beside "
            "this one, and this one does not count as such an epsilon at all",
        ),
    )


def _codec(schema: Schema, blocks: tuple[Block, ...], shares: list[np.ndarray]) -> TableCodec:
    """The codec whose levels are the blocks' cells."""
    codecs: list[Any] = [None] * len(schema.columns)
    for block, share in zip(blocks, shares, strict=True):
        for axis, (k, cells) in enumerate(zip(block.columns, block.cells, strict=True)):
            others = tuple(other for other in range(len(block.columns)) if other != axis)
            codecs[k] = cells.codec(share.sum(axis=others))
    return TableCodec(schema=schema, columns=tuple(codecs), time_steps_s=(0,) * len(codecs))


def _draw(shares: np.ndarray, wanted: list[int | None], n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` combinations of a block's levels, with the wanted ones where there are any: int64 of shape (n, n_columns)."""
    within = shares[tuple(slice(None) if level is None else slice(level, level + 1) for level in wanted)]
    chances = within.ravel() if within.sum() > 0 else np.ones(within.size)
    upto = np.cumsum(chances)
    cell = np.minimum(np.searchsorted(upto, rng.random(n) * upto[-1], side="right"), len(upto) - 1)
    levels = np.column_stack(np.unravel_index(cell, within.shape))
    return levels + np.array([level or 0 for level in wanted])
