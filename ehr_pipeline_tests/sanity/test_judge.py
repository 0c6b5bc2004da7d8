import pytest

from ehr_pipeline.sanity.judge import RealCount, hide_small, judge_real, judge_synthetic, soft_limit
from ehr_pipeline.sanity.rules import Rule, TableForm
from ehr_pipeline.sanity.run import RuleResult


def _result(n_checked, n_failed, *, severity="hard", heading="plausibility", could_run=True, grain="row", **more):
    rule = Rule(
        id="T",
        title="test",
        severity=severity,
        check="vitals",
        heading=heading,
        sources=("test",),
        table=TableForm(items=("heart_rate",), violates="true", grain=grain),
        **more,
    )
    return RuleResult(
        rule=rule, columns=("x",), key="T[x]", n_checked=n_checked, n_failed=n_failed, could_run=could_run
    )


def _real(result):
    return judge_real([result])[0]


def _synthetic(result, real=None, is_private=False):
    known = {} if real is None else {"T[x]": RealCount.of(real)}
    return judge_synthetic([result], known, is_private)[0]


def test_counts_of_1_to_10_real_records_are_hidden():
    assert [hide_small(n) for n in (0, 1, 10, 11)] == [0, None, None, 11]
    real = RealCount.of(_result(5_000, 3))
    assert (real.n_checked, real.n_failed, real.as_dict()["rate"]) == (5_000, None, None)


def test_real_rate_above_a_thousandth_demotes_a_clinical_hard_rule():
    at_the_limit, above = _result(10_000, 10), _result(10_000, 11)
    assert not RealCount.of(at_the_limit).is_demoted
    assert RealCount.of(above).is_demoted
    assert (_real(at_the_limit).verdict, _real(above).verdict) == ("measured", "demoted")
    assert _real(above).warns
    assert not _real(above).stops
    assert "ingest" in _real(above).note


def test_a_few_real_records_demote_nothing_and_stop_nothing():
    for n_failed in (1, 10):
        judged = _real(_result(100, n_failed))
        assert not RealCount.of(judged.result).is_demoted
        assert (judged.verdict, judged.stops, judged.warns) == ("measured", False, False)
    assert _synthetic(_result(1_000, 1), _result(100, 1)).stops
    assert RealCount.of(_result(100, 11)).is_demoted


def test_how_few_have_a_gap_does_not_follow_from_the_number_of_rows():
    checked = [RealCount.of(_result(n, 0), 1_000).n_checked for n in (1_000, 999, 990, 989, 11, 3, 0)]
    assert checked == [1_000, 1_000, 1_000, 989, 11, None, 0]
    assert RealCount.of(_result(1, 0, grain="table"), 12).n_checked == 1


def test_known_demotion_is_told_as_such():
    assert _real(_result(100, 50, demotion="known")).note == "known"


def test_breach_of_form_by_real_records_stops_and_is_never_demoted():
    judged = _real(_result(100_000, 1, heading="conformance"))
    assert judged.stops
    assert not RealCount.of(judged.result).is_demoted
    assert not RealCount.of(_result(10, 10, heading="completeness")).is_demoted


def test_soft_rules_are_only_measured_on_real_records():
    judged = _real(_result(100, 100, severity="soft"))
    assert (judged.verdict, judged.stops, judged.warns) == ("measured", False, False)


def test_nothing_checked_is_not_a_pass():
    nothing = _result(0, 0)
    assert _real(nothing).verdict == _synthetic(nothing).verdict == "not_applicable"


@pytest.mark.parametrize("severity", ["hard", "soft"])
def test_what_could_not_run_stops_everywhere(severity):
    broken = _result(0, 0, severity=severity, could_run=False)
    assert _real(broken).stops
    assert _synthetic(broken).stops


def test_one_hard_failure_stops_a_synthetic_table():
    assert _synthetic(_result(100_000, 1), _result(100_000, 10)).stops
    assert _synthetic(_result(100_000, 0), _result(100_000, 10)).verdict == "passed"
    assert _synthetic(_result(100_000, 1)).stops


def test_demoted_rule_is_soft_for_synthetic_rows():
    judged = _synthetic(_result(1_000, 20), _result(1_000, 20))
    assert (judged.severity, judged.verdict) == ("soft", "passed")
    assert _synthetic(_result(1_000, 500), _result(1_000, 20)).warns


def test_private_table_is_judged_without_what_real_patients_do():
    judged = _synthetic(_result(1_000, 1), _result(1_000, 20), is_private=True)
    assert judged.severity == "hard"
    assert judged.stops


def test_soft_rule_may_be_as_bad_as_real_records_and_no_worse():
    real = _result(50_000, 1_000, severity="soft")
    # 2 % + 0.5 % + 3 standard errors of 0.089 %: at most 2.77 % of 50,000 rows
    judged = _synthetic(_result(50_000, 1_382, severity="soft"), real)
    assert judged.n_allowed == 1_382
    assert judged.verdict == "passed"
    worse = _synthetic(_result(50_000, 1_383, severity="soft"), real)
    assert worse.warns
    assert not worse.stops


def test_soft_limit_leaves_room_for_sampling():
    small, large = (RealCount.of(_result(n, 0, severity="soft")) for n in (100, 100_000))
    assert 0.03 < soft_limit(small, 100, 0.005) < 0.06
    assert 0.005 < soft_limit(large, 100_000, 0.005) < 0.0052
    assert soft_limit(RealCount.of(_result(20, 20, severity="soft")), 20, 0.005) == 1.0


def test_hidden_count_is_taken_in_its_middle():
    hidden = {soft_limit(RealCount.of(_result(1_000, n)), 1_000, 0.005) for n in range(1, 11)}
    assert len(hidden) == 1
    assert 0.005 + 0.005 < hidden.pop() < 0.025


def test_too_few_real_records_are_not_compared_with():
    for real in (None, _result(0, 0, severity="soft"), _result(10, 0, severity="soft")):
        judged = _synthetic(_result(100, 50, severity="soft"), real)
        assert (judged.verdict, judged.n_allowed, judged.stops) == ("not_compared", None, False)


def test_whole_table_rule_may_fail_only_where_the_real_table_does():
    kept, broken = (_result(1, n, severity="soft", grain="table") for n in (0, 1))
    assert _synthetic(broken, kept).verdict == "failed"
    assert _synthetic(broken, broken).verdict == "passed"
    assert _synthetic(kept, kept).verdict == "passed"
