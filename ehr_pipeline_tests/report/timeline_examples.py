"""Findings about timelines, synthetic events and pages with them, made by hand for the report's tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.evaluate.score import Curve, Score
from ehr_pipeline.evaluate.timelines.result import (
    Band,
    CalibrationPoint,
    CodePrevalence,
    CodeTransition,
    MissingnessMap,
    Plausibility,
    RateProfile,
    RuleShare,
    SurvivalCurve,
    TaskModel,
    TimelineEvaluation,
    TimelineTask,
    Trajectory,
    ValueDistance,
)
from ehr_pipeline.record import EVENT_SCHEMA
from ehr_pipeline.report.inputs import ReportInputs
from ehr_pipeline.report.viewer import Viewer
from ehr_pipeline_tests.report import examples

HOURS = [0.0, 1.0, 2.0, 3.0]
HEART_RATE, SODIUM = "VITAL//220045//bpm", "LAB//50983//mEq/L"
NAMES = (("timeline_markov", "Markov timelines"), ("timeline_transformer", "Timeline transformer"))


def band(median: list[float | None], spread: float = 5.0, n: int = 50) -> Band:
    """A band of equal spread around its median."""
    low, high = ([None if x is None else x + side * spread for x in median] for side in (-1, 1))
    return Band(median=median, low=low, high=high, n=[None if x is None else n for x in median])


def trajectory(outcome: str | None = None, **changes) -> Trajectory:
    content = {
        "code": HEART_RATE, "title": "Heart rate", "unit": "bpm", "hours": HOURS, "outcome": outcome,
        "real": band([80.0, 82.0, 84.0, 86.0]), "synthetic": band([81.0, 81.0, 85.0, 88.0]),
    }  # fmt: skip
    return Trajectory(**content | changes)


def score(name: str, value: float, null: float = 0.5, **changes) -> Score:
    content = {
        "name": name, "dimension": "fidelity", "value": value, "low": value - 0.01, "high": value + 0.01, "floor": 0.01,
        "null": null, "normalised": (value - 0.01) / (null - 0.01),
    }  # fmt: skip
    return Score(**content | changes)


def evaluation(value: float = 0.2, **changes) -> TimelineEvaluation:
    """A whole evaluation of timelines; `value` is what the distances are."""
    curve = Curve(label="synthetic", false_positive_rate=[0, 0.4, 1], true_positive_rate=[0, 0.7, 1], auc=0.65)
    models = [
        TaskModel(trained_on=table, auroc=0.8, auprc=0.4, calibration_slope=0.9, curve=curve,
                  calibration=[CalibrationPoint(predicted=0.1, observed=0.12, n=110)])
        for table in ("real", "synthetic")
    ]  # fmt: skip
    content = {
        "scores": {
            name: score(name, value) for name in ("time_gap_ks", "prevalence_error", "mean_normalised", "length_ks")
        },
        "trajectories": [trajectory()],
        "outcome_trajectories": [trajectory("with MEDS_DEATH"), trajectory("without MEDS_DEATH")],
        "missingness": MissingnessMap(
            codes=[HEART_RATE, SODIUM], titles=["Heart rate", "Sodium"], hours=HOURS,
            real=[[1.0, 0.9, 0.8, 0.7], [0.3, 0.0, None, 0.2]],
            synthetic=[[0.9, 0.9, 0.9, 0.9], [0.2, 0.1, 0.1, 0.3]],
        ),
        "rates": [
            RateProfile(by=by, hours=hours, real=[2.0] * len(hours), synthetic=[1.5] * len(hours))
            for by, hours in (("hour of stay", HOURS), ("hour of day", [float(hour) for hour in range(24)]))
        ],
        "survival": [
            SurvivalCurve(name="death", title="Time to death", days=[0.0, 1.0, 2.0], real=[1.0, 0.95, 0.9],
                          synthetic=[1.0, 0.97, 0.94], rmst_real=1.93, rmst_synthetic=1.96, gap=0.04)
        ],
        "prevalence": [CodePrevalence(code=SODIUM, title="Sodium", real=0.6, synthetic=0.5)],
        "values": [
            ValueDistance(code=SODIUM, title="Sodium", distance=value, floor=0.02, n_real=500, median_real=139.0,
                          median_synthetic=138.0)
        ],
        "transitions": [CodeTransition(code=SODIUM, next_code=HEART_RATE, real=0.2, synthetic=0.1)],
        "two_sample": [curve, curve.model_copy(update={"label": "fresh real patients", "auc": 0.5})],
        "tasks": [TimelineTask(name="death", title="Death in hospital", kind="event", hours=24, n_test=700,
                               share_positive=0.1, models=models)],
        "plausibility": Plausibility(
            real_share=0.02, synthetic_share=0.03, low=0.02, high=0.04, n_rules=7,
            by_rule=[
                RuleShare(rule="E15", title="Systolic is above diastolic", severity="hard", confirmed=False,
                          sources=["K"], real=0.01, synthetic=0.02),
                RuleShare(rule="E99", title="Nobody breaks this", severity="hard", confirmed=True, sources=["mc"],
                          real=0.0, synthetic=0.0),
            ],
        ),
        "outcome": "MEDS_DEATH",
        "window_hours": 48.0,
        "n_patients": {"train": 2000, "holdout": 1000, "synthetic": 2000, "compared": 1000},
        "n_events": {"train": 400_000, "holdout": 200_000, "synthetic": 390_000},
        "notes": ["something a reader must know"],
    }  # fmt: skip
    return TimelineEvaluation(**content | changes)


def inputs(n_timed: int = 2, viewer: Viewer | None = None, **changes) -> ReportInputs:
    """A report of one generator of tables, then `n_timed` of timelines."""
    found = examples.inputs(n_generators=1 + n_timed)
    timed = [
        replace(
            one, name=name, title=title, viewer=viewer,
            evaluation=one.evaluation.model_copy(update={"timelines": evaluation(0.4 / (place + 1))}),
        )
        for place, (one, (name, title)) in enumerate(zip(found.generators[1:], NAMES, strict=False))
    ]  # fmt: skip
    return replace(found, generators=(found.generators[0], *timed), **changes)


def synthetic_events(n_patients: int = 30, seed: int = 0) -> pd.DataFrame:
    """Stays of a day: static facts, a birth, hourly heart rates, a sodium, a drug, a diagnosis days later."""
    rng = np.random.default_rng(seed)
    rows = []
    for subject in range(1, n_patients + 1):
        start = pd.Timestamp("2110-03-01 08:00") + pd.Timedelta(days=subject)
        rows.append((subject, None, f"GENDER//{'FM'[subject % 2]}", None, None))
        rows.append((subject, pd.Timestamp("2050-01-01"), "MEDS_BIRTH", None, None))
        rows.append((subject, start - pd.Timedelta(days=4), "ADMISSION//EW EMER.", None, "EMERGENCY ROOM"))
        rows += [
            (subject, start + pd.Timedelta(hours=hour), HEART_RATE, float(rng.integers(60, 100)), None)
            for hour in range(25)
        ]
        rows.append((subject, start + pd.Timedelta(hours=3), SODIUM, 139.0, None))
        rows.append((subject, start + pd.Timedelta(hours=5), "MEDICATION//Furosemide", None, "40 mg"))
        rows.append((subject, start + pd.Timedelta(days=6), "DIAGNOSIS//ICD//10//I509", 1.0, None))
    return pd.DataFrame(rows, columns=["subject_id", "time", "code", "numeric_value", "text_value"])


def write_events(path: Path, events: pd.DataFrame) -> Path:
    """Events as a generator's file."""
    events = events.assign(hadm_id=None, stay_id=None)
    events["time"] = pd.to_datetime(events["time"]).astype("datetime64[us]")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(events, schema=EVENT_SCHEMA, preserve_index=False), path)
    return path
