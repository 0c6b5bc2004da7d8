"""The page of a pair of files: a cohort's less what only a cohort has."""

from dataclasses import replace

import pytest

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.evaluate.files import ComparedFiles
from ehr_pipeline.evaluate.questions import Questions
from ehr_pipeline.evaluate.reading import FileFacts
from ehr_pipeline.record import Column
from ehr_pipeline.report.build import build_report
from ehr_pipeline.report.files import report_files
from ehr_pipeline_tests.report import examples

PROVENANCE = {"made_at": "2026-11-22T08:00:00+00:00", "seed": 0, "versions": {"numpy": "2.3"}}
WHY = "no holdout was given, so that there are no real rows which the generator never saw"


def compared(**changes) -> ComparedFiles:
    """Two files and a holdout, with findings made by hand."""
    found = examples.inputs(n_generators=1)
    facts = {
        role: FileFacts(name=f"{role}.csv", sha256=role[0] * 64, n_rows=4000, n_patients=3000)
        for role in ("real", "synthetic", "holdout")
    }
    evaluation = found.generators[0].evaluation.model_copy(update={"provenance": PROVENANCE})
    content = {
        "evaluation": evaluation,
        "files": facts,
        "schema": found.schema,
        "n_train": 3000,
        "n_holdout": 3000,
        "questions": Questions(targets=("cvd",)),
        "seed": 0,
    }
    return ComparedFiles(**content | changes)


def sections(html):
    return [part.split('"')[0] for part in html.split('<section id="')[1:]]


def test_what_only_a_cohort_has_is_absent():
    html = report_files(compared()).html
    assert sections(html) == [
        "verdict", "compared", "fidelity", "utility", "causal", "privacy", "subgroups", "epidemiology", "lineage",
        "limits", "glossary",
    ]  # fmt: skip
    for words in ("Clinical sanity", "Definition of the cohort", "Generators side by side", "rules were not run"):
        assert words not in html
    assert "Tier not known" in html
    assert 'href="#sanity"' not in html


def test_what_was_not_asked_is_absent():
    evaluation = compared().evaluation.model_copy(update={"tasks": [], "effect": None, "subgroups": []})
    shown = sections(report_files(compared(evaluation=evaluation)).html)
    assert not {"utility", "causal", "subgroups"} & set(shown)


def test_missing_rules_fail_a_cohort_and_not_a_pair_of_files():
    card = report_files(compared()).scores["generators"]["synthetic"]
    assert "clinical sanity" not in card["dimensions"]
    bare = replace(examples.inputs(n_generators=1), real_sanity=None)
    bare = replace(bare, generators=[replace(bare.generators[0], sanity=None)])
    (cohort,) = build_report(bare).scores["generators"].values()
    assert cohort["dimensions"]["clinical sanity"]["state"] == "failed"


def test_privacy_that_was_not_judged_says_why_and_the_whole_does_not_pass():
    scores = {
        name: score.model_copy(update={"verdict": "diagnostic"}) if score.dimension == "privacy" else score
        for name, score in compared().evaluation.scores.items()
    }
    evaluation = compared().evaluation.model_copy(
        update={"not_judged": {"privacy": WHY}, "attacks": [], "scores": scores}
    )
    report = report_files(compared(evaluation=evaluation))
    card = report.scores["generators"]["synthetic"]
    assert card["dimensions"]["privacy"] == {"state": "not judged", "n_gates": 0, "failed": []}
    assert card["verdict"] == "not judged"
    assert f"Privacy was not judged: {WHY}" in report.html
    judged = report_files(compared()).scores["generators"]["synthetic"]
    assert judged["verdict"] == "passed"


def test_names_of_files_are_said_with_their_digests_and_sizes():
    report = report_files(compared())
    assert report.scores["lineage"]["hashes"]["holdout file, holdout.csv"] == "h" * 64
    assert report.scores["lineage"]["source_rows"]["synthetic file, synthetic.csv"] == 4000
    assert "<h1>synthetic.csv beside real.csv</h1>" in report.html


def test_a_file_whose_name_is_a_claim_is_named_by_its_part():
    files = compared().files | {"synthetic": replace(compared().files["synthetic"], name="anonymised <b>.csv")}
    html = report_files(compared(files=files)).html
    assert "<h1>the synthetic file beside real.csv</h1>" in html


def test_a_column_that_is_a_claim_is_refused_in_words_about_the_files():
    schema = compared().schema
    schema = schema.model_copy(update={"columns": (*schema.columns, Column(name="anonymised", kind="binary"))})
    with pytest.raises(DefinitionError, match="^the files: schema"):
        report_files(compared(schema=schema))


def test_few_patients_are_said_first():
    assert "Too few patients for an honest result" in report_files(compared(n_holdout=40)).html
    assert "Too few patients" not in report_files(compared()).html
