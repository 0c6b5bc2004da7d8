"""Train on synthetic timelines, test on real ones (TSTR), beside training on real ones.

What belongs here: boosted models of the tasks of `tasks.py`, tested on the real holdout. The floor of a score is the
model trained on as many real patients; its null is chance, or always predicting the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.curves import roc
from ehr_pipeline.evaluate.effects import fit_logistic
from ehr_pipeline.evaluate.intervals import around, auc_and_error
from ehr_pipeline.evaluate.learners import boosted_scores, can_learn
from ehr_pipeline.evaluate.scoring import Reading, Readings
from ehr_pipeline.evaluate.smallcells import coarse_share
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.result import CalibrationPoint, TaskModel, TimelineTask
from ehr_pipeline.evaluate.timelines.stream import Timelines
from ehr_pipeline.evaluate.timelines.tasks import MIN_NUMBERS, Tasks, TimelineProblem
from ehr_pipeline.evaluate.utility import average_precision, calibration_error
from ehr_pipeline.record import SMALL_CELL

N_CALIBRATION_BINS = 10
MIN_BIN_PATIENTS = 5 * SMALL_CELL
CLIP = 1e-6


@dataclass(frozen=True, eq=False)
class Trained:
    """What a model of one table's patients says of the holdout, by task: readings and the model's own picture."""

    readings: Readings
    models: dict[str, TaskModel]
    shares: dict[str, float | None]


class TimelineUtility:
    """The tasks, and the holdout that every model is tested on."""

    def __init__(self, tasks: Tasks, holdout: Timelines, lists: CodeLists) -> None:
        self.tasks, self.lists = tasks, lists
        self.tests = {problem.name: problem.of(holdout, lists) for problem in tasks.asked}

    def train(self, timelines: Timelines, trained_on: str) -> Trained:
        """Learn every task from these patients and test it."""
        readings, models, shares = {}, {}, {}
        for problem in self.tasks.asked:
            x, truth = problem.of(timelines, self.lists)
            own = self._event if problem.kind == "event" else self._number
            found, models[problem.name] = own(problem, x, truth, trained_on)
            readings |= found
            shares[problem.name] = float(truth.mean()) if problem.kind == "event" and len(truth) else None
        return Trained(readings, models, shares)

    def nulls(self) -> Readings:
        """What nothing to learn from scores: an AUROC of a half, no variance explained."""
        return {_score_of(problem): Reading(0.5 if problem.kind == "event" else 0.0) for problem in self.tasks.asked}

    def results(self, real: Trained, synthetic: Trained) -> list[TimelineTask]:
        """Every task with both models."""
        found = []
        for problem in self.tasks.asked:
            truth, is_event = self.tests[problem.name][1], problem.kind == "event"
            found.append(
                TimelineTask(
                    name=problem.name,
                    title=problem.title,
                    kind=problem.kind,
                    hours=problem.hours,
                    n_test=len(truth),
                    share_positive=round(coarse_share(truth == 1), 4) if is_event else None,
                    share_positive_synthetic=synthetic.shares[problem.name],
                    models=[side.models[problem.name] for side in (real, synthetic)],
                )
            )
        return found

    def _event(
        self, problem: TimelineProblem, x: np.ndarray, truth: np.ndarray, trained_on: str
    ) -> tuple[Readings, TaskModel]:
        x_test, label = self.tests[problem.name]
        label, own = label.astype(int), truth.astype(int)
        if not can_learn(own):
            few = Reading(0.5, note="fewer than 5 patients with one of the two answers: nothing to learn from")
            return {_score_of(problem): few}, TaskModel(trained_on=trained_on)
        score = boosted_scores(x, own, x_test, np.zeros(x.shape[1], dtype=bool))
        everyone = np.arange(len(label))
        auc, error = auc_and_error(label, score, everyone)
        precision = average_precision(label, score)
        slope = calibration_error(label, score)
        ece, points = _calibration(label, score)
        readings = {
            _score_of(problem): Reading(auc, *around(auc, error, highest=1.0)),
            f"tstr_auprc[{problem.name}]": precision,
            f"tstr_calibration_error[{problem.name}]": slope,
            f"tstr_ece[{problem.name}]": Reading(ece),
        }
        return readings, TaskModel(
            trained_on=trained_on,
            auroc=auc,
            auprc=precision.value,
            calibration_slope=None if slope.value is None else _slope_itself(label, score),
            calibration_error=ece,
            curve=roc(f"trained on {trained_on}", label, score, auc),
            calibration=points,
        )

    def _number(
        self, problem: TimelineProblem, x: np.ndarray, truth: np.ndarray, trained_on: str
    ) -> tuple[Readings, TaskModel]:
        x_test, target = self.tests[problem.name]
        if len(truth) < MIN_NUMBERS or np.ptp(truth) == 0 or np.ptp(target) == 0:
            few = Reading(0.0, note=f"fewer than {MIN_NUMBERS} patients have it, or all the same: nothing to learn")
            return {_score_of(problem): few}, TaskModel(trained_on=trained_on)
        error = (target - _boosted_numbers(x, truth, x_test)) ** 2
        around_mean = (target - target.mean()) ** 2
        r2 = float(1 - error.sum() / around_mean.sum())
        influence = (error - (1 - r2) * around_mean) / around_mean.sum()  # delta method of a ratio of sums
        spread = float(np.sqrt((influence**2).sum()))
        return (
            {_score_of(problem): Reading(r2, *around(r2, spread, lowest=-np.inf, highest=1.0))},
            TaskModel(trained_on=trained_on, r2=r2),
        )


def _score_of(problem: TimelineProblem) -> str:
    """The main task's AUROC bears the plain name."""
    if problem.is_main:
        return "tstr_auc"
    return f"tstr_{'auc' if problem.kind == 'event' else 'r2'}[{problem.name}]"


def _boosted_numbers(x: np.ndarray, target: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Predictions [n_test] of a number by gradient boosting, scikit-learn's own with the default settings."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    usable = ~np.isnan(x).all(axis=0)
    with threadpool_limits(1):
        model = HistGradientBoostingRegressor(random_state=0).fit(x[:, usable], target)
        return model.predict(x_test[:, usable])


def _log_odds(score: np.ndarray) -> np.ndarray:
    clipped = np.clip(score, CLIP, 1 - CLIP)
    return np.log(clipped / (1 - clipped))


def _slope_itself(label: np.ndarray, score: np.ndarray) -> float:
    """Slope of the truth's logistic regression on the predicted log-odds; 1 is calibrated."""
    return float(fit_logistic(_log_odds(score)[:, None], label.astype(float))[0][1])


def _calibration(label: np.ndarray, score: np.ndarray) -> tuple[float, list[CalibrationPoint]]:
    """Expected calibration error over bins of equally many patients, and the bins; each has MIN_BIN_PATIENTS if any."""
    n_bins = int(np.clip(len(label) // MIN_BIN_PATIENTS, 1, N_CALIBRATION_BINS))
    pieces = np.array_split(np.argsort(score, kind="stable"), n_bins)
    far = [abs(score[piece].mean() - label[piece].mean()) * len(piece) for piece in pieces]
    points = [
        CalibrationPoint(
            predicted=round(float(score[piece].mean()), 4),
            observed=round(coarse_share(label[piece] == 1), 4),
            n=len(piece),
        )
        for piece in pieces
    ]
    return float(sum(far) / len(label)), points
