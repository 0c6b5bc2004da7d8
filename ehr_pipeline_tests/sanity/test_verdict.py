import numpy as np
import pandas as pd
import pytest

from ehr_pipeline import validation
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.sanity import verdict
from ehr_pipeline.sanity.binding import bind
from ehr_pipeline.sanity.judge import RealCount, judge_synthetic
from ehr_pipeline.sanity.rules import CHECK_NAMES, Rule, TableForm, load_rules
from ehr_pipeline.sanity.run import run_table_rules
from ehr_pipeline.sanity.verdict import check_table
from ehr_pipeline_tests.sanity.conftest import SCHEMA, draw


def _judged(frame, schema=SCHEMA, rules=None, real=None):
    bound = bind(schema, load_rules() if rules is None else rules)
    return judge_synthetic(run_table_rules(frame, schema, bound).results, real or {}, is_private=False)


def _checks(frame, schema=SCHEMA, judged=None, **more):
    judged = _judged(frame, schema) if judged is None else judged
    checks = check_table(frame, schema, judged, **more)
    assert tuple(check.name for check in checks) == CHECK_NAMES
    return {check.name: check for check in checks}


def _blocking(checks):
    return {name for name, check in checks.items() if check.blocking}


def test_sane_table_passes_every_check():
    checks = _checks(draw(500), n_expected=500)
    assert all(check.passed and not check.blocking for check in checks.values())
    assert all(check.is_applicable for check in checks.values())


def test_check_without_any_rule_says_not_applicable():
    schema = Schema(columns=(Column(name="b", kind="binary"),))
    checks = _checks(conform(pd.DataFrame({"b": [0, 1]}), schema), schema)
    for name in ("demographics", "vitals", "laboratory"):
        assert not checks[name].is_applicable
        assert checks[name].description.startswith("not applicable")
        assert not checks[name].blocking


def _with(column, value):
    frame = draw(100)
    frame[column] = frame[column].astype("object")
    frame.loc[7, column] = value
    return conform(frame, SCHEMA)


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("age", 98.5, "demographics"),
        ("age", None, "completeness"),
        ("sex", "X", "demographics"),
        ("sex", None, "completeness"),
        ("diabetes", 2, "codes_and_drugs"),
        ("systolic_bp", 400, "vitals"),
        ("systolic_bp", 10, "vitals"),
        ("heart_rate_max", 1, "vitals"),
        ("creatinine", 0, "laboratory"),
        ("creatinine", np.inf, "laboratory"),
    ],
)
def test_one_bad_cell_closes_the_gate_of_its_domain(column, value, check):
    assert _blocking(_checks(_with(column, value))) == {check}


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("age", 98.5, "demographics"),
        ("sex", "X", "demographics"),
        ("age", None, "completeness"),
        ("diabetes", 2, "codes_and_drugs"),
    ],
)
def test_expectations_on_columns_close_the_gate_without_any_rule(column, value, check):
    assert _blocking(_checks(_with(column, value), judged=[])) == {check}


def test_wrong_number_of_rows_closes_the_gate():
    assert _blocking(_checks(draw(99), n_expected=100)) == {"structure"}


def test_empty_table_closes_the_gate():
    assert "structure" in _blocking(_checks(draw(0)))


def test_all_values_missing_is_not_a_pass_where_values_must_be():
    frame = conform(pd.DataFrame({name: [None] * 20 for name in SCHEMA.names}), SCHEMA)
    checks = _checks(frame)
    assert _blocking(checks) == {"completeness"}
    assert not _judged(frame)[0].result.is_applicable


def test_all_values_missing_where_they_may_be_checks_nothing():
    schema = Schema(columns=(Column(name="x", kind="continuous", item="creatinine", statistic="first"),))
    frame = conform(pd.DataFrame({"x": [None, None]}), schema)
    laboratory = _checks(frame, schema)["laboratory"]
    assert not laboratory.is_applicable
    assert laboratory.counts["rules"] == 0


def test_key_must_be_there_and_unique():
    frame = draw(50)
    assert not _blocking(_checks(frame.assign(subject_id=range(50)), judged=_judged(frame), key=["subject_id"]))
    twice = frame.assign(subject_id=[0, *range(49)])
    assert _blocking(_checks(twice, judged=_judged(frame), key=["subject_id"])) == {"structure"}
    visits = twice.assign(visit=range(50))
    assert not _blocking(_checks(visits, judged=_judged(frame), key=["subject_id", "visit"]))
    empty = frame.assign(subject_id=pd.array([None, *range(49)], dtype="Int64"))
    assert _blocking(_checks(empty, judged=_judged(frame), key=["subject_id"])) == {"structure"}


def test_worse_than_real_warns_and_does_not_block():
    frame = draw(1_000)
    frame["insulin"] = (1 - frame["diabetes"]).astype("Int8")
    key = "R71-insulin[insulin, diabetes]"
    real = {key: RealCount(n_checked=1_000, n_failed=0, could_run=True, is_demoted=False)}
    check = _checks(frame, judged=_judged(frame, real=real))["codes_and_drugs"]
    assert (check.passed, check.blocking) == (False, False)
    assert key in check.description


def _broken_rule(severity):
    return Rule(
        id="T",
        title="broken",
        severity=severity,
        check="vitals",
        heading="plausibility",
        sources=("test",),
        table=TableForm(items=("systolic_bp",), violates="no_such_function({systolic_bp})"),
    )


@pytest.mark.parametrize("severity", ["hard", "soft"])
def test_rule_that_cannot_run_closes_the_gate_and_says_so(severity):
    frame = draw(50)
    checks = _checks(frame, judged=_judged(frame, rules=[_broken_rule(severity)]))
    assert _blocking(checks) == {"vitals"}
    assert "could not run" in checks["vitals"].description
    assert checks["vitals"].counts["could_not_run"] == 1


def test_exception_in_validating_closes_every_gate(monkeypatch):
    def explode(*_):
        raise RuntimeError("marker 4711")

    monkeypatch.setattr(validation, "validate", explode)
    checks = _checks(draw(10))
    assert _blocking(checks) == set(CHECK_NAMES)
    assert all("could not run" in check.description for check in checks.values())
    assert not any("4711" in str(check.as_dict()) for check in checks.values())


def test_expectation_that_raises_closes_the_gate(monkeypatch):
    expectation = validation.Expectation(
        check="laboratory", type="ExpectColumnValuesToBeBetween", arguments={"column": "no such column", "min_value": 0}
    )
    monkeypatch.setattr(verdict, "column_expectations", lambda _: [expectation])
    checks = _checks(draw(10))
    assert _blocking(checks) == {"laboratory"}
    assert "could not run" in checks["laboratory"].description


def test_verdict_that_is_not_given_closes_the_gate(monkeypatch):
    monkeypatch.setattr(validation, "validate", lambda *_: [])
    assert _blocking(_checks(draw(10))) == set(CHECK_NAMES)


def test_file_is_judged_batch_by_batch_like_its_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(verdict, "BATCH_ROWS", 40)
    frame = draw(100)
    frame.loc[99, "age"] = 10.0
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    judged = _judged(frame)
    from_file = check_table(tmp_path / "t.parquet", SCHEMA, judged, n_expected=100)
    assert from_file == check_table(frame, SCHEMA, judged, n_expected=100)
    assert _blocking({check.name: check for check in from_file}) == {"demographics"}


def test_no_value_of_a_patient_is_in_a_check():
    frame = _with("age", 97.3)
    frame.loc[8, "sex"] = "marker-4711"
    content = str([check.as_dict() for check in check_table(frame, SCHEMA, _judged(frame))])
    assert "4711" not in content
    assert "97.3" not in content


def test_hostile_column_names_are_checked_like_others():
    schema = Schema(
        columns=(
            Column(name='x"; DROP TABLE rows; --', kind="continuous", minimum=0, maximum=1, missing=False),
            Column(name="{creatinine} $1 %s", kind="categorical", levels=("a'b", "c")),
        )
    )
    frame = conform(pd.DataFrame(dict(zip(schema.names, [[0.5, 2.0], ["a'b", "c"]], strict=True))), schema)
    assert _blocking(_checks(frame, schema)) == {"structure"}
    assert not _blocking(_checks(frame.head(1), schema))
