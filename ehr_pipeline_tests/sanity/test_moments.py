import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.sanity.moments import RunningMoments, ShiftMeter

VALUES = st.floats(-1e6, 1e6) | st.just(float("nan"))


@settings(max_examples=50, deadline=None)
@given(chunks=st.lists(hnp.arrays(float, st.tuples(st.integers(0, 6), st.just(2)), elements=VALUES), min_size=1))
def test_moments_of_chunks_are_those_of_the_whole(chunks):
    running = RunningMoments(2)
    for chunk in chunks:
        running.add(chunk)
    whole = pd.DataFrame(np.concatenate(chunks))
    assert running.n.tolist() == whole.count().tolist()
    for place in range(2):
        if running.n[place]:
            assert running.mean[place] == pytest.approx(whole[place].mean(), rel=1e-9, abs=1e-6)
            assert running.deviation[place] == pytest.approx(whole[place].std(ddof=0), rel=1e-6, abs=1e-2)


def test_shift_is_in_standard_deviations_of_the_rows_drawn():
    schema = Schema(
        columns=(
            Column(name="x", kind="continuous"),
            Column(name="b", kind="binary", missing=False),
            Column(name="c", kind="categorical", levels=("u", "v"), missing=False),
            Column(name="t", kind="time", missing=False),
            Column(name="words", kind="text"),
        )
    )
    frame = conform(
        pd.DataFrame(
            {
                "x": [0.0, 2.0, np.nan, np.nan],
                "b": [0, 1, 0, 1],
                "c": ["u", "v", "u", "v"],
                "t": pd.to_datetime(["2150-01-01", "2150-01-03", "2150-01-01", "2150-01-03"]),
                "words": ["a", None, "b", "c"],
            }
        ),
        schema,
    )
    meter = ShiftMeter(schema)
    meter.add(frame, frame[[False, True, False, True]])
    shifts = {(shift.column, shift.quantity, shift.level): shift for shift in meter.shifts()}
    # x drawn: mean 1, deviation 1, half missing; accepted: 2, half missing
    assert (shifts["x", "mean", None].drawn, shifts["x", "mean", None].accepted) == (1.0, 2.0)
    assert shifts["x", "mean", None].shift_sd == pytest.approx(1.0)
    assert shifts["x", "missing_share", None].shift_sd == pytest.approx(0.0)
    assert shifts["b", "share", None].shift_sd == pytest.approx(1.0)
    assert shifts["c", "share", "u"].shift_sd == pytest.approx(-1.0)
    assert shifts["c", "share", "v"].shift_sd == pytest.approx(1.0)
    assert shifts["t", "mean", None].shift_sd == pytest.approx(1.0)
    assert not any(column == "words" for column, _, _ in shifts)


def test_column_without_values_has_no_shift():
    schema = Schema(columns=(Column(name="x", kind="continuous"),))
    meter = ShiftMeter(schema)
    frame = conform(pd.DataFrame({"x": [None, None]}), schema)
    meter.add(frame, frame.head(1))
    mean, missing = meter.shifts()
    assert (mean.drawn, mean.accepted, mean.shift_sd) == (None, None, None)
    assert (missing.drawn, missing.accepted, missing.shift_sd) == (1.0, 1.0, 0.0)
