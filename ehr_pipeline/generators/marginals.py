"""Select, measure, generate: a model of noisy counts of a few columns at a time.

The line of MST (McKenna, Miklau, Sheldon 2021, https://arxiv.org/abs/2108.04978) and AIM (McKenna, Mullins, Sheldon,
Miklau 2022, https://arxiv.org/abs/2201.12677): choose columns whose joint counts a model misses, count them with
Gaussian noise, fit the model to all counts, draw rows from it.

1. Each column's own histogram makes its levels (`private_codec.py`), and joint counts are made over few bins of them.
2. Pairs: all of them in a table of a dozen columns, else those with treatment or outcome, and chosen ones. With them,
   what a study needs (`cliques`; by default treatment x outcome x each of a few features).
3. Triples that the model of these misses most.
4. The model is log-linear, column after column (`loglinear_chain.py`).

# NOTE[DIFF] MST measures a tree of pairs and AIM what keeps a junction tree small. The chain has no such limit, so that
#   at some twelve columns no choice is needed and no pair is lost.
# NOTE[DIFF] Noise is composed exactly (Gaussian mechanisms by their own account, choices by their privacy loss), not by
#   zero-concentrated privacy converted at the end, which costs a tenth of the budget.

Memory: the levels of all patients (8 bytes each) and `MOST_NUMBERS` numbers while one column is fitted.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.clique_selection import candidate_triples, choose, scores
from ehr_pipeline.generators.coarse_columns import Clique, CoarseColumn, Grains
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.column_search import Measurement
from ehr_pipeline.generators.conditions import conditions_row, draw_guided, fixed, wanted_levels
from ehr_pipeline.generators.configs import MarginalsConfig
from ehr_pipeline.generators.loglinear_chain import LogLinearChain
from ehr_pipeline.generators.marginals_plan import MarginalsPlan
from ehr_pipeline.generators.persistence import read_state, write_state
from ehr_pipeline.generators.private_codec import OneRowEach, learn_private_codec, require_public
from ehr_pipeline.generators.private_histogram import onto_simplex
from ehr_pipeline.privacy.accountant import accounted, noise_for
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.privacy.noise import noisy_counts
from ehr_pipeline.progress import Progress, Step
from ehr_pipeline.record import Schema

NOISES_PER_CELL = 16
"""An even cell of a joint count holds so many standard deviations of the noise, if bins can be that few."""
MOST_BINS = {2: 12, 3: 6, 4: 4, 5: 3}
"""Bins of a column in a joint count of so many columns."""
MOST_NUMBERS = 2e7
"""Numbers that the fit of one column holds in each of its two tables."""
FEWEST_ROWS = 2_000
"""Rows that the model is fitted over, at least."""


class Marginals(Generator):
    """Noisy marginals."""

    name: ClassVar[str] = "marginals"
    title: ClassVar[str] = "Noisy marginals"
    config_type: ClassVar[type[GeneratorConfig]] = MarginalsConfig

    def __init__(self, codec: TableCodec, config: MarginalsConfig, chain: LogLinearChain) -> None:
        self.codec = codec
        self.config = config
        self.schema = codec.schema
        self.chain = chain
        self.history = []

    @classmethod
    def privacy_plan(cls, schema: Schema, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """Histograms, choices and joint counts, by the shares of the config."""
        schema = cls.writable(schema)
        require_public(schema)
        return _private_plan(schema, MarginalsConfig.model_validate(config.model_dump()), budget)

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
        """Count, choose, fit, as often as the plan says; too short to keep a checkpoint."""
        started = time.perf_counter()
        config = MarginalsConfig.model_validate(config.model_dump())
        schema = cls.writable(cohort.schema)
        plan = MarginalsPlan.of(schema, config, budget)
        privacy = None if budget is None else cls.privacy_plan(cohort.schema, config, budget)
        measured = _Measured.of(cohort, schema, config, plan, privacy)
        n_rounds = len(plan.n_pairs) + bool(plan.n_triples) + 1

        def told(done: int) -> None:
            if progress is not None:
                elapsed_s = time.perf_counter() - started
                progress(Step(task=cls.title, done=done, total=n_rounds, unit="round", elapsed_s=elapsed_s))

        measured.count(plan.fixed)
        rows = measured.fit()
        told(1)
        for done, n_pairs in enumerate(plan.n_pairs, start=2):
            pairs = [pair for pair in combinations(plan.order, 2) if pair not in measured.counts]
            measured.count(measured.choose(pairs, rows, n_pairs))
            rows = measured.fit()
            told(done)
        if plan.n_triples:
            triples = candidate_triples(plan.order, list(measured.counts), measured.rng)
            measured.count(measured.choose(triples, rows, plan.n_triples))
            measured.fit()
            told(n_rounds)
        generator = cls(measured.codec, config, measured.chain)
        if privacy is not None:
            generator.privacy, generator.n_patients = privacy, measured.n
        return generator

    def sample(self, n: int, seed: int, conditions: dict[str, Any] | None = None) -> pd.DataFrame:
        """Draw `n` rows; conditions are met by weighing draws that have them set (`conditions.draw_guided`)."""
        rng = np.random.default_rng(seed)
        row = conditions_row(self.codec, conditions)
        given = wanted_levels(self.codec, row)
        if given:
            levels, rate = draw_guided(lambda n_rows, rng: self.chain.draw(n_rows, rng, given), n, rng)
        else:
            levels, rate = self.chain.draw(n, rng)[0], 1.0
        frame = fixed(self.codec.draw(levels, rng), row)
        frame.attrs["acceptance_rate"] = rate
        return frame

    def save(self, folder: Path) -> None:
        """Write the codec, the config and the chain."""
        self.codec.save(folder)
        plain, arrays = self.chain.state()
        write_state(folder, "generator", {"config": self.config.model_dump(mode="json"), "chain": plain}, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        plain, arrays = read_state(folder, "generator")
        config = MarginalsConfig.model_validate(plain["config"])
        return cls(TableCodec.load(folder), config, LogLinearChain.of_state(plain["chain"], arrays))


@dataclass(kw_only=True)
class _Measured:
    """The patients, what was counted of them so far, and the model of it: the only code here that sees patients.

    Attributes
    ----------
    levels
        Each patient's, int64 of shape (n_patients, d).
    n
        Number of patients, noisy where there is a budget.
    histogram_noise, choice_epsilon, count_noise
        What the plan says; without a budget 0, None, 0.
    counts
        Cliques to their counts, int64 of shape (n_cells,).
    """

    codec: TableCodec
    levels: np.ndarray
    n: int
    config: MarginalsConfig
    histogram_noise: float
    choice_epsilon: float | None
    count_noise: float
    chain: LogLinearChain
    counts: dict[Clique, np.ndarray]
    rng: np.random.Generator

    @classmethod
    def of(
        cls,
        cohort: TrainingCohort,
        schema: Schema,
        config: MarginalsConfig,
        plan: MarginalsPlan,
        privacy: PrivacyPlan | None,
    ) -> Self:
        """The patients with each column's histogram, and nothing else, measured."""
        if privacy is None:
            codec = TableCodec.fit(schema, cohort.table, cohort.subject_id, n_levels=config.levels)
            levels, n = codec.levels(cohort.table), len(cohort.table)
            histogram_noise, choice_epsilon, count_noise = 0.0, None, 0.0
        else:
            rows = OneRowEach(cohort)
            histogram_noise = privacy.mechanisms[0].noise_multiplier
            codec, n = learn_private_codec(schema, rows, histogram_noise, n_levels=config.levels)
            columns = [codec.column_levels(k, rows[name]) for k, name in enumerate(schema.names)]
            levels = np.stack(columns).T
            choice_epsilon = privacy.mechanisms[1].epsilon if plan.n_choices else None
            count_noise = privacy.mechanisms[-1].noise_multiplier if plan.n_counts else 0.0
        sizes = {2, 3, *(len(clique) for clique in plan.fixed)}
        grains = {
            size: [CoarseColumn.of(codec, k, _n_bins(n, count_noise, size)) for k in range(len(schema.columns))]
            for size in sorted(sizes)
        }
        return cls(
            codec=codec,
            levels=levels,
            n=n,
            config=config,
            histogram_noise=histogram_noise,
            choice_epsilon=choice_epsilon,
            count_noise=count_noise,
            chain=LogLinearChain.independent(plan.order, Grains(grains), codec.level_shares),
            counts={},
            rng=np.random.default_rng(config.seed),
        )

    def count(self, cliques: Sequence[Clique]) -> None:
        """Measure: each patient is in one cell of a clique's counts."""
        for clique in cliques:
            exact = self.chain.grains.counts(clique, self.levels)
            self.counts[clique] = noisy_counts(exact, self.count_noise) if self.count_noise else exact

    def choose(self, candidates: Sequence[Clique], rows: np.ndarray, n_choices: int) -> list[Clique]:
        """Select: the candidates that the model, of which `rows` were drawn, misses most."""
        each = scores(candidates, self.chain.grains, self.levels, rows, n=self.n, noise=self.count_noise)
        return choose(candidates, each, n_choices, self.choice_epsilon)

    def fit(self) -> np.ndarray:
        """Estimate: the model of all counts so far, and rows drawn from it."""
        grains = self.chain.grains
        for k, shares in enumerate(self.codec.level_shares):
            self.chain.set_shares(k, self._shares(k, shares))
        measurements = []
        for clique, counts in self.counts.items():
            grain, expected = grains.of(clique), np.ones(1)
            for k in clique:
                in_bins = np.bincount(grain[k].bins, weights=self.chain.shares[k])
                expected = (expected[:, None] * in_bins).ravel()
            measurements.append(Measurement(clique, counts.astype(np.float64), self.n * expected, self.count_noise))
        n_rows = int(min(10 * self.n, self.config.rows, MOST_NUMBERS / self.chain.width(self.counts)))
        n_rows = max(n_rows, FEWEST_ROWS)
        return self.chain.fit(measurements, n=self.n, n_rows=n_rows, rng=self.rng)

    def _shares(self, k: int, shares: np.ndarray) -> np.ndarray:
        """A column's shares by its histogram and by all counts with it, in inverse proportion to their variances."""
        if not self.histogram_noise:
            return shares
        bins = self.chain.grains.columns[2][k].bins
        own = np.bincount(bins, weights=shares)
        # A bin's count adds up some of the histogram's, each with this noise: two, to say about how many.
        precision = np.full(len(own), 1 / (2 * self.histogram_noise**2))
        total = own * self.n * precision
        for clique, counts in self.counts.items():
            if len(clique) == 2 and k in clique:
                table = counts.reshape(self.chain.grains.of(clique)[clique[0]].n_bins, -1)
                axis = 1 - clique.index(k)
                weight = 1 / (self.count_noise**2 * table.shape[axis])
                total, precision = total + table.sum(axis=axis) * weight, precision + weight
        both = onto_simplex(total / precision, self.n) / self.n
        return shares * (both / np.maximum(own, 1e-12))[bins]


@functools.cache
def _private_plan(schema: Schema, config: MarginalsConfig, budget: Budget) -> PrivacyPlan:
    """The plan with the least noise that keeps to the budget; asked for before a fit and in it."""
    plan = MarginalsPlan.of(schema, config, budget)
    noise = noise_for(lambda noise: plan.mechanisms(schema, config, noise), budget)
    mechanisms = plan.mechanisms(schema, config, noise)
    return PrivacyPlan(budget=budget, mechanisms=mechanisms, accounted=accounted(mechanisms, budget.delta))


def _n_bins(n: int, noise: float, size: int) -> int:
    """Bins of a column in counts of `size` columns of `n` patients."""
    even = (n / (NOISES_PER_CELL * max(1.0, noise))) ** (1 / size)
    return int(np.clip(round(even), 2, MOST_BINS[size]))
