"""The wording lint: claims that no number carries are found, plain words are not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import CheckFailed, DefinitionError
from ehr_pipeline.record import Column, Schema
from ehr_pipeline.report import build, limits
from ehr_pipeline.report.lint import BANNED, claims, lint, texts
from ehr_pipeline_tests.report import examples

PLAIN = examples.inputs(n_generators=1)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("these are anonymous records", "anonymous"),
        ("fully Anonymised", "anonymous"),
        ("anonymization was done", "anonymous"),
        ("HIPAA-compliant", "HIPAA compliant"),
        ("in HIPAA   compliance", "HIPAA compliant"),
        ("No real patient’s record is in here", "no real patient's record"),
        ("privacy is guaranteed", "guaranteed"),
        ("in\u00addis\u200btinguishable from real", "indistinguishable"),
        ("there is no privacy risk", "risk-free"),
        ("cannot be traced back to anyone", "cannot be traced back"),
        ("ＡＮＯＮＹＭＯＵＳ", "anonymous"),
    ],
)
def test_claim_is_found(text, name):
    assert claims(text) == [name]
    assert lint(f"<p>{text}</p>") == [name]


@pytest.mark.parametrize(
    "text", ["no formal guarantee", "a pseudonymous id", "the risk is small", "real patients' records", "unsafe"]
)
def test_plain_words_pass(text):
    assert claims(text) == []


def test_claim_is_found_across_tags_in_attributes_and_entities():
    assert lint("<p>anony<b>mous</b></p>") == ["anonymous"]
    assert lint('<svg aria-label="guaranteed"></svg>') == ["guaranteed"]
    assert lint("<p>no&nbsp;real <i>patient</i></p>") == ["no real patient's record"]
    assert lint("<p>&#97;nonymous</p>") == ["anonymous"]


def test_style_is_not_read_as_text():
    assert lint("<style>/* guaranteed */</style><p>calm</p>") == []


def test_supported_claim_passes():
    assert lint("<p>guaranteed by epsilon</p>", supported={"guaranteed"}) == []


@settings(max_examples=50)
@given(st.sampled_from(sorted(BANNED)), st.text(alphabet=" \t\n<>&;/b\"'", max_size=12), st.text(max_size=8))
def test_claim_in_a_user_title_never_reaches_the_page(phrase, before, after):
    cohort = replace(PLAIN.cohort, title=f"{before} {phrase} . {after}")
    with pytest.raises(DefinitionError, match=r"cohort medicore: cohort\.title says"):
        build._refuse_claims(replace(PLAIN, cohort=cohort))


def test_claim_in_a_title_is_refused_with_its_place():
    cohort = replace(examples.inputs().cohort, title="An anonymous hospital")
    with pytest.raises(DefinitionError, match=r"^cohort medicore: cohort\.title says 'anonymous'.*reword it$"):
        build.build_report(examples.inputs(cohort=cohort))


def test_claim_in_a_column_level_names_the_column_place_not_the_level():
    schema = Schema(columns=(Column(name="payer", kind="categorical", levels=("guaranteed issue plan X", "none")),))
    with pytest.raises(DefinitionError) as refusal:
        build.build_report(examples.inputs(schema))
    assert "schema.columns[0].levels[0]" in str(refusal.value)
    assert "plan X" not in str(refusal.value)


def test_claim_in_the_page_of_its_own_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "CONTEXT_OF_USE", "x")
    monkeypatch.setattr("ehr_pipeline.report.view.CONTEXT_OF_USE", "The table is anonymous.")
    with pytest.raises(CheckFailed, match="it would say anonymous"):
        build.build_report(examples.inputs())


def test_own_words_pass_the_lint():
    real = replace(examples.inputs().lineage, is_simulated=False)
    small = replace(examples.inputs().cohort, is_small=True)
    for changes in ({}, {"lineage": real}, {"cohort": small}, {"real_sanity": None}):
        assert lint(build.build_report(examples.inputs(**changes)).html) == []


def test_texts_names_every_place():
    assert dict(texts({"a": [{"b": "x"}], "c": 1})) == {"(a name)": "c", "a[0] (a name)": "b", "a[0].b": "x"}
