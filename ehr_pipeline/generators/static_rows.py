"""Static facts as a patient table that our own generators of tables learn: the commonest jointly, the rest alone.

What belongs here: which generator learns which columns. What does not: what a column is (`static_facts.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.configs import IndependentConfig, MarginalsConfig
from ehr_pipeline.generators.independent import Independent
from ehr_pipeline.generators.marginals import Marginals
from ehr_pipeline.generators.persistence import read_state, write_state
from ehr_pipeline.generators.static_facts import StaticFacts
from ehr_pipeline.generators.timelines import TimelineCohort

JOINT_COLUMNS = 12
"""So many columns are learned by all their pairs."""
PARTS: dict[str, type[Generator]] = {"joint": Marginals, "alone": Independent}


@dataclass(frozen=True)
class StaticRows:
    """The columns, and the generators that draw them; none where nobody has static facts."""

    facts: StaticFacts
    parts: dict[str, Generator]

    @classmethod
    def learn(cls, cohort: TimelineCohort, config: GeneratorConfig) -> Self:
        """Learn the pairs of the commonest columns."""
        facts = StaticFacts.learn(cohort)
        table, schema, parts = facts.table(cohort), facts.schema, {}
        n_joint = JOINT_COLUMNS if len(schema.columns) > 1 else 0
        own = {
            "joint": (schema.names[:n_joint], MarginalsConfig(seed=config.seed, triples=0)),
            "alone": (schema.names[n_joint:], IndependentConfig(seed=config.seed)),
        }
        for part, (names, settings) in own.items():
            if names:
                columns = schema.without(set(schema.names) - set(names))
                rows = TrainingCohort(schema=columns, table=table[names], subject_id=np.arange(cohort.n_patients))
                parts[part] = PARTS[part].fit(rows, settings)
        return cls(facts, parts)

    def draw(self, n: int, seed: int, origin: np.ndarray, conditions: Mapping[str, str | float] | None) -> pd.DataFrame:
        """The static events and births of `n` patients, numbered from 1, whose time 0 is `origin`."""
        given = self.facts.conditions(conditions)
        rows = [
            generator.sample(n, seed, {name: value for name, value in given.items() if name in generator.schema})
            for generator in self.parts.values()
        ]
        return self.facts.events(pd.concat(rows, axis=1) if rows else pd.DataFrame(index=np.arange(n)), origin)

    def save(self, folder: Path) -> None:
        """Write the columns, and each generator into a folder of its own."""
        write_state(folder, "static", {"columns": self.facts.state(), "parts": list(self.parts)}, {})
        for part, generator in self.parts.items():
            (folder / part).mkdir()
            generator.save(folder / part)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        plain, _ = read_state(folder, "static")
        parts = {part: PARTS[part].load(folder / part) for part in plain["parts"]}
        return cls(StaticFacts.of_state(plain["columns"]), parts)
