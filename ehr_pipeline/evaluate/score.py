"""One number of an evaluation between its two references, the curve behind it, and what an attack made of its controls.

What belongs here: types that results of tables and of timelines share, and nothing computed.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["passed", "failed", "diagnostic"]
Dimension = Literal["fidelity", "utility", "privacy", "causal"]


class Record(BaseModel):
    """A part of an evaluation: frozen, nothing unknown, no infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Score(Record):
    """One metric of one synthetic table, between its two references.

    `normalised` is (value - floor) / (null - floor): 0 as good as a fresh real sample, 1 no better than
    independent columns; None where the null is not clearly worse than the floor. `low` and `high` bound a
    95 % interval: over patients where it comes from the bootstrap, over rows where from a formula. A metric
    that cannot be computed has value None and says why in `note`; if it has a threshold its verdict is `failed`.
    """

    name: str
    dimension: Dimension
    value: float | None
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    null: float | None = None
    normalised: float | None = None
    threshold: float | None = None
    verdict: Verdict = "diagnostic"
    better: Literal["lower", "higher", "near_half"] = "lower"
    note: str | None = None


class Curve(Record):
    """A ROC curve, thinned to at most 100 points."""

    label: str
    false_positive_rate: list[float]
    true_positive_rate: list[float]
    auc: float


class PlantedLeak(Record):
    """What one attack made of one leak that was planted on purpose."""

    plant: str
    must_be_found: bool = Field(description="whether the attack is for leaks of this kind")
    is_found: bool = Field(description="whether some score of the attack was outside its limit")
    score: str = Field(description="the score that told best")
    value: float | None
    limit: float


class Attack(Record):
    """One privacy attack and its controls: the same attack on data into which training rows were planted.

    Of several planted leaks `planted_value` is that of the one, among those the attack is for, which it saw least.
    """

    name: str
    question: str = Field(description="what the attacker asks, in plain words")
    score_names: list[str]
    planted_share: float = Field(description="share of rows replaced by copies of training rows in the control")
    planted_value: float | None = Field(description="what the attack scored on the control")
    planted_score: str | None = Field(None, description="the score that `planted_value` is of")
    found_plant: bool = Field(description="whether the attack found every planted leak that it is for")
    plants: list[PlantedLeak] = Field([])
