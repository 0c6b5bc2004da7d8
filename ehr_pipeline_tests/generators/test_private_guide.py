"""Stays from noisy tables that are held to plans: what each has, and has not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.generators.event_values import EventValues
from ehr_pipeline.generators.private_guide import held_to_plans
from ehr_pipeline.generators.stay_plan import PlanRows
from ehr_pipeline.generators.stay_sums import StayLayout
from ehr_pipeline.generators.timeline_steps import TimedEvents

CODES = ("HR", "LAB", "RARE", "DEATH")
LAYOUT = StayLayout(planned=(3, 0, 1, 2), reference=(-1,) * 4, numbers=(), window_minutes=600)


def guide(n: int = 40) -> TimedEvents:
    """Stays with HR every half hour and LAB every two hours; nobody has RARE."""
    minute = np.arange(0, 600, 30)
    one = [(m, 0) for m in minute] + [(m, 1) for m in minute[::4]]
    minute, code = np.array(sorted(one)).T
    return events(np.repeat(np.arange(n), len(code)), np.tile(minute, n), np.tile(code, n), n)


def events(patient, minute, code, n) -> TimedEvents:
    value = np.where(code == 0, 60.0 + patient % 5, np.nan)
    none = np.full(len(code), None, dtype=object)
    cut = np.zeros(n, dtype=bool)
    return TimedEvents(
        codes=CODES, n_terminal=1, most_events=500, patient=patient, minute=minute, code=code, value=value, text=none,
        is_cut=cut, notes=(),
    )  # fmt: skip


def plans(counts, n_times, last_minute, n_other=None) -> PlanRows:
    counts = np.asarray(counts, dtype=np.int64)
    n = len(counts)
    return PlanRows(
        counts=counts,
        features=np.zeros((n, 1), dtype=np.float32),
        n_other=np.zeros(n, dtype=np.int64) if n_other is None else n_other,
        n_times=np.asarray(n_times, dtype=np.int64),
        first_minute=np.zeros(n, dtype=np.int64),
        last_minute=np.asarray(last_minute, dtype=np.int64),
        table=pd.DataFrame(index=range(n)),
    )


def held(rows: PlanRows, drawn: TimedEvents | None = None, seed: int = 0) -> TimedEvents:
    drawn = drawn or guide()
    made_of = guide()
    values = EventValues.learn(made_of.code, made_of.value, made_of.text, made_of.patient, n_codes=4, n_levels=8)
    return held_to_plans(drawn, rows, LAYOUT, values, np.random.default_rng(seed))


def counted(stays: TimedEvents, n: int) -> np.ndarray:
    return np.bincount(stays.patient * 4 + stays.code, minlength=4 * n).reshape(n, 4)


@pytest.mark.parametrize("seed", range(5))
def test_each_stay_has_as_many_events_of_each_code_as_its_plan(seed):
    rng = np.random.default_rng(seed)
    wanted = np.column_stack([rng.integers(0, 2, 30), rng.integers(0, 20, (30, 3))])
    stays = held(plans(wanted, np.full(30, 20), np.full(30, 600)), seed=seed)
    np.testing.assert_array_equal(counted(stays, 30)[:, LAYOUT.planned], wanted)


def test_a_code_that_no_drawn_stay_has_comes_where_plans_have_it():
    stays = held(plans([[0, 5, 0, 3]] * 10, [10] * 10, [600] * 10))
    assert (counted(stays, 10)[:, 2] == 3).all()


def test_times_are_no_more_and_no_later_than_planned():
    n_times, last = np.arange(1, 21), np.arange(20) * 30
    stays = held(plans([[0, 30, 10, 5]] * 20, n_times, last))
    times = pd.DataFrame({"patient": stays.patient, "minute": stays.minute}).groupby("patient")["minute"]
    assert (times.nunique() <= n_times[times.nunique().index]).all()
    assert (times.max() <= last[times.max().index]).all()
    assert times.nunique().iloc[-1] > 10  # and times there are


def test_more_times_than_a_drawn_stay_has_come_from_others():
    shifted = guide()
    shifted = events(shifted.patient, shifted.minute + shifted.patient % 7, shifted.code, 40)
    stays = held(plans([[0, 45, 0, 0]] * 20, [45] * 20, [620] * 20), shifted)
    assert counted(stays, 20)[:, 0].min() > 30


def test_what_ends_a_stay_comes_once_and_last():
    stays = held(plans([[1, 10, 3, 2]] * 25, [12] * 25, [500] * 25))
    frame = pd.DataFrame({"patient": stays.patient, "minute": stays.minute, "code": stays.code})
    last = frame.groupby("patient").tail(1)
    assert (last["code"] == 3).all() and (counted(stays, 25)[:, 3] == 1).all()
    nobody = held(plans([[0, 10, 3, 2]] * 25, [12] * 25, [500] * 25))
    assert not (nobody.code == 3).any()


def test_events_are_in_order_and_values_are_those_of_their_codes():
    stays = held(plans([[1, 10, 3, 2]] * 25, [12] * 25, [500] * 25))
    order = np.lexsort((stays.code, stays.minute, stays.patient))
    np.testing.assert_array_equal(order, np.arange(len(order)))
    assert np.isfinite(stays.value[stays.code == 0]).all() and np.isnan(stays.value[stays.code != 0]).all()
    assert set(stays.value[stays.code == 0]) <= {60.0, 61.0, 62.0, 63.0, 64.0}


def test_without_drawn_events_stays_are_empty():
    nothing = np.empty(0, dtype=np.int64)
    stays = held(plans([[0, 4, 2, 1]] * 5, [6] * 5, [300] * 5), events(nothing, nothing, nothing, 3))
    assert len(stays.code) == 0 and len(stays.is_cut) == 5
