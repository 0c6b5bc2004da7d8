"""A small cohort with vitals of several statistics, and draws of it that are sane or not."""

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.record import Column, Schema, conform


def vital(name, item, statistic, high):
    return Column(
        name=name, kind="continuous", minimum=1, maximum=high, decimals=0, item=item, statistic=statistic, unit="mmHg"
    )


SCHEMA = Schema(
    columns=(
        Column(name="age", kind="continuous", minimum=18, maximum=98, decimals=1, missing=False, role="sensitive"),
        Column(name="sex", kind="categorical", levels=("F", "M"), missing=False, role="sensitive"),
        Column(name="pregnancy", kind="binary", missing=False),
        Column(name="insulin", kind="binary", missing=False),
        Column(name="diabetes", kind="binary", missing=False),
        vital("systolic_bp", "systolic_bp", "first", 399),
        vital("diastolic_bp", "diastolic_bp", "first", 299),
        vital("heart_rate_min", "heart_rate", "min", 299),
        vital("heart_rate_max", "heart_rate", "max", 299),
        Column(
            name="creatinine",
            kind="continuous",
            minimum=0,
            maximum=150,
            decimals=2,
            item="creatinine",
            statistic="first",
            unit="mg/dL",
        ),
    )
)


def draw(n, seed=0, pregnant_males=0.0):
    """Sane rows, with a share of males who are pregnant."""
    rng = np.random.default_rng(seed)
    diastolic = rng.integers(50, 100, n)
    slowest = rng.integers(40, 90, n)
    frame = pd.DataFrame(
        {
            "age": rng.uniform(20, 50, n).round(1),
            "sex": rng.choice(["F", "M"], n),
            "pregnancy": 0,
            "insulin": 0,
            "diabetes": rng.integers(0, 2, n),
            "systolic_bp": diastolic + rng.integers(10, 80, n),
            "diastolic_bp": diastolic,
            "heart_rate_min": slowest,
            "heart_rate_max": slowest + rng.integers(0, 60, n),
            "creatinine": np.where(rng.random(n) < 0.3, np.nan, rng.uniform(0.5, 2, n).round(2)),
        }
    )
    frame.loc[(frame["sex"] == "M") & (rng.random(n) < pregnant_males), "pregnancy"] = 1
    return conform(frame, SCHEMA)


@pytest.fixture
def schema():
    return SCHEMA
