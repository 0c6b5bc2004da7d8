"""Train on synthetic, test on real (TSTR), beside train on real, test on real (TRTR).

What belongs here: one prediction task at a time, learned by boosting and by a linear model from any table,
tested on the real holdout. `tstr_hgb[TASK]` and `tstr_lr[TASK]` are AUROCs; their floor is TRTR and their
null is chance. AUPRC and the calibration of the linear model ride along as diagnostics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.curves import roc
from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.intervals import around, auc_and_error
from ehr_pipeline.evaluate.learners import MIN_CLASS_ROWS, boosted_scores, can_learn, linear_scores
from ehr_pipeline.evaluate.plan import Task
from ehr_pipeline.evaluate.result import Curve, TaskComparison
from ehr_pipeline.evaluate.scoring import Reading, Readings

MAX_ROWS = 50_000
MODELS = {"tstr_hgb": "boosted", "tstr_lr": "linear"}


@dataclass(frozen=True)
class Predictions:
    """What models trained on one table say of the holdout, for one task.

    `scores` holds float64 [n_holdout] per score name (`tstr_hgb`, `tstr_lr`).
    """

    readings: Readings
    scores: dict[str, np.ndarray]


class Utility:
    """The prediction tasks of a plan, tested on the holdout."""

    def __init__(self, encoding: Encoding, holdout: Encoded, tasks: tuple[Task, ...]) -> None:
        self.encoding = encoding
        self.holdout = holdout
        self.tasks = tasks

    def readings(self, table: Encoded) -> tuple[Readings, dict[str, Predictions]]:
        """All scores of a table, and per task (by label) what its models say of the holdout."""
        predictions = {task.label: self.predict(table, task) for task in self.tasks}
        return {k: v for found in predictions.values() for k, v in found.readings.items()}, predictions

    def predict(self, table: Encoded, task: Task) -> Predictions:
        """Train both models on a table and test them on the holdout."""
        problem = self._problem(table, task)
        if problem:
            none = {f"{name}[{task.label}]": Reading(None, note=problem) for name in MODELS}
            return Predictions(none, {})
        source = table.take(np.arange(min(len(table), MAX_ROWS)))
        label, skip = self.labels(source, task), (task.target,)
        if not can_learn(label):
            few = Reading(0.5, note=f"fewer than {MIN_CLASS_ROWS} training rows of one class: nothing to learn from")
            return Predictions({f"{name}[{task.label}]": few for name in MODELS}, {})
        (x, is_category), (x_test, _) = (self.encoding.features(t, skip) for t in (source, self.holdout))
        scores = {
            "tstr_hgb": boosted_scores(x, label, x_test, is_category),
            "tstr_lr": linear_scores(
                np.hstack(self.encoding.design(source, skip)),
                label,
                np.hstack(self.encoding.design(self.holdout, skip)),
            ),
        }
        return Predictions(self._readings(task, scores), scores)

    def labels(self, table: Encoded, task: Task) -> np.ndarray:
        """Whether the target is the task's level, int [n]; a missing target counts as not."""
        return (self.encoding.column(table, task.target) == self.positive_code(task)).astype(int)

    def positive_code(self, task: Task) -> int | None:
        """The code of the positive class; None where the training table has no such level."""
        levels = self.encoding.levels[self.encoding.categorical.index(task.target)]
        if task.level is None:
            if len(levels) > 2:
                return None
            return self.encoding.code_of(task.target, 1.0) if 1.0 in levels else len(levels) - 1
        level = float(task.level) if levels.dtype.kind == "f" else task.level
        return self.encoding.code_of(task.target, level)

    def comparisons(self, synthetic: dict[str, Predictions], real: dict[str, Predictions]) -> list[TaskComparison]:
        """ROC curves of models trained on real and on synthetic rows, per task and model."""
        found = []
        for task in self.tasks:
            for name, model in MODELS.items():
                curves = [
                    self._curve(trained, predictions[task.label], name, task)
                    for trained, predictions in (("trained on real", real), ("trained on synthetic", synthetic))
                    if name in predictions[task.label].scores
                ]
                found.append(TaskComparison(target=task.target, level=task.level, model=model, curves=curves))
        return found

    def _curve(self, label: str, predictions: Predictions, name: str, task: Task) -> Curve:
        auc = predictions.readings[f"{name}[{task.label}]"].value
        return roc(label, self.labels(self.holdout, task), predictions.scores[name], auc)

    def _problem(self, table: Encoded, task: Task) -> str | None:
        """Why a task cannot be tried, in plain words; None where it can."""
        if task.target not in self.encoding.categorical:
            return f"{task.target} is not a compared column with levels"
        code = self.positive_code(task)
        if code is None:
            return f"{task.target}: no such level in the training table, or a level must be named"
        holdout = self.labels(self.holdout, task)
        if not len(table) or not len(holdout) or holdout.min() == holdout.max():
            return f"the holdout has one class of {task.label} only"
        return None

    def _readings(self, task: Task, scores: dict[str, np.ndarray]) -> Readings:
        label, patient = self.labels(self.holdout, task), self.holdout.patient
        found = {}
        for name, score in scores.items():
            auc, error = auc_and_error(label, score, patient)
            found[f"{name}[{task.label}]"] = Reading(auc, *around(auc, error, highest=1.0))
        found[f"tstr_auprc[{task.label}]"] = average_precision(label, scores["tstr_hgb"])
        found[f"tstr_calibration_error[{task.label}]"] = calibration_error(label, scores["tstr_lr"])
        return found


def average_precision(label: np.ndarray, score: np.ndarray) -> Reading:
    """Average precision; its interval on the logit scale (Boyd 2013)."""
    from sklearn.metrics import average_precision_score

    value = float(average_precision_score(label, score))
    if not 0 < value < 1:
        return Reading(value)
    logit, error = np.log(value / (1 - value)), 1 / np.sqrt(label.sum() * value * (1 - value))
    low, high = (float(1 / (1 + np.exp(-(logit + sign * 1.96 * error)))) for sign in (-1, 1))
    return Reading(value, low, high)


def calibration_error(label: np.ndarray, probability: np.ndarray) -> Reading:
    """|slope - 1| of the outcome's logistic regression on the predicted log-odds."""
    from ehr_pipeline.evaluate.effects import fit_logistic

    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    if np.ptp(clipped) < 1e-9:
        return Reading(None, note="the model predicts one probability for everyone")
    coefficients, errors = fit_logistic(np.log(clipped / (1 - clipped))[:, None], label.astype(float))
    distance = abs(coefficients[1] - 1)
    return Reading(float(distance), *around(distance, errors[1]))
