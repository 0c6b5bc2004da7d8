"""Small tables that tests share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.plan import EffectQuestion, EvaluationPlan, Task
from ehr_pipeline.record import Column, Schema, conform

SCHEMA = Schema(
    columns=(
        Column(name="age", kind="continuous", unit="years", minimum=18, maximum=95),
        Column(name="weight", kind="continuous", unit="kg"),
        Column(name="lab", kind="continuous", unit="mg/dL"),
        Column(name="pressure", kind="continuous", unit="mmHg"),
        Column(name="site", kind="categorical", role="site"),
        Column(name="sex", kind="categorical", role="sensitive"),
        Column(name="sick", kind="binary"),
        Column(name="treated", kind="binary", role="treatment"),
        Column(name="died", kind="binary", role="outcome"),
    )
)

PLAN = EvaluationPlan(
    tasks=(Task("died"),),
    effect=EffectQuestion("treated", "died", ("sick",), true_log_odds=-0.8),
    sensitive=("sex",),
)


def patients(n: int, seed: int) -> pd.DataFrame:
    """Patients with dependence, gaps in common, and a treatment effect of -0.8 log-odds."""
    rng = np.random.default_rng(seed)
    age = rng.normal(55, 15, n).clip(18, 95)
    lab = 0.05 * age + rng.normal(size=n)
    pressure = 100 + 0.5 * age + rng.normal(0, 10, n)
    sick = rng.random(n) < 1 / (1 + np.exp(-(lab - 3)))
    treated = rng.random(n) < 0.3 + 0.3 * sick
    died = rng.random(n) < 1 / (1 + np.exp(-(-1 + 1.5 * sick - 0.8 * treated)))
    gap = rng.random(n) < 0.2
    table = pd.DataFrame(
        {
            "age": age.round(1),
            "weight": (0.2 * age + rng.normal(65, 12, n)).round(1),
            "lab": np.where(gap, np.nan, lab.round(2)),
            "pressure": np.where(gap, np.nan, pressure.round(0)),
            "site": np.where(age > 60, "north", rng.choice(["south", "east"], n)),
            "sex": rng.choice(["F", "M"], n),
            "sick": sick.astype(int),
            "treated": treated.astype(int),
            "died": died.astype(int),
        }
    )
    return conform(table, SCHEMA)


def shuffled(table: pd.DataFrame, seed: int = 9) -> pd.DataFrame:
    """Each column permuted on its own: independent columns."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: table[name].iloc[rng.permutation(len(table))].array for name in table})
