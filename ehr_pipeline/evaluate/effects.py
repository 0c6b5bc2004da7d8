"""Whether the effect of a treatment can be recovered from a table.

What belongs here: the adjusted log-odds ratio by logistic regression and the risk difference by inverse
propensity weights, each with its interval and its error. Confounders enter linearly (numbers) or by level.

The estimators assume that the confounders named are all there are; on a real table they are compared, not
believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.intervals import Z, around
from ehr_pipeline.evaluate.plan import EffectQuestion
from ehr_pipeline.evaluate.result import Effect, EffectEstimate
from ehr_pipeline.evaluate.scoring import Reading, Readings

PROPENSITY_CLIP = 0.01
MIN_CELL_ROWS = 5
MAX_STEPS = 50
RIDGE = 1e-6


@dataclass(frozen=True)
class Estimate:
    """An effect and its standard error, both None where it cannot be estimated, and why."""

    value: float | None
    error: float | None = None
    note: str | None = None

    @property
    def reading(self) -> Reading:
        """The estimate with its 95 % interval."""
        if self.value is None or self.error is None:
            return Reading(self.value, note=self.note)
        return Reading(self.value, *around(self.value, self.error, lowest=-np.inf), self.note)


class Effects:
    """One causal question, asked of any table; errors against the truth where known, else against training."""

    def __init__(self, question: EffectQuestion, train: Encoded, encoding: Encoding) -> None:
        self.question = question
        self.encoding = encoding
        self.train = self.estimate(train)

    def estimate(self, table: Encoded) -> tuple[Estimate, Estimate]:
        """Adjusted log-odds ratio and risk difference of a table."""
        arms = self._arms(table)
        if isinstance(arms, str):
            return Estimate(None, note=arms), Estimate(None, note=arms)
        treated, outcome, rows = arms
        cells = np.bincount(2 * treated.astype(int) + outcome.astype(int), minlength=4)
        if cells.min() < MIN_CELL_ROWS:
            few = f"fewer than {MIN_CELL_ROWS} rows with some pair of treatment and outcome"
            return Estimate(None, note=few), Estimate(None, note=few)
        skip = set(self.encoding.names) - set(self.question.confounders)
        x = np.hstack(self.encoding.design(rows, skip)).astype(float)
        coefficients, errors = fit_logistic(np.column_stack([treated, x]), outcome)
        return Estimate(float(coefficients[1]), float(errors[1])), weighted_difference(
            x, treated, outcome, rows.patient
        )

    def readings(self, estimates: tuple[Estimate, Estimate]) -> Readings:
        """Both effects and their absolute errors."""
        truths = (self.question.true_log_odds, self.question.true_risk_difference)
        found = {}
        for name, estimate, truth, train in zip(
            ("causal_log_odds", "causal_risk_difference"), estimates, truths, self.train, strict=True
        ):
            target = train if truth is None else Estimate(truth, 0.0)
            found |= {name: estimate.reading, f"{name}_error": _distance(estimate, target)}
        return found

    def as_result(self, holdout: tuple[Estimate, Estimate], synthetic: tuple[Estimate, Estimate]) -> Effect:
        """The question and every table's estimates, for the report."""
        estimates = []
        for table, pair in (("train", self.train), ("holdout", holdout), ("synthetic", synthetic)):
            for measure, estimate in zip(("log_odds", "risk_difference"), pair, strict=True):
                value, low, high, _ = estimate.reading
                estimates.append(EffectEstimate(table=table, measure=measure, value=value, low=low, high=high))
        return Effect(
            treatment=self.question.treatment,
            outcome=self.question.outcome,
            confounders=list(self.question.confounders),
            true_log_odds=self.question.true_log_odds,
            true_risk_difference=self.question.true_risk_difference,
            estimates=estimates,
        )

    def _arms(self, table: Encoded) -> tuple[np.ndarray, np.ndarray, Encoded] | str:
        """Treatment and outcome as 0/1 float [n] and the rows where both are present, or why not."""
        absent = [name for name in self.question.confounders if name not in self.encoding.names]
        if absent:
            return f"confounders not compared: {', '.join(absent)}"
        columns = []
        for name in (self.question.treatment, self.question.outcome):
            if name not in self.encoding.categorical:
                return f"{name} is not a compared column with levels"
            levels = self.encoding.levels[self.encoding.categorical.index(name)]
            if len(levels) != 2:
                return f"{name} does not have two levels in the training table"
            code = self.encoding.column(table, name)
            columns.append((code == levels.get_loc(max(levels)), code < len(levels)))
        present = columns[0][1] & columns[1][1]
        treated, outcome = (is_positive[present].astype(float) for is_positive, _ in columns)
        return treated, outcome, table.take(np.flatnonzero(present))


def fit_logistic(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression by Newton's method: coefficients and standard errors [p + 1], intercept first.

    A ridge of 1e-6 makes collinear columns solvable.
    """
    x = np.column_stack([np.ones(len(x)), x]).astype(float)
    coefficients, ridge = np.zeros(x.shape[1]), RIDGE * np.eye(x.shape[1])
    for _ in range(MAX_STEPS):
        p = _logistic(x @ coefficients)
        information = x.T @ (x * (p * (1 - p))[:, None]) + ridge
        step = np.linalg.solve(information, x.T @ (y - p) - ridge @ coefficients)
        coefficients += np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-9:
            break
    return coefficients, np.sqrt(np.maximum(np.diag(np.linalg.inv(information)), 0))


def weighted_difference(x: np.ndarray, treated: np.ndarray, outcome: np.ndarray, patient: np.ndarray) -> Estimate:
    """Risk difference by inverse propensity weights, normalised per arm, propensities cut to 0.01 - 0.99.

    The standard error is the sandwich of the stacked estimating equations (propensity model and both arms),
    summed per patient: M-estimation as in Lunceford and Davidian 2004, section 3.
    """
    design = np.column_stack([np.ones(len(x)), x])
    coefficients, _ = fit_logistic(x, treated)
    raw = _logistic(design @ coefficients)
    p = raw.clip(PROPENSITY_CLIP, 1 - PROPENSITY_CLIP)
    moves = (raw == p).astype(float)  # a cut propensity no longer follows the model
    w1, w0 = treated / p, (1 - treated) / (1 - p)
    risk1, risk0 = np.average(outcome, weights=w1), np.average(outcome, weights=w0)
    residual1, residual0 = outcome - risk1, outcome - risk0
    equations = np.column_stack([design * (treated - raw)[:, None], w1 * residual1, w0 * residual0])
    width = design.shape[1]
    slope = np.zeros((width + 2, width + 2))
    slope[:width, :width] = design.T @ (design * (raw * (1 - raw))[:, None]) + RIDGE * np.eye(width)
    slope[width, :width] = (w1 * residual1 * (1 - p) * moves) @ design
    slope[width + 1, :width] = -(w0 * residual0 * p * moves) @ design
    slope[width, width], slope[width + 1, width + 1] = w1.sum(), w0.sum()
    contrast = np.zeros(width + 2)
    contrast[width], contrast[width + 1] = 1, -1
    influence = equations @ np.linalg.solve(slope.T, contrast)
    _, position = np.unique(patient, return_inverse=True)
    per_patient = np.bincount(position, weights=influence)
    return Estimate(float(risk1 - risk0), float(np.sqrt((per_patient**2).sum())))


def _logistic(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -30, 30)))


def _distance(estimate: Estimate, target: Estimate) -> Reading:
    if estimate.value is None or target.value is None:
        return Reading(None, note=estimate.note or target.note)
    gap, error = estimate.value - target.value, np.hypot(estimate.error, target.error)
    low = max(abs(gap) - Z * error, 0.0)
    return Reading(abs(gap), float(low), float(abs(gap) + Z * error))
