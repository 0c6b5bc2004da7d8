"""What an evaluation is asked: prediction tasks, a causal question, sensitive columns, thresholds.

What belongs here: the question, as plain values. How it is answered lives beside it, one file per answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ehr_pipeline.evaluate.thresholds import Thresholds


@dataclass(frozen=True)
class Task:
    """Predict whether `target` is `level`. A binary column needs no level: 1 is the positive class."""

    target: str
    level: str | None = None

    @property
    def label(self) -> str:
        """How scores name the task: the column, and the level where one was said."""
        return self.target if self.level is None else f"{self.target}={self.level}"


@dataclass(frozen=True)
class EffectQuestion:
    """The effect of a binary treatment on a binary outcome, adjusted for confounders; truth where it is known."""

    treatment: str
    outcome: str
    confounders: tuple[str, ...]
    true_log_odds: float | None = None
    true_risk_difference: float | None = None


@dataclass(frozen=True)
class EvaluationPlan:
    """Everything an evaluation is asked beyond the tables themselves."""

    tasks: tuple[Task, ...] = ()
    effect: EffectQuestion | None = None
    sensitive: tuple[str, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
