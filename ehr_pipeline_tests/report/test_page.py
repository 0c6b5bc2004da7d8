"""The page: whole, offline, escaped, readable, and quick enough for wide tables."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from ehr_pipeline.errors import NotReady
from ehr_pipeline.record import Column, Schema
from ehr_pipeline.report.build import Report, build_report, write_report
from ehr_pipeline.report.inputs import GeneratorFacts
from ehr_pipeline.report.view import CONTENTS
from ehr_pipeline.storage import CohortFolder, read_json, sha256
from ehr_pipeline_tests.report import examples

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> & {{ 7*7 }} {% raw %} é 中文 😀 \u202e"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Outline(HTMLParser):
    """Tags, ids, links and unbalanced tags of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def report() -> Report:
    return build_report(examples.inputs())


@pytest.fixture(scope="module")
def outline(report) -> Outline:
    return Outline(report.html)


def test_page_asks_for_nothing_outside_itself(report, outline):
    assert not re.findall(r"https?://|//\w", re.sub(r"data:image/png;base64,[^\"]*", "", report.html))
    assert not re.search(r"url\(|@import|<link|<iframe|<object|<form", report.html)
    sources = [attributes[name] for _, attributes in outline.tags for name in ("src", "href") if name in attributes]
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in sources)


def test_page_has_no_script_and_a_strict_policy(report, outline):
    assert "<script" not in report.html.lower()
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    policies = [m["content"] for m in outline.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_page_is_balanced_and_ids_are_distinct(outline):
    assert outline.unbalanced == [] and outline.open == []
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_contents_lead_to_every_section(outline):
    ids = {attributes.get("id") for attributes in outline.all("section")}
    links = {a["href"] for a in outline.all("a")}
    assert ids == {anchor for anchor, _ in CONTENTS}
    assert {f"#{anchor}" for anchor in ids} <= links


def test_every_picture_has_words_and_every_header_a_scope(outline):
    for svg in outline.all("svg"):
        assert svg.get("aria-label") or svg.get("aria-hidden") == "true"
    assert all(th.get("scope") for th in outline.all("th"))
    assert len(outline.all("caption")) == len(outline.all("table"))


def test_headings_never_skip_a_level(outline):
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_page_carries_the_pictures_it_promises(report):
    for label in ("Pearson correlation matrix", "ROC: Can a classifier", "ROC: cvd, boosted model", "Log-odds ratio",
                  "Scores of all generators", "age: real training patients", "Loss of Variational"):  # fmt: skip
        assert f'aria-label="{label}' in report.html
    assert report.html.count("data:image/png;base64,") == 6  # three matrices for each of two generators


def test_verdict_names_failed_gates_attacks_tier_and_class(report):
    verdict = report.html.split('id="verdict"')[1].split("</section>")[0]
    assert "non-private: no formal guarantee" in verdict
    assert "class internal" in verdict
    assert "Two-sample AUC: 0.730, allowed at most 0.667" in verdict
    assert verdict.count("found its planted leak") == 2


def test_small_cohort_says_so_first():
    small = replace(examples.inputs().cohort, is_small=True, n_patients=7, n_holdout=2)
    html = build_report(examples.inputs(cohort=small)).html
    assert "Too few patients for an honest result" in html
    assert "The cohort is small (&lt; 11 patients" in html


def test_simulated_and_real_sources_state_different_limits(report):
    real = replace(examples.inputs().lineage, is_simulated=False)
    assert "method does on data with known truth" in report.html
    assert "nobody knows the true treatment effect" in build_report(examples.inputs(lineage=real)).html


def test_hostile_names_are_shown_as_text():
    name = HOSTILE[:120]
    schema = Schema(
        columns=(
            Column(name=name, kind="continuous", unit=HOSTILE, title=HOSTILE),
            Column(name="x" * 128, kind="categorical", levels=(HOSTILE, "b" * 200)),
        )
    )
    inputs = examples.inputs(schema)
    generators = [replace(one, title=HOSTILE * 2, config={HOSTILE: HOSTILE}) for one in inputs.generators]
    cohort = replace(inputs.cohort, title=HOSTILE, description=HOSTILE * 3, definition=f"title: {HOSTILE}\n")
    lineage = replace(inputs.lineage, source=HOSTILE, hashes={HOSTILE: HOSTILE}, settings={HOSTILE: [HOSTILE]})
    html = build_report(replace(inputs, cohort=cohort, lineage=lineage, generators=generators)).html
    outline = Outline(html)
    assert not outline.all("script") and not outline.all("img")
    assert outline.unbalanced == [] and outline.open == []
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    assert "{{ 7*7 }}" in html
    assert "&lt;script&gt;" in html


def test_one_column_one_generator_makes_a_page():
    schema = Schema(columns=(Column(name="age", kind="continuous"),))
    assert "age: real training patients" in build_report(examples.inputs(schema, n_generators=1)).html


def test_nothing_known_still_makes_a_page_that_fails_closed():
    bare = GeneratorFacts(
        name="independent", title="Independent columns", config={}, evaluation=examples.EMPTY_EVALUATION
    )
    report = build_report(replace(examples.inputs(), generators=[bare], real_sanity=None))
    dimensions = report.scores["generators"]["independent"]["dimensions"]
    assert {name: found["state"] for name, found in dimensions.items()} == {
        "fidelity": "not judged", "utility": "not judged", "causal": "not judged", "privacy": "failed",
        "clinical sanity": "failed",
    }  # fmt: skip
    assert "No attack was run" in report.html


def test_no_generator_is_a_clear_error():
    with pytest.raises(NotReady, match="cohort medicore has no evaluated generator"):
        build_report(replace(examples.inputs(), generators=[]))


def test_wide_table_of_many_generators_stays_small_and_quick():
    names = [f"column {place} of a wide table" for place in range(60)]
    columns = [
        Column(name=name, kind="categorical", levels=tuple("abcdefgh"))
        if place % 3 == 0
        else Column(name=name, kind="continuous")
        for place, name in enumerate(names)
    ]
    inputs = examples.inputs(Schema(columns=tuple(columns)), n_generators=10)
    started = time.perf_counter()
    report = build_report(inputs)
    assert time.perf_counter() - started < 30
    assert len(report.html.encode()) < 10_000_000


def test_files_are_written_where_the_folder_says(report, tmp_path):
    folder = CohortFolder(tmp_path / "medicore")
    assert write_report(report, folder) == folder.report_page
    assert folder.report_page.read_text(encoding="utf-8") == report.html
    assert read_json(folder.report_scores) == report.scores | {"page_sha256": sha256(folder.report_page)}
    assert sorted(path.name for path in folder.report_page.parent.iterdir()) == ["index.html", "scores.json"]


def test_same_findings_give_the_same_page(report):
    assert build_report(examples.inputs()).html == report.html
