"""What the generator `marginals` counts and chooses, how often and with what noise: by public settings alone.

What belongs here: the plan. What does not: anything that sees a patient (`marginals.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators.coarse_columns import Clique
from ehr_pipeline.generators.configs import MarginalsConfig
from ehr_pipeline.generators.private_codec import codec_mechanism
from ehr_pipeline.privacy.accountant import total_noise
from ehr_pipeline.privacy.budget import Budget, GaussianMechanism, Mechanism, PureMechanism
from ehr_pipeline.record import Schema

LEAST_EPSILON = 2e-3
"""A choice with less is left to chance: fewer are made instead. (The accountant's grid is not much finer either.)"""
MOST_STUDY_FEATURES = 16
"""With more features than this, none is counted together with treatment and outcome unless `cliques` says so."""


@dataclass(frozen=True, kw_only=True)
class MarginalsPlan:
    """What is counted and chosen, by public settings alone.

    Attributes
    ----------
    order
        Columns in the order of the chain: the schema's, treatments and then outcomes last.
    fixed
        Cliques that are always measured.
    n_pairs, n_triples
        Choices of pairs, per round, and of triples.
    """

    order: tuple[int, ...]
    fixed: tuple[Clique, ...]
    n_pairs: tuple[int, ...]
    n_triples: int

    @classmethod
    def of(cls, schema: Schema, config: MarginalsConfig, budget: Budget | None) -> Self:
        """The plan for the columns of `schema`.

        Raises
        ------
        DefinitionError
            `cliques` names a column that there is not.
        """
        d = len(schema.columns)
        last = {"treatment": 1, "outcome": 2}
        order = tuple(sorted(range(d), key=lambda k: (last.get(schema.columns[k].role, 0), k)))
        pairs = list(combinations(order, 2))
        most_pairs = min(len(pairs), config.pairs_per_column * d)
        most_choices = math.inf
        if budget is not None:
            most_choices = config.selection / (total_noise(budget) * LEAST_EPSILON) ** 2
        if most_pairs < len(pairs):
            ends = {k for k in range(d) if schema.columns[k].role in last}
            pairs = [pair for pair in pairs if ends & set(pair)]
        n_chosen = int(min(max(0, most_pairs - len(pairs)), most_choices))
        rounds = np.array_split(np.arange(n_chosen), config.rounds)
        return cls(
            order=order,
            fixed=tuple(dict.fromkeys([*pairs, *_study_cliques(schema, config, order)])),
            n_pairs=tuple(len(one) for one in rounds if len(one)),
            n_triples=int(min(config.triples, math.comb(d, 3) // 2, most_choices - n_chosen)),
        )

    @property
    def n_choices(self) -> int:
        """Choices in all."""
        return sum(self.n_pairs) + self.n_triples

    @property
    def n_counts(self) -> int:
        """Joint counts in all."""
        return len(self.fixed) + self.n_choices

    def mechanisms(self, schema: Schema, config: MarginalsConfig, noise: float) -> tuple[Mechanism, ...]:
        """What is done to patients, of which Gaussian parts come to about one Gaussian mechanism of `noise`."""
        counts_share = 1 - (config.selection if self.n_choices else 0)
        histograms_share = config.histograms * counts_share if self.n_counts else counts_share
        all_of_it: list[Mechanism] = [
            codec_mechanism(schema, noise * math.sqrt(len(schema.columns) / histograms_share))
        ]
        if self.n_choices:
            epsilon = math.sqrt(config.selection / self.n_choices) / noise
            all_of_it.append(PureMechanism(name="choice of columns", epsilon=epsilon, steps=self.n_choices))
        if self.n_counts:
            multiplier = noise * math.sqrt(self.n_counts / (counts_share - histograms_share))
            all_of_it.append(
                GaussianMechanism(name="joint counts of columns", noise_multiplier=multiplier, steps=self.n_counts)
            )
        return tuple(all_of_it)


def _study_cliques(schema: Schema, config: MarginalsConfig, order: Sequence[int]) -> list[Clique]:
    """The config's cliques in the order of the chain; without any, treatment x outcome x each of a few features."""
    names, place = schema.names, {k: at for at, k in enumerate(order)}
    unknown = {name for clique in config.cliques for name in clique} - set(names)
    if unknown:
        raise DefinitionError(f"cliques name the columns {', '.join(sorted(unknown))}, which the table does not have")
    cliques = [tuple(names.index(name) for name in clique) for clique in config.cliques]
    if not cliques:
        treatments, outcomes = ([names.index(c.name) for c in schema.with_role(r)] for r in ("treatment", "outcome"))
        features = [k for k in range(len(names)) if k not in treatments + outcomes]
        if len(features) <= MOST_STUDY_FEATURES:
            cliques = [(k, t, o) for t in treatments for o in outcomes for k in features]
    return [tuple(sorted(clique, key=place.__getitem__)) for clique in cliques]
