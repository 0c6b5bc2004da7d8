"""The static row of a record: tokens for its categories, uniform numbers for its numbers, and what is missing.

What belongs here: from a table of static facts to arrays and back. What does not: which columns the table has
(`static_facts.py`), networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.category_autoencoder import ABSENT, Tokens
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.persistence import under
from ehr_pipeline.generators.record_layout import FARTHEST_Z
from ehr_pipeline.generators.static_facts import StaticFacts
from ehr_pipeline.generators.stochastic_normalisation import StochasticNormalisation


@dataclass(frozen=True, kw_only=True)
class StaticArrays:
    """Static rows of n patients.

    Attributes
    ----------
    tokens
        Of the categorical columns: int64 of shape (n, n_categorical); a missing value may be a token, or `ABSENT`.
    z, present
        Of the columns of numbers: standard normal numbers (0 where missing) and masks, float32 of shape (n, n_numbers).
    """

    tokens: np.ndarray
    z: np.ndarray
    present: np.ndarray


@dataclass(frozen=True, kw_only=True)
class StaticColumns:
    """The columns, each by its place.

    Attributes
    ----------
    numbers
        Normalisation of each column of numbers.
    may_miss
        Columns that at least `MINIMUM_PATIENTS` patients lack; others are always there.
    """

    facts: StaticFacts
    numbers: dict[int, StochasticNormalisation]
    may_miss: frozenset[int]

    @classmethod
    def learn(cls, facts: StaticFacts, table: pd.DataFrame, *, exact: bool) -> Self:
        """Learn from one row per patient, as `facts.table` gives it."""
        numbers, patient = {}, np.arange(len(table))
        for k, column in enumerate(facts.columns):
            if column.form == "number":
                values = table[str(k)].to_numpy(dtype=np.float64, na_value=np.nan)
                here = np.isfinite(values)
                decimals = facts.schema.columns[k].decimals
                fitted = StochasticNormalisation.fit(values[here], patient[here], exact=exact, decimals=decimals)
                if fitted is not None:
                    numbers[k] = fitted
        n_missing = table.isna().sum().to_numpy()
        return cls(
            facts=facts,
            numbers=numbers,
            may_miss=frozenset(k for k in range(len(facts.columns)) if n_missing[k] >= MINIMUM_PATIENTS),
        )

    @property
    def categorical(self) -> list[int]:
        """Places of the categorical columns."""
        return [k for k, column in enumerate(self.facts.columns) if column.form != "number"]

    @property
    def tokens(self) -> Tokens:
        """A group for each categorical column: its levels, and the last one for missing if it may miss."""
        return Tokens(tuple(len(self.facts.columns[k].levels) + (k in self.may_miss) for k in self.categorical))

    @property
    def never_misses(self) -> np.ndarray:
        """Which columns of numbers are always there: bool of shape (n_numbers,)."""
        return np.array([k not in self.may_miss for k in self.numbers], dtype=bool)

    def encode(self, table: pd.DataFrame, rng: np.random.Generator) -> StaticArrays:
        """The arrays of a table."""
        n = len(table)
        tokens = np.full((n, len(self.categorical)), ABSENT, dtype=np.int64)
        for j, (k, group) in enumerate(zip(self.categorical, self.tokens.groups, strict=True)):
            level = pd.Categorical(table[str(k)], categories=list(self.facts.columns[k].levels)).codes.astype(np.int64)
            missing = group.stop - 1 if k in self.may_miss else ABSENT
            tokens[:, j] = np.where(level >= 0, group.start + level, missing)
        z, present = np.zeros((2, n, len(self.numbers)), dtype=np.float32)
        for j, (k, column) in enumerate(self.numbers.items()):
            values = table[str(k)].to_numpy(dtype=np.float64, na_value=np.nan)
            here = np.isfinite(values)
            z[here, j] = ndtri(column.normalise(values[here], rng)).clip(-FARTHEST_Z, FARTHEST_Z)
            present[here, j] = 1.0
        return StaticArrays(tokens=tokens, z=z, present=present)

    def decode(self, arrays: StaticArrays) -> pd.DataFrame:
        """The table of arrays, missing values included."""
        n, table = len(arrays.tokens), {}
        for j, (k, group) in enumerate(zip(self.categorical, self.tokens.groups, strict=True)):
            levels = np.array([*self.facts.columns[k].levels, None], dtype=object)
            level = arrays.tokens[:, j] - group.start
            table[k] = pd.Series(levels[np.clip(level, 0, len(levels) - 1)], dtype=object)
        for k, column in enumerate(self.facts.columns):
            if column.form == "number":
                table[k] = pd.Series(np.full(n, np.nan))
        for j, (k, column) in enumerate(self.numbers.items()):
            values = column.restore(ndtr(arrays.z[:, j].astype(np.float64)))
            table[k] = pd.Series(np.where(arrays.present[:, j] > 0, values, np.nan))
        return pd.DataFrame({str(k): table[k] for k in range(len(self.facts.columns))}, index=np.arange(n))

    def conditions(
        self, conditions: Mapping[str, str | float] | None
    ) -> tuple[dict[int, int], dict[int, tuple[float, float]]]:
        """Tokens by group, and numbers (standard normal, as given) by place.

        Raises
        ------
        OptionError
            There is no such fact, or no such level of it.
        """
        tokens, numbers = {}, {}
        for name, value in self.facts.conditions(conditions).items():
            k = int(name)
            column = self.facts.columns[k]
            if column.form == "number":
                if k not in self.numbers or not _is_number(value):
                    raise OptionError(f"the static fact {column.name!r} is a number; set it to one")
                rank = self.numbers[k].normalise(np.array([float(value)]), np.random.default_rng(0))
                numbers[list(self.numbers).index(k)] = (float(ndtri(rank)[0]), float(value))
            else:
                if value not in column.levels:
                    raise OptionError(f"the static fact {column.name!r} has no such level; take one of the events' own")
                group = self.categorical.index(k)
                tokens[group] = self.tokens.groups[group].start + column.levels.index(value)
        return tokens, numbers

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What JSON and safetensors hold of it."""
        plain: dict[str, Any] = {"columns": self.facts.state(), "may_miss": sorted(self.may_miss), "numbers": {}}
        arrays = {}
        for k, column in self.numbers.items():
            plain["numbers"][str(k)], parts = column.state()
            arrays |= {f"{k}.{part}": array for part, array in parts.items()}
        return plain, arrays

    @classmethod
    def of_state(cls, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Read what `state` gave."""
        return cls(
            facts=StaticFacts.of_state(plain["columns"]),
            may_miss=frozenset(plain["may_miss"]),
            numbers={
                int(k): StochasticNormalisation.of_state(column, under(f"{k}.", arrays))
                for k, column in plain["numbers"].items()
            },
        )


def _is_number(value: str | float) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except ValueError:
        return False
