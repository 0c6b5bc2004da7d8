import string

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.clinical import load_items
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.sanity.binding import bind, domain, schema_rules
from ehr_pipeline.sanity.rules import Rule, TableForm, load_rules
from ehr_pipeline.sanity.run import run_table_rules


def _number(name, item=None, statistic=None, **more):
    return Column(name=name, kind="continuous", item=item, statistic=statistic, **more)


def _clinical(bound, rule_id):
    return [one for one in bound if one.rule.id == rule_id]


def _counts(frame, schema, rules=()):
    results = run_table_rules(conform(frame, schema), schema, bind(schema, rules)).results
    return {result.key: (result.n_checked, result.n_failed) for result in results if result.columns}


def test_a_rule_is_bound_to_every_statistic_but_the_count():
    columns = [_number(f"c {name}", "creatinine", name) for name in ("first", "last", "min", "max", "mean", "count")]
    bound = _clinical(bind(Schema(columns=tuple(columns)), load_rules()), "R46")
    assert [one.columns for one in bound] == [("c first",), ("c last",), ("c min",), ("c max",), ("c mean",)]


def test_a_pair_is_bound_within_one_statistic():
    columns = [_number(f"s {name}", "systolic_bp", name) for name in ("min", "max")]
    columns += [_number(f"d {name}", "diastolic_bp", name) for name in ("max", "mean")]
    bound = _clinical(bind(Schema(columns=tuple(columns)), load_rules()), "R38")
    assert [one.columns for one in bound] == [("s max", "d max")]


def test_a_rule_without_its_columns_is_there_and_not_applicable():
    schema = Schema(columns=(_number("x"),))
    results = run_table_rules(conform(pd.DataFrame({"x": [1.0]}), schema), schema, bind(schema, load_rules())).results
    unbound = [result for result in results if not result.columns]
    assert len(unbound) == sum(rule.table is not None for rule in load_rules())
    assert not any(result.is_applicable for result in unbound)


def test_a_named_column_needs_its_kind():
    columns = (Column(name="Sex", kind="binary"), Column(name="pregnancy", kind="binary"))
    assert not _clinical(bind(Schema(columns=columns), load_rules()), "R64")[0].columns


def test_schema_states_ranges_levels_presence_and_resolution():
    schema = Schema(
        columns=(
            _number("x", minimum=0, maximum=1, decimals=1, missing=False),
            Column(name="k", kind="integer", minimum=0),
            Column(name="b", kind="binary"),
            Column(name="c", kind="categorical", levels=("it's", "b")),
        )
    )
    frame = pd.DataFrame(
        {
            "x": [0.3, 0.25, 1.1, np.nan, np.inf],  # whole; off the grid; outside; missing; infinite and outside
            "k": [0, -1, 7, None, 1],
            "b": [0, 1, 2, None, 1],
            "c": ["it's", "b", "c", None, "IT'S"],
        }
    )
    assert _counts(frame, schema) == {
        "schema-missing[x]": (5, 1),
        "schema-finite[x]": (4, 1),
        "schema-range[x]": (4, 2),
        "schema-resolution[x]": (4, 2),  # infinity less itself is not a number, so it is on no grid
        "schema-finite[k]": (4, 0),
        "schema-range[k]": (4, 1),
        "schema-levels[b]": (4, 1),
        "schema-levels[c]": (4, 2),
    }


def test_values_on_a_decimal_grid_are_on_it_whatever_their_float():
    schema = Schema(columns=(_number("x", decimals=2),))
    values = np.arange(-2_000, 2_000) / 100 + 3 * 0.1 - 0.3
    assert _counts(pd.DataFrame({"x": values}), schema)["schema-resolution[x]"] == (4000, 0)


def test_minimum_above_maximum_is_a_breach():
    schema = Schema(columns=(_number("lo", "heart_rate", "min"), _number("hi", "heart_rate", "max")))
    counts = _counts(pd.DataFrame({"lo": [60.0, 80, 90, np.nan], "hi": [60.0, 70, 100, 50]}), schema)
    assert counts["schema-order[lo, hi]"] == (3, 1)


def test_mean_is_held_between_minimum_and_maximum():
    columns = [_number(name, "heart_rate", name) for name in ("min", "mean", "max")]
    frame = pd.DataFrame({"min": [60.0, 60, 60], "mean": [70.0, 50, 90], "max": [80.0, 80, 80]})
    counts = _counts(frame, Schema(columns=tuple(columns)))
    assert counts["schema-order[min, mean]"] == (3, 1)
    assert counts["schema-order[mean, max]"] == (3, 1)


def test_two_columns_that_differ_in_case_are_two_columns():
    schema = Schema(columns=(Column(name="X", kind="binary", missing=False), Column(name="x", kind="binary")))
    counts = _counts(pd.DataFrame({"X": [None, 1], "x": [2, 2]}), schema)
    assert counts == {"schema-missing[X]": (2, 1), "schema-levels[X]": (1, 0), "schema-levels[x]": (2, 2)}


HOSTILE = st.text(string.ascii_letters + "\"'`;-{}[]()%\\ .?$*,/é漢", min_size=1, max_size=30)


@settings(max_examples=25, deadline=None)
@given(name=HOSTILE, level=HOSTILE)
def test_no_column_name_or_level_changes_what_a_rule_means(name, level):
    schema = Schema(
        columns=(
            _number(name, "creatinine", "first"),
            Column(name=f"{name}!", kind="categorical", levels=(level,)),
        )
    )
    frame = pd.DataFrame({name: [1.0, -1.0], f"{name}!": [level, f"{level}?"]})
    counts = _counts(frame, schema, load_rules())
    assert counts[f"R46[{name}]"] == (2, 1)
    assert counts[f"schema-levels[{name}!]"] == (2, 1)


def test_every_item_has_a_domain():
    domains = {item: domain(_number("x", item, "first")) for item in load_items()}
    assert domains["heart_rate"] == "vitals"
    assert domains["creatinine"] == "laboratory"
    assert domains["weight_kg"] == "demographics"
    assert set(domains.values()) == {"vitals", "laboratory", "demographics"}


def test_domains_of_columns_without_an_item():
    assert domain(Column(name="Age", kind="integer")) == "demographics"
    assert domain(Column(name="race", kind="categorical", role="sensitive")) == "demographics"
    assert domain(Column(name="diabetes", kind="binary")) == "codes_and_drugs"
    assert domain(Column(name="stay_days", kind="continuous")) == "structure"


def test_schema_rules_are_never_demoted_but_their_order_may_be():
    schema = Schema(
        columns=(
            _number("lo", "heart_rate", "min", minimum=1, maximum=299, missing=False),
            _number("hi", "heart_rate", "max"),
        )
    )
    demotable = {one.rule.id: one.rule.may_be_demoted for one in schema_rules(schema)}
    assert demotable == {
        "schema-missing": False,
        "schema-finite": False,
        "schema-range": False,
        "schema-order": True,
    }


def _rule(violates, **form):
    return Rule(
        id="T",
        title="test",
        severity="hard",
        check="vitals",
        heading="plausibility",
        sources=("test",),
        table=TableForm(violates=violates, **form),
    )


def test_what_cannot_be_decided_is_a_breach():
    schema = Schema(columns=(_number("x", "heart_rate", "first"),))
    rule = _rule("nullif({heart_rate}, 0) > 1", items=("heart_rate",))
    assert _counts(pd.DataFrame({"x": [0.0, 1.0, 2.0]}), schema, [rule])["T[x]"] == (3, 2)


def test_a_rule_that_raises_could_not_run_and_rejects_every_row():
    schema = Schema(columns=(_number("x", "heart_rate", "first"), Column(name="b", kind="binary")))
    frame = conform(pd.DataFrame({"x": [1.0, 2.0], "b": [0, 1]}), schema)
    for violates in ("{heart_rate} >", "no_such_column > 1", "('a' || {heart_rate})::INTEGER > 1", "{heart_rate} + 1"):
        rule = _rule(violates, items=("heart_rate",))
        ran = run_table_rules(frame, schema, bind(schema, [rule]))
        if violates == "{heart_rate} + 1":  # a number is a truth value in SQL: every record that is not 0 breaks it
            assert (ran.results[0].n_failed, ran.could_not_run) == (2, [])
            continue
        assert ran.could_not_run == ["T[x]"]
        assert ran.breaks_hard.tolist() == [True, True]
        others = [result for result in ran.results if result.columns != ("x",)]
        assert all(result.could_run for result in others)


def test_an_empty_table_checks_nothing(schema):
    frame = conform(pd.DataFrame(columns=schema.names), schema)
    ran = run_table_rules(frame, schema, bind(schema, load_rules()))
    assert not ran.could_not_run
    assert {(result.n_checked, result.n_failed) for result in ran.results} == {(0, 0)}
    assert ran.breaks_hard.shape == (0,)


def test_rows_that_break_hard_rules_are_marked_in_the_frames_order():
    schema = Schema(columns=(_number("x", "heart_rate", "first"),))
    rng = np.random.default_rng(3)
    values = rng.choice([80.0, -1.0, np.nan], 5_000)
    ran = run_table_rules(conform(pd.DataFrame({"x": values}), schema), schema, bind(schema, load_rules()))
    assert (ran.breaks_hard == (values == -1.0)).all()
