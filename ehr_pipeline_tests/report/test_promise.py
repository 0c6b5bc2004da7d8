"""The promise in the internal report: a budget is shown with its unit and mechanisms, its absence is said."""

from dataclasses import replace

from ehr_pipeline.privacy.accountant import accounted
from ehr_pipeline.privacy.budget import Budget, GaussianMechanism, PrivacyPlan
from ehr_pipeline.privacy.entries import Total
from ehr_pipeline.report.build import build_report
from ehr_pipeline_tests.report import examples

MECHANISMS = (GaussianMechanism(name="histogram of each column", noise_multiplier=20.0, steps=12),)
PLAN = PrivacyPlan(budget=Budget(epsilon=1.0, delta=1e-5), mechanisms=MECHANISMS, accounted=accounted(MECHANISMS, 1e-5))
TOTAL = Total(universe="all patients", unit=PLAN.unit, epsilon=1.5, delta=1e-5, n_spends=2, n_internal=1, n_released=0)


def test_a_private_model_shows_its_unit_mechanism_and_ledger_total():
    inputs = examples.inputs(n_generators=2)
    private = replace(inputs.generators[0], privacy=PLAN.record())
    report = build_report(replace(inputs, generators=(private, inputs.generators[1]), spent=(TOTAL,)))
    first, second = report.scores["generators"].values()
    assert first["tier"].startswith("private: epsilon") and PLAN.unit in first["tier"]
    assert second["tier"].startswith("non-private")
    assert "histogram of each column" in report.html and "Spent on these patients so far" in report.html
    assert "1.50" in report.html
    assert f"No formal privacy guarantee stands behind {inputs.generators[1].title}." in report.html


def test_where_everything_is_private_nothing_says_that_no_limit_was_set():
    inputs = examples.inputs(n_generators=1)
    report = build_report(replace(inputs, generators=(replace(inputs.generators[0], privacy=PLAN.record()),)))
    assert "Nothing limits in advance" not in report.html
    assert "no formal" not in report.html.lower()


def test_without_a_budget_the_page_says_so():
    report = build_report(examples.inputs(n_generators=1))
    assert "Nothing limits in advance" in report.html
    assert "Spent on these patients" not in report.html


def test_an_audit_shows_its_bound_and_the_most_it_could_have_shown_as_text():
    inputs = examples.inputs(n_generators=1)
    assert "The audit of" not in build_report(inputs).html
    lines = ("audit of <b>x</b>: 100 canaries, nothing was found (2.75 is the most this audit could show)",)
    html = build_report(replace(inputs, generators=(replace(inputs.generators[0], audit=lines),))).html
    assert f"The audit of {inputs.generators[0].title}" in html
    assert "2.75 is the most this audit could show" in html and "<b>x</b>" not in html
