"""What an evaluation of timelines says: its scores, and the numbers behind the pictures.

What belongs here: types that evaluate fills and the report reads, and nothing computed. A real number that rests on
fewer than `SMALL_CELL` patients is None from the start, so that no later stage can show it; real shares of patients
come in steps of `SMALL_CELL` patients. Synthetic numbers are shown as they are.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ehr_pipeline.evaluate.score import Attack, Curve, Record, Score


class Band(Record):
    """Quartiles over patients in each bin of time: one value per patient and bin, the mean of the patient's own.

    Of real patients `median` needs twice SMALL_CELL patients and the quartiles four times, so that at least SMALL_CELL
    lie beyond each; they are rounded to three significant digits.
    """

    median: list[float | None]
    low: list[float | None] = Field(description="first quartile")
    high: list[float | None] = Field(description="third quartile")
    n: list[int | None] = Field(description="patients with a value in the bin; None for 1 to 10 real ones")


class Trajectory(Record):
    """One code's values over the stay, real and synthetic; of patients with one outcome where `outcome` says which."""

    code: str
    title: str
    unit: str | None
    hours: list[float] = Field(description="begin of each bin, hours since the timeline begins")
    real: Band
    synthetic: Band
    outcome: str | None = Field(None, description="None for all patients, else 'with CODE' or 'without CODE'")


class MissingnessMap(Record):
    """Share of patients who have a code in a bin of time: `real[code][bin]`, `synthetic[code][bin]`."""

    codes: list[str]
    titles: list[str]
    hours: list[float]
    real: list[list[float | None]]
    synthetic: list[list[float]]


class RateProfile(Record):
    """Events per patient in each hour of the stay, or of the day."""

    by: Literal["hour of stay", "hour of day"]
    hours: list[float]
    real: list[float | None]
    synthetic: list[float]


class SurvivalCurve(Record):
    """Share of patients without the event by day, after Kaplan and Meier, and the mean time without it up to the end.

    `rmst_*` are restricted means in days up to the last of `days`; `gap` is the largest distance of the curves.
    """

    name: str = Field(description="death, discharge")
    title: str
    days: list[float]
    real: list[float]
    synthetic: list[float]
    rmst_real: float
    rmst_synthetic: float
    gap: float


class CodePrevalence(Record):
    """Share of patients who have a code at all."""

    code: str
    title: str
    real: float | None
    synthetic: float


class ValueDistance(Record):
    """How far one code's values are from the real ones (KS distance), beside a fresh real sample."""

    code: str
    title: str
    distance: float
    floor: float | None
    n_real: int | None = Field(description="real patients with a value")
    median_real: float | None
    median_synthetic: float | None


class CodeTransition(Record):
    """Share of one code being followed by another among all steps between the most frequent codes."""

    code: str
    next_code: str
    real: float
    synthetic: float


class CalibrationPoint(Record):
    """Patients of one bin of predicted risk: what was predicted, and how many of them had it.

    Real patients are counted in steps of SMALL_CELL.
    """

    predicted: float
    observed: float
    n: int


class TaskModel(Record):
    """One task as a model of one table's patients does it on the real holdout; None where nothing can be said."""

    trained_on: Literal["real", "synthetic"]
    auroc: float | None = None
    auprc: float | None = None
    calibration_slope: float | None = None
    calibration_error: float | None = Field(None, description="ECE: mean distance of predicted from observed risk")
    r2: float | None = Field(None, description="share of variance explained, of a task that predicts a number")
    curve: Curve | None = None
    calibration: list[CalibrationPoint] = Field([])


class TimelineTask(Record):
    """A prediction from the first hours of a timeline, learned on real and on synthetic patients."""

    name: str
    title: str
    kind: Literal["event", "number"]
    hours: float = Field(description="hours of the timeline that a model sees")
    n_test: int | None = Field(description="real holdout patients it is tested on")
    share_positive: float | None = Field(None, description="of them with the event, in steps of SMALL_CELL patients")
    share_positive_synthetic: float | None = None
    models: list[TaskModel] = Field([])


class RuleShare(Record):
    """Share of patients who break one clinical rule."""

    rule: str = Field(description="id of the rule, such as E22 or R38")
    title: str
    severity: Literal["hard", "soft"]
    confirmed: bool = Field(description="False for clinical judgement that no clinician has confirmed yet")
    sources: list[str]
    real: float | None
    synthetic: float | None


class Plausibility(Record):
    """Share of patients with any inconsistency under all clinical rules, real beside synthetic.

    `low` and `high` bound the synthetic share (95 %). A share is None where no rule reads these events.
    """

    real_share: float | None
    synthetic_share: float | None
    low: float | None = None
    high: float | None = None
    n_rules: int = Field(description="rules that had anything to check")
    by_rule: list[RuleShare]
    not_run: list[str] = Field([], description="rules that could not be run: they count as broken by everyone")


class RareContent(Record):
    """How many codes and texts the synthetic events have of which fewer than `minimum` training patients have any."""

    minimum: int
    n_codes: int
    n_texts: int


class TimelineEvaluation(Record):
    """All that was found out about the events of one generator."""

    scores: dict[str, Score]
    trajectories: list[Trajectory] = Field(description="main numbers over the stay, of all patients")
    outcome_trajectories: list[Trajectory] = Field([], description="the same with and without the outcome")
    missingness: MissingnessMap
    rates: list[RateProfile] = Field(description="by hour of stay, by hour of day")
    survival: list[SurvivalCurve]
    prevalence: list[CodePrevalence] = Field(description="most common codes, real order")
    values: list[ValueDistance] = Field(description="codes with numbers, worst first")
    transitions: list[CodeTransition] = Field([], description="pairs of next codes, most common first")
    two_sample: list[Curve] = Field([], description="telling real holdout patients from: synthetic, fresh real ones")
    tasks: list[TimelineTask]
    plausibility: Plausibility
    attacks: list[Attack] = Field([], description="on stays and events; empty where no holdout stands for strangers")
    rare: RareContent | None = Field(None, description="what of few patients the events repeat, where it was counted")
    outcome: str | None = Field(None, description="code of the outcome")
    window_hours: float = Field(description="length of the time that is compared")
    n_patients: dict[str, int] = Field(description="train, holdout, synthetic, compared (equal numbers)")
    n_events: dict[str, int] = Field(description="train, holdout, synthetic")
    notes: list[str] = Field([], description="what a reader must know, and the tasks that these events cannot ask")
    provenance: dict[str, Any] = Field({}, description="hashes, seeds, versions; filled by the caller")

    def __str__(self) -> str:
        """The scores as plain text, for a terminal or a notebook."""
        from ehr_pipeline.evaluate.timelines.printed import printed

        return printed(self)
