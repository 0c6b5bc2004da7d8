"""What validation promises: verdicts as counts, closed when something cannot run, and no value let out."""

import json

import pandas as pd

from ehr_pipeline.validation import Expectation, validate


def between(column, low, high, severity="critical"):
    arguments = {"column": column, "min_value": low, "max_value": high}
    return Expectation(check="range", type="ExpectColumnValuesToBeBetween", arguments=arguments, severity=severity)


def test_verdicts_come_in_the_order_asked_with_counts():
    frame = pd.DataFrame({"a": [1.0, 2.0, None, 99.0], "b": [0, 0, 0, 0]})
    first, second = validate(frame, [between("a", 0, 10), between("b", 0, 10)])
    assert (first.passed, first.n_checked, first.n_failed, first.blocks) == (False, 4, 1, True)
    assert (second.passed, second.n_failed, second.blocks) == (True, 0, False)


def test_a_warning_does_not_block():
    (verdict,) = validate(pd.DataFrame({"a": [99]}), [between("a", 0, 10, "warning")])
    assert not verdict.passed and not verdict.blocks


def test_an_expectation_that_cannot_run_blocks_even_as_a_warning():
    (verdict,) = validate(pd.DataFrame({"a": [1]}), [between("absent", 0, 10, "warning")])
    assert not verdict.could_run and not verdict.passed and verdict.blocks


def test_no_value_leaves_the_wall():
    frame = pd.DataFrame({"name": ["SECRET-NAME"], "a": [123456.75]})
    in_set = Expectation(
        check="s", type="ExpectColumnValuesToBeInSet", arguments={"column": "name", "value_set": ["x"]}
    )
    said = json.dumps([verdict.as_dict() for verdict in validate(frame, [in_set, between("a", 0, 10)])])
    assert "SECRET" not in said and "123456" not in said


def test_nothing_asked_is_nothing_answered():
    assert validate(pd.DataFrame(), []) == []
