"""Time to death and to discharge: Kaplan-Meier curves, their largest gap, and restricted means (RMST).

What belongs here: curves from times and censoring. A patient is watched until discharge, else until the end of the
window or the last event, whichever is later; who dies is no longer waiting for discharge.

Kaplan and Meier 1958; RMST as in Royston and Parmar 2013. Times are read on a grid of `N_STEPS` steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.scoring import Readings
from ehr_pipeline.evaluate.timelines.draws import Draws, reading
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.result import SurvivalCurve
from ehr_pipeline.evaluate.timelines.stream import Timelines
from ehr_pipeline.generators.timelines import DEATH
from ehr_pipeline.record import SMALL_CELL

N_STEPS, N_SHOWN = 240, 49
MIN_AT_RISK = 0.05
"""Share of training patients who must still be watched at the end of the grid."""
TITLES = {"death": "Time to death", "discharge": "Time to discharge"}
GRACE = 24.0
"""Hours after discharge in which a death still is one in hospital: dates of both are written down apart."""
DISCHARGE = ("DISCHARGE//", "HOSPITAL_DISCHARGE")


@dataclass(frozen=True, eq=False)
class Question:
    """One event: how long patients are looked at, in hours, and the training patients' curve [N_STEPS + 1]."""

    horizon: float
    curve: np.ndarray


class Survival:
    """Distances of other patients' survival from the training patients'; events that nobody has are left out."""

    def __init__(self, train: Timelines, lists: CodeLists) -> None:
        self.lists, self.n_train = lists, train.n_patients
        self.death = np.flatnonzero(lists.codes == DEATH)
        self.discharge = lists.starting_with(*DISCHARGE)
        self.questions: dict[str, Question] = {}
        for name in TITLES:
            time, is_event = self._follow_up(train, name)
            horizon = float(np.quantile(time, 1 - MIN_AT_RISK)) if len(time) else 0.0
            if (is_event & (time <= horizon)).sum() >= SMALL_CELL and horizon > 0:
                curve = _curves(time, is_event, horizon, Draws(train.n_patients, None))[0]
                self.questions[name] = Question(horizon, curve)

    def readings(self, other: Timelines, draws: Draws) -> Readings:
        """`survival_gap[EVENT]`, the largest distance of the curves, and `rmst_error[EVENT]`, days."""
        found: Readings = {}
        for name, question in self.questions.items():
            curves = _curves(*self._follow_up(other, name), question.horizon, draws)
            mean = _restricted_mean(curves, question.horizon)
            error = np.abs(mean - _restricted_mean(question.curve, question.horizon))
            found[f"survival_gap[{name}]"] = reading(np.abs(curves - question.curve).max(axis=1), highest=1.0)
            found[f"rmst_error[{name}]"] = reading(error)
        return found

    def curves(self, other: Timelines) -> list[SurvivalCurve]:
        """Both curves of each event; the real one on a coarse grid, in steps of SMALL_CELL patients."""
        found = []
        for name, question in self.questions.items():
            own = _curves(*self._follow_up(other, name), question.horizon, Draws(other.n_patients, None))[0]
            shown = np.linspace(0, N_STEPS, N_SHOWN).astype(int)
            step = SMALL_CELL / self.n_train
            real = np.minimum(np.round(question.curve / step) * step, 1.0)
            real[0] = 1.0
            means = [float(_restricted_mean(curve, question.horizon)) for curve in (question.curve, own)]
            found.append(
                SurvivalCurve(
                    name=name,
                    title=TITLES[name],
                    days=(shown * question.horizon / N_STEPS / 24).round(4).tolist(),
                    real=real[shown].round(4).tolist(),
                    synthetic=own[shown].round(4).tolist(),
                    rmst_real=round(means[0], 3),
                    rmst_synthetic=round(means[1], 3),
                    gap=float(np.abs(own - question.curve).max()),
                )
            )
        return found

    def _follow_up(self, timelines: Timelines, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Hours until the event or the end of watching, and which it was: [n_patients] each."""
        death = timelines.first_time(np.isin(timelines.code, self.death))
        left = timelines.first_time(np.isin(timelines.code, self.discharge))
        last = np.nan_to_num(timelines.span()[1], nan=0.0)
        watched = np.where(np.isfinite(left), left, np.maximum(last, self.lists.window_hours))
        dies_here = np.isfinite(death) & (death <= watched + GRACE)
        if name == "death":
            is_event, time = dies_here, np.where(dies_here, death, watched)
        else:
            is_event = np.isfinite(left) & ~dies_here
            time = np.where(dies_here, np.minimum(death, watched), watched)
        return np.maximum(time, 0), is_event


def _curves(time: np.ndarray, is_event: np.ndarray, horizon: float, draws: Draws) -> np.ndarray:
    """Kaplan-Meier curves at the `N_STEPS` + 1 ends of the grid's steps: float64 [n_draws, N_STEPS + 1].

    In one step the events come before the censoring.
    """
    step = np.clip(np.ceil(time / horizon * N_STEPS).astype(np.int64), 0, N_STEPS + 1)
    step[(time > horizon)] = N_STEPS + 1
    everyone, n_cells = np.arange(len(time)), N_STEPS + 2
    events = draws.sums(everyone, step, n_cells, is_event.astype(float))
    leaving = draws.sums(everyone, step, n_cells)
    at_risk = leaving[:, ::-1].cumsum(axis=1)[:, ::-1]
    kept = 1 - np.divide(events, at_risk, out=np.zeros_like(events), where=at_risk > 0)
    return kept.cumprod(axis=1)[:, : N_STEPS + 1]


def _restricted_mean(curves: np.ndarray, horizon: float) -> np.ndarray:
    """Area under each curve in days."""
    return np.trapezoid(curves, dx=horizon / N_STEPS / 24, axis=-1)
