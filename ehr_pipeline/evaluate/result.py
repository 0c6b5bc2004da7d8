"""What an evaluation says: scores with interval, floor and null, and the counts behind the pictures.

What belongs here: types that evaluate fills and the report reads, and nothing computed. Counts of fewer
than `SMALL_CELL` patients are None from the start, so that no later stage can show them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ehr_pipeline.evaluate.score import Attack, Curve, Dimension, PlantedLeak, Record, Score
from ehr_pipeline.evaluate.timelines.result import TimelineEvaluation

__all__ = [
    "Attack",
    "ColumnComparison",
    "CorrelationComparison",
    "Curve",
    "Effect",
    "EffectEstimate",
    "EpidemiologyRow",
    "Evaluation",
    "PlantedLeak",
    "Score",
    "Subgroup",
    "TaskComparison",
]


class ColumnComparison(Record):
    """One column in the real training, real holdout and synthetic table: counts per bin or level."""

    name: str
    kind: str
    unit: str | None = None
    bins: list[float] | None = Field(None, description="bin edges of a number, rounded, from public range or quantiles")
    levels: list[str] | None = Field(None, description="levels of a category; rare ones pooled as 'other'")
    train: list[int | None]
    holdout: list[int | None]
    synthetic: list[int | None]
    missing_share: dict[str, float] = Field(description="train, holdout, synthetic: share of rows without a value")
    distance: float | None = Field(None, description="KS of numbers, total variation of categories, train to synthetic")
    distance_floor: float | None = None
    divergence: float | None = Field(None, description="KL divergence from train to synthetic, nats")
    divergence_floor: float | None = None


class CorrelationComparison(Record):
    """Pearson matrices over numbers and 0/1 indicators of levels; rows and columns in the order of `names`.

    0 where a correlation is undefined, or rests on fewer than SMALL_CELL real rows.
    """

    names: list[str]
    train: list[list[float]]
    holdout: list[list[float]]
    synthetic: list[list[float]]


class TaskComparison(Record):
    """One prediction task: models trained on real or synthetic rows, tested on the real holdout."""

    target: str
    level: str | None
    model: Literal["boosted", "linear"]
    curves: list[Curve] = Field(description="trained on real, trained on synthetic")


class Subgroup(Record):
    """Fidelity and utility inside one group of patients; None where the group is under SMALL_CELL."""

    column: str
    level: str
    n_real: int | None
    n_synthetic: int | None
    share_ratio: float | None = Field(None, description="share in the synthetic table over share in the real one")
    scores: dict[str, float | None] = Field({})


class EpidemiologyRow(Record):
    """One line of the epidemiology table."""

    label: str
    unit: str | None
    real: float | None
    synthetic: float | None
    difference: float | None


class EffectEstimate(Record):
    """A treatment effect estimated in one table."""

    table: Literal["train", "holdout", "synthetic"]
    measure: Literal["log_odds", "risk_difference"]
    value: float | None
    low: float | None
    high: float | None


class Effect(Record):
    """The causal question, its estimates, and the truth where it is known (simulated hospitals)."""

    treatment: str
    outcome: str
    confounders: list[str]
    true_log_odds: float | None
    true_risk_difference: float | None
    estimates: list[EffectEstimate]


class Evaluation(Record):
    """All that was found out about one synthetic table: `scores.json`."""

    scores: dict[str, Score]
    columns: list[ColumnComparison]
    correlation: CorrelationComparison | None
    two_sample: list[Curve] = Field(
        description="ROC of telling real holdout rows from: synthetic rows, fresh real rows"
    )
    tasks: list[TaskComparison]
    attacks: list[Attack]
    subgroups: list[Subgroup]
    epidemiology: list[EpidemiologyRow]
    effect: Effect | None
    n_rows: dict[str, int] = Field(description="train, holdout, synthetic, compared (equal sizes)")
    left_out: list[str] = Field([], description="real columns not compared: absent in the synthetic table, text, ids")
    warnings: list[str] = Field([], description="what a reader must know before trusting the numbers, in plain words")
    not_judged: dict[Dimension, str] = Field({}, description="dimensions that these tables cannot pass, and why")
    timelines: TimelineEvaluation | None = Field(None, description="of a generator of timelines: what its events say")
    provenance: dict[str, Any] = Field({}, description="hashes, seeds, versions; filled by the caller")

    def with_events(self, found: TimelineEvaluation) -> Evaluation:
        """The same with the evaluation of the events beside it.

        Attacks on events stand with those on the table, under names of their own, so that whoever reads the privacy of
        a generator reads both.
        """
        privacy = {name: score for name, score in found.scores.items() if score.dimension == "privacy"}
        rest = {name: score for name, score in found.scores.items() if name not in privacy}
        update = {
            "scores": self.scores | privacy,
            "attacks": [*self.attacks, *found.attacks],
            "timelines": found.model_copy(update={"scores": rest, "attacks": []}),
        }
        return self.model_copy(update=update)

    def __str__(self) -> str:
        from ehr_pipeline.evaluate.printed import printed

        return printed(self)
