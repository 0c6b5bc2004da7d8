import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.sanity.accept import draw_accepted
from ehr_pipeline.sanity.binding import bind, schema_rules
from ehr_pipeline.sanity.order import ordered_columns, put_in_order
from ehr_pipeline.sanity.run import run_table_rules


def _schema(*statistics, kind="continuous"):
    columns = [
        Column(name=name, kind=kind, decimals=0, minimum=0, maximum=300, item="heart_rate", statistic=name)
        for name in statistics
    ]
    return Schema(columns=(*columns, Column(name="age", kind="integer")))


def _ordered(frame, schema):
    frame = conform(frame.assign(age=50), schema)
    return put_in_order(frame, schema, ordered_columns(schema, schema_rules(schema)))


def test_values_are_swapped_within_the_row():
    schema = _schema("min", "mean", "max")
    frame = pd.DataFrame({"min": [60.0, 90, 70, 80], "mean": [70.0, 80, 60, 70], "max": [80.0, 70, 80, np.nan]})
    ordered, is_changed = _ordered(frame, schema)
    assert ordered["min"].tolist() == [60, 70, 60, 70]
    assert ordered["mean"].tolist() == [70, 80, 70, 80]
    assert ordered["max"].tolist()[:3] == [80, 90, 80]
    assert np.isnan(ordered["max"].iloc[3])
    assert is_changed["heart_rate"].tolist() == [False, True, True, True]
    assert (ordered["age"] == 50).all()


VALUES = st.integers(0, 300).map(float) | st.just(float("nan"))


@settings(max_examples=20, deadline=None)
@given(values=hnp.arrays(float, st.tuples(st.integers(0, 8), st.just(5)), elements=VALUES))
def test_any_rows_keep_their_values_and_their_gaps_and_get_their_order(values):
    schema = _schema("first", "max", "last", "min", "mean", kind="integer")
    frame = pd.DataFrame(values, columns=schema.names[:5])
    ordered, _ = _ordered(frame, schema)
    after = ordered[schema.names[:5]].to_numpy(dtype="float64", na_value=np.nan)
    assert (np.isnan(after) == np.isnan(values)).all()
    np.testing.assert_array_equal(np.sort(after, axis=1), np.sort(values, axis=1))
    assert not run_table_rules(ordered, schema, schema_rules(schema)).breaks_hard.any()


def test_order_that_real_patients_do_not_keep_is_left_alone():
    schema = _schema("min", "max")
    assert ordered_columns(schema, []) == {}


def test_two_columns_of_one_statistic_are_left_alone():
    columns = [
        Column(name=name, kind="continuous", item="heart_rate", statistic=statistic)
        for name, statistic in (("a", "min"), ("b", "min"), ("c", "max"))
    ]
    schema = Schema(columns=tuple(columns))
    assert ordered_columns(schema, schema_rules(schema)) == {}


def test_no_row_is_rejected_for_its_order_and_the_account_says_how_many_were_mended(tmp_path):
    schema = _schema("min", "mean", "max")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(40, 150, (600, 3)), columns=["min", "mean", "max"]).assign(age=50)
    account = draw_accepted([frame], 600, schema, bind(schema, []), tmp_path / "t.parquet")
    in_order = (frame["min"] <= frame["mean"]) & (frame["mean"] <= frame["max"])
    assert account.rejection_rate == 0
    assert account.ordered == {"heart_rate": (~in_order).sum()}
    assert account.as_dict()["ordered"] == [{"item": "heart_rate", "n_drawn": 600, "n_ordered": int((~in_order).sum())}]
    shift = next(shift for shift in account.shifts if shift.column == "min")
    assert shift.drawn > shift.accepted
