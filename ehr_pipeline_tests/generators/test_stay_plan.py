"""The plan of a stay: sums that hold together, real and drawn, whatever the cohort looks like."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators import stay_plan
from ehr_pipeline.generators.configs import ColumnAutoregressiveConfig
from ehr_pipeline.generators.stay_columns import coded, columns_of, decoded
from ehr_pipeline.generators.stay_plan import PlanRows, StayPlan
from ehr_pipeline.generators.stay_sums import PARTS, StayLayout, StaySums
from ehr_pipeline.generators.timeline_steps import TimedEvents
from ehr_pipeline.generators.timelines import BIRTH, NEW_ORIGIN
from ehr_pipeline.record import Schema, conform
from ehr_pipeline_tests.generators.cohorts import minutes_frame, timeline_cohort
from ehr_pipeline_tests.timelines.events import stays


@pytest.fixture(autouse=True)
def _little_training(monkeypatch):
    monkeypatch.setattr(
        stay_plan, "ColumnAutoregressiveConfig", lambda **own: ColumnAutoregressiveConfig(**{"updates": 20, **own})
    )


def data(frame=None):
    cohort = timeline_cohort(frame)
    return cohort, TimedEvents.of(cohort, 20_000)


def learned(frame=None) -> tuple:
    cohort, timed = data(frame)
    return cohort, timed, StayPlan.learn(cohort, timed, seed=0)


@pytest.fixture(scope="module")
def many():
    """A cohort with a plan of all its codes."""
    cohort, timed = data(stays(400))
    layout = StayLayout.learn(timed, cohort.n_patients, cohort.clock.window_minutes)
    return cohort, timed, layout


def assert_holds_together(rows: PlanRows, window: int) -> None:
    n_events = rows.counts.sum(axis=1) + rows.n_other
    assert (rows.counts >= 0).all() and (rows.n_other >= 0).all()
    assert (rows.n_times <= n_events).all() and ((rows.n_times > 0) == (n_events > 0)).all()
    assert (rows.first_minute >= 0).all() and (rows.last_minute <= window).all()
    assert (rows.n_times <= rows.last_minute - rows.first_minute + 1).all()
    for name in rows.table.columns[rows.table.columns.str.startswith("mean.")]:
        place = name.partition(".")[2]
        mean, low, high, last = (rows.table[f"{part}.{place}"].to_numpy() for part in PARTS)
        is_there = rows.table[f"n.{place}"].to_numpy() > 0
        assert (np.isfinite(mean) == is_there).all()
        assert (low <= mean)[is_there].all() and (mean <= high)[is_there].all()
        assert (low <= last)[is_there].all() and (last <= high)[is_there].all()
    assert rows.features.dtype == np.float32 and np.isfinite(rows.features).all()


def test_sums_of_real_stays_are_those_that_a_plain_count_gives(many):
    cohort, timed, layout = many
    sums = layout.sums(timed, cohort.n_patients)
    names = [timed.codes[code] for code in layout.planned]
    assert names[0] == "MEDS_DEATH" and set(names) == {"MEDS_DEATH", "BP", "HR", "WEIGHT", "RHYTHM"}
    k = names.index("HR")
    assert (sums.counts[:, k] == 24).all() and (sums.n_times >= 28).all()
    hr = pd.DataFrame({"patient": timed.patient, "value": timed.value})[timed.code == layout.planned[k]]
    expected = hr.groupby("patient")["value"].agg(list(PARTS)).to_numpy()
    q = [number.place for number in layout.numbers].index(k)
    assert sums.values[:, q] == pytest.approx(expected, abs=0.06)
    assert (sums.first_minute == 0).all()
    assert set(np.unique(sums.last_minute)) == {23 * 60, 23 * 60 + 59}


def test_columns_say_the_sums_and_nothing_is_lost_on_the_way_there_and_back(many):
    cohort, timed, layout = many
    sums = layout.sums(timed, cohort.n_patients)
    table = conform(coded(layout, sums), Schema(columns=columns_of(layout)))
    back = decoded(layout, table, np.random.default_rng(0))
    for name in ("counts", "n_other", "n_times", "first_minute", "last_minute"):
        assert (getattr(back, name) == getattr(sums, name)).all()
    assert np.nan_to_num(back.values) == pytest.approx(np.nan_to_num(sums.values), abs=0.11)


def test_whatever_is_drawn_the_sums_hold_together(many):
    _, _, layout = many
    rng = np.random.default_rng(0)
    n, drawn = 300, {}
    for column in columns_of(layout):
        if column.levels:
            values = pd.array(rng.choice([*column.levels, None], n), dtype="str")
        else:
            values = rng.integers(-50, 4000, n).astype(float) if column.minimum is None else rng.integers(0, 2, n)
            values = values if column.kind == "integer" else np.where(rng.random(n) < 0.3, np.nan, values)
        drawn[column.name] = values
    sums = decoded(layout, conform(pd.DataFrame(drawn), Schema(columns=columns_of(layout))), rng)
    rows = PlanRows(
        counts=sums.counts,
        features=np.zeros((n, 1), dtype=np.float32),
        n_other=sums.n_other,
        n_times=sums.n_times,
        first_minute=sums.first_minute,
        last_minute=sums.last_minute,
        table=sums.frame(layout),
    )
    assert_holds_together(rows, layout.window_minutes)


def test_values_differ_in_as_many_drawn_stays_as_the_rows_say(many):
    """Extremes that were drawn the wrong way round, and single values of several events, are no equal values."""
    cohort, timed, layout = many
    table = coded(layout, layout.sums(timed, cohort.n_patients))
    number = next(number for number in layout.numbers if (table[f"at.{number.place}"] == "between").sum() > 40)
    low, high, at = (f"{part}.{number.place}" for part in ("min", "max", "at"))
    differ = table.index[table[at].isin(["min", "max", "between"])]
    table.loc[differ[:10], high] = table.loc[differ[:10], low] - 1
    table.loc[differ[10:20], at] = "one"
    sums = decoded(layout, conform(table, Schema(columns=columns_of(layout))), np.random.default_rng(0))
    values = sums.values[:, layout.numbers.index(number)]
    assert (values[differ[20:], 2] > values[differ[20:], 1]).all()
    mended = values[differ[:20]]
    assert (mended[:10, 2] > mended[:10, 1]).all() and (mended[10:, 2] > mended[10:, 1]).mean() > 0.5
    assert np.isclose(mended[:, 1], table.loc[differ[:20], low]).all()
    assert np.nanmax(values) <= np.nanmax(table[[low, high]])


def test_drawn_plans_hold_together_repeat_with_the_seed_and_survive_the_disk(tmp_path):
    cohort, timed, plan = learned(stays(120, is_calendar=True))
    rows = plan.draw(200, seed=3)
    assert_holds_together(rows, cohort.clock.window_minutes)
    assert_holds_together(plan.of(cohort, timed), cohort.clock.window_minutes)
    plan.save(tmp_path)
    again = StayPlan.load(tmp_path).draw(200, seed=3)
    pd.testing.assert_frame_equal(rows.table, again.table)
    assert (rows.features == again.features).all() and (rows.counts == again.counts).all()
    assert rows.features.shape == (200, plan.n_features)
    assert rows.counts.shape == (200, len(plan.planned))


def test_static_facts_come_first_can_be_set_and_become_events():
    _, _, plan = learned(stays(120, is_calendar=True))
    rows = plan.draw(50, seed=0, conditions={"GENDER": "GENDER//F"})
    events = plan.static_events(rows, np.full(50, NEW_ORIGIN))
    assert set(events["code"]) == {"GENDER//F", BIRTH}
    assert events["subject_id"].between(1, 50).all()
    with pytest.raises(OptionError, match="static fact"):
        plan.draw(5, seed=0, conditions={"BLOOD": "B"})


UGLY = {
    "no timed events but a few": minutes_frame([(p, 0, "A") for p in range(5)]),
    "one code, one event": minutes_frame([(p, p, "A") for p in range(40)]),
    "no numbers anywhere": minutes_frame([(p, m, c) for p in range(60) for m in range(p % 7 + 1) for c in "AB"]),
    "some numbers lack": minutes_frame(
        [(p, m, "A") for p in range(60) for m in range(4)],
        numeric_value=[float(p + m) if p % 2 else np.nan for p in range(60) for m in range(4)],
    ),
    "one value throughout": minutes_frame(
        [(p, m, "A") for p in range(60) for m in range(3)], numeric_value=[1.0] * 180
    ),
    "very large and small numbers": minutes_frame(
        [(p, m, "A") for p in range(60) for m in range(3)], numeric_value=[10.0 ** (k % 60 - 30) for k in range(180)]
    ),
}


@pytest.mark.parametrize("frame", UGLY.values(), ids=UGLY.keys())
def test_a_cohort_without_much_has_a_plan_without_much(frame):
    cohort, timed, plan = learned(frame)
    for rows in (plan.of(cohort, timed), plan.draw(30, seed=0)):
        if "n.0" in rows.table and "mean.0" in rows.table and not plan.layout.numbers[0].always:
            continue
        assert_holds_together(rows, cohort.clock.window_minutes)


def test_what_few_patients_have_is_not_drawn_exactly():
    # One patient has 977 events, one value of 12345: neither is in any plan that is drawn.
    frame = stays(100)
    extreme = frame[(frame["subject_id"] == 1001) & (frame["code"] == "HR")].index
    frame.loc[extreme, "numeric_value"] = 12345.0
    more = minutes_frame([(1001, minute, "BP") for minute in range(953)], numeric_value=[100.0] * 953)
    more["time"] += pd.Timedelta(minutes=1)
    frame = pd.concat([frame, more]).sort_values(["subject_id", "time"], na_position="first", ignore_index=True)
    _, _, plan = learned(frame)
    drawn = plan.draw(2_000, seed=0)
    assert drawn.counts.max() < 100
    assert np.nanmax(drawn.table.filter(regex=r"^(min|max|mean|last)\.").to_numpy()) < 1000


def test_stay_sums_are_missing_where_nobody_is_watched():
    sums = StaySums(
        counts=np.zeros((2, 0), dtype=np.int64),
        n_other=np.zeros(2, dtype=np.int64),
        n_times=np.zeros(2, dtype=np.int64),
        first_minute=np.zeros(2, dtype=np.int64),
        last_minute=np.zeros(2, dtype=np.int64),
        values=np.zeros((2, 0, 4)),
    )
    empty = StayLayout(planned=(), reference=(), numbers=(), window_minutes=10)
    assert list(sums.frame(empty)) == ["last_minute", "first_minute", "n_times", "n_other"]
