"""What a user asks of a pair of files, checked against the real one: prediction tasks and a treatment's effect.

What belongs here: from names that a user wrote to a plan that can be carried out, or one clear line. What does not:
answering any of it.

Without a target named there is no prediction task, unless a schema file gives a two-level column the role `outcome`:
which column is worth predicting is not to be seen from a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ehr_pipeline.errors import OptionError
from ehr_pipeline.evaluate.encoding import Encoding
from ehr_pipeline.evaluate.plan import EffectQuestion, EvaluationPlan, Task
from ehr_pipeline.record import Schema


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is asked beyond the files themselves, as a user writes it.

    Attributes
    ----------
    targets
        `COLUMN`, of two levels, or `COLUMN=LEVEL`.
    treatment, outcome, confounders
        Columns of a causal question: two levels, two levels, any.
    true_log_odds
        The treatment's true effect, where the data was simulated.
    """

    targets: Sequence[str] = ()
    treatment: str | None = None
    outcome: str | None = None
    confounders: Sequence[str] = ()
    true_log_odds: float | None = None

    def plan(self, real: pd.DataFrame, schema: Schema) -> EvaluationPlan:
        """The plan for a real table that conforms to `schema` (compared columns only).

        Raises
        ------
        OptionError
            A column or level is not there, or has too few or too many levels for what is asked of it.
        """
        levels = _levels(real, schema)
        tasks = tuple(_task(text, schema, levels) for text in self.targets) or _tasks_of_roles(schema, levels)
        return EvaluationPlan(tasks=tuple(dict.fromkeys(tasks)), effect=self._effect(schema, levels))

    def _effect(self, schema: Schema, levels: dict[str, pd.Index]) -> EffectQuestion | None:
        if self.treatment is None or self.outcome is None:
            given = [self.treatment, self.outcome, self.true_log_odds, *self.confounders]
            if all(value is None for value in given):
                return None
            raise OptionError("a causal question needs both --treatment and --outcome; name both or neither")
        for option, name in (("--treatment", self.treatment), ("--outcome", self.outcome)):
            _require_column(option, name, schema)
            if len(levels.get(name, ())) != 2:
                raise OptionError(f"{option} {name}: the column needs two levels in the real file; name another")
        for name in self.confounders:
            _require_column("--confounders", name, schema)
        confounders = tuple(dict.fromkeys(self.confounders))
        if {self.treatment, self.outcome} & set(confounders) or self.treatment == self.outcome:
            raise OptionError("--treatment, --outcome and --confounders must name different columns")
        return EffectQuestion(self.treatment, self.outcome, confounders, true_log_odds=self.true_log_odds)


def _levels(real: pd.DataFrame, schema: Schema) -> dict[str, pd.Index]:
    """The levels of each column that is read as levels."""
    encoding = Encoding.learn(real, schema)
    return dict(zip(encoding.categorical, encoding.levels, strict=True))


def _task(text: str, schema: Schema, levels: dict[str, pd.Index]) -> Task:
    """A task from `COLUMN` or `COLUMN=LEVEL`; a column name may itself hold an equals sign."""
    name, level = (text, None) if text in schema else text.rpartition("=")[::2]
    _require_column("--target", name or text, schema)
    found = levels.get(name)
    if found is None:
        raise OptionError(f"--target {name}: a number with many values cannot be predicted as a level; name another")
    if len(found) < 2:
        raise OptionError(f"--target {name}: the real file has one level of it, nothing to predict; name another")
    if level is None:
        if len(found) > 2:
            raise OptionError(f"--target {name}: it has {len(found)} levels; say which with --target {name}=LEVEL")
        return Task(name)
    if not _has(found, level):
        raise OptionError(f"--target {text}: the real file has no such level of {name}; name one of its levels")
    return Task(name, level)


def _has(levels: pd.Index, level: str) -> bool:
    if levels.dtype.kind != "f":
        return level in levels
    try:
        return float(level) in levels
    except ValueError:
        return False


def _tasks_of_roles(schema: Schema, levels: dict[str, pd.Index]) -> tuple[Task, ...]:
    names = [column.name for column in schema.with_role("outcome")]
    return tuple(Task(name) for name in names if len(levels.get(name, ())) == 2)


def _require_column(option: str, name: str, schema: Schema) -> None:
    if name not in schema:
        raise OptionError(f"{option} {name}: the files have no such column to compare; it must be a column of both")
