"""Verdicts of reviewers: good ones are stored and summed up, wrong ones are refused line by line, words are text."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ehr_pipeline.cli import app
from ehr_pipeline.errors import NotReady, OptionError, ReviewRefused
from ehr_pipeline.report.build import build_report
from ehr_pipeline.report.code_titles import LEFT_OUT
from ehr_pipeline.report.reviews import FORMAT, StoredReview, Verdict, one_line, read_reviews, store_review, sum_up
from ehr_pipeline.report.viewer import choose_patients, read_viewer
from ehr_pipeline.storage import DataFolder, sha256
from ehr_pipeline_tests.report import timeline_examples
from ehr_pipeline_tests.report.test_page import HOSTILE, Outline
from ehr_pipeline_tests.report.test_timelines import section

COHORT, GENERATOR = "icu_48h", "timeline_markov"


@pytest.fixture
def data(tmp_path) -> DataFolder:
    """A data folder with a generator's events and nothing else."""
    data = DataFolder(tmp_path / "data")
    events = data.cohort(COHORT).generator(GENERATOR).events
    timeline_examples.write_events(events, timeline_examples.synthetic_events())
    return data


@pytest.fixture
def said(data) -> dict:
    """What the page saves."""
    events = data.cohort(COHORT).generator(GENERATOR).events
    shown = choose_patients(events)[1]
    return {
        "format": FORMAT, "cohort": COHORT, "generator": GENERATOR, "events_sha256": sha256(events), "reviewer": "R.K.",
        "verdicts": [
            {"patient": shown[0], "realistic": True, "why": ""},
            {"patient": shown[1], "realistic": False, "why": "no urine for two days"},
        ],
    }  # fmt: skip


def saved(folder: Path, content) -> Path:
    path = folder / "verdicts.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def command(data: DataFolder, path: Path):
    return CliRunner().invoke(
        app, ["review", str(path), "--cohort", COHORT, "--generator", GENERATOR, "--data", str(data.root)]
    )


def test_a_good_file_is_stored_readable_by_its_owner_alone(data, said, tmp_path):
    result = command(data, saved(tmp_path, said))
    assert result.exit_code == 0
    assert "2 verdicts, 1 realistic" in result.stdout
    files = data.cohort(COHORT).generator(GENERATOR)
    (stored,) = read_reviews(files)
    assert stored.reviewer == "R.K." and stored.verdicts[1].why == "no urine for two days"
    assert stat.S_IMODE(files.reviews.stat().st_mode) == 0o600


def test_reviews_are_appended_and_the_same_file_is_stored_once(data, said, tmp_path):
    store_review(data, COHORT, GENERATOR, saved(tmp_path, said))
    store_review(data, COHORT, GENERATOR, saved(tmp_path, said))
    store_review(data, COHORT, GENERATOR, saved(tmp_path, said | {"reviewer": "M.S."}))
    assert [one.reviewer for one in read_reviews(data.cohort(COHORT).generator(GENERATOR))] == ["R.K.", "M.S."]


WRONG = {
    "no JSON": ("{", "verdicts.json is no JSON"),
    "a list": ([], "verdicts.json: the file: "),
    "no reviewer": ({"reviewer": " "}, "reviewer: "),
    "another format": ({"format": "x"}, "format: "),
    "no verdict": ({"verdicts": []}, "verdicts: "),
    "an unknown field": ({"mood": "good"}, "mood is not a field of verdicts; take it out"),
    "words for a verdict": ({"verdicts": [{"patient": 1, "realistic": "maybe"}]}, "verdicts.1.realistic: "),
    "a patient nobody saw": ({"verdicts": [{"patient": 10**6, "realistic": True}]}, "shows no patient of that number"),
    "another cohort": ({"cohort": "diabetes"}, "is about another cohort or generator"),
    "other events": ({"events_sha256": "0" * 64}, "is about other synthetic events than stand there now"),
    "a hash that is none": ({"events_sha256": "<b>"}, "events_sha256: "),
    "too many words": ({"verdicts": [{"patient": 1, "realistic": True, "why": "x" * 3000}]}, "verdicts.1.why: "),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_refused_in_one_line_and_nothing_is_stored(data, said, tmp_path, what):
    change, words = WRONG[what]
    result = command(data, saved(tmp_path, said | change if isinstance(change, dict) else change))
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ") and words in line
    assert not data.cohort(COHORT).generator(GENERATOR).reviews.exists()


def test_each_fault_has_a_line_of_its_own_without_what_was_said(data, said, tmp_path):
    verdicts = [{"patient": "QQ", "realistic": True}, {"patient": 1, "realistic": "QQ"}, {"QQ": 1}]
    result = command(data, saved(tmp_path, said | {"verdicts": verdicts}))
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == 2 and len(lines) == 5
    assert all(line.startswith("error: verdicts.json: verdicts.") for line in lines)
    assert "QQ" not in result.stderr.replace("verdicts.3.QQ is", "")


def test_two_verdicts_on_one_patient_are_refused(data, said, tmp_path):
    said["verdicts"].append(said["verdicts"][0])
    with pytest.raises(ReviewRefused, match=r"verdicts\.3: a second verdict on the same patient"):
        store_review(data, COHORT, GENERATOR, saved(tmp_path, said))


def test_what_is_not_there_is_said(data, said, tmp_path):
    with pytest.raises(OptionError, match="there is no file"):
        store_review(data, COHORT, GENERATOR, tmp_path / "none.json")
    with pytest.raises(NotReady):
        store_review(data, COHORT, "ehr_safe", saved(tmp_path, said))
    large = saved(tmp_path, " " * 1_000_001)
    with pytest.raises(OptionError, match="larger than"):
        store_review(data, COHORT, GENERATOR, large)


def test_a_stored_file_of_another_shape_is_a_clear_error(data):
    files = data.cohort(COHORT).generator(GENERATOR)
    for content in ("[{}]", "{", "3"):
        files.reviews.write_text(content)
        with pytest.raises(ReviewRefused, match="does not hold reviews"):
            read_reviews(files)


def review(reviewer: str, verdicts: dict[int, bool], why: str = "", sha: str = "a" * 64) -> StoredReview:
    said = [Verdict(patient=patient, realistic=realistic, why=why) for patient, realistic in verdicts.items()]
    return StoredReview(
        format=FORMAT, cohort=COHORT, generator=GENERATOR, events_sha256=sha, reviewer=reviewer, verdicts=said,
        stored_at="2026-11-22T08:00:00+00:00",
    )  # fmt: skip


def test_the_summary_counts_patients_once_and_the_latest_verdict_of_each_reviewer():
    found = sum_up(
        [
            review("A", {1: False, 2: True, 3: True}),
            review("A", {1: True}),
            review("B", {1: True, 2: False, 3: True, 4: True}),
            review("C", {9: True}, sha="b" * 64),
        ],
        "a" * 64,
    )
    assert (found.patients.n, found.patients.n_realistic) == (4, 3)  # a tie on patient 2 counts as not realistic
    assert [(one.who, one.n, one.n_realistic) for one in found.reviewers] == [("A", 3, 3), ("B", 4, 3)]
    (agreement,) = found.agreements
    assert (agreement.n, round(agreement.share, 3)) == (3, 0.667)
    assert agreement.kappa == 0.0  # one of the two always says yes
    assert found.n_outdated == 1


def test_the_wilson_interval_of_8_of_10_is_the_published_one():
    found = sum_up([review("A", {k: k < 8 for k in range(10)})], "a" * 64)
    low, high = found.patients.bounds
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)  # Wilson 1927, as in Brown, Cai, DasGupta 2001


def test_reviews_are_shown_on_the_page_and_in_the_scores_as_text(data):
    events = data.cohort(COHORT).generator(GENERATOR).events
    viewer = read_viewer(events)
    shown = [one.number for one in viewer.patients]
    claims = "indistinguishable from my ward, guaranteed"
    reviews = [
        review(HOSTILE[:70], {shown[0]: True, shown[1]: False}, why=HOSTILE, sha=viewer.events_sha256),
        review("M.S.", {shown[0]: True}, why=claims, sha=viewer.events_sha256),
    ]
    inputs = timeline_examples.inputs(1, viewer=viewer)
    one = inputs.generators[1]
    object.__setattr__(one, "reviews", sum_up(reviews, viewer.events_sha256))
    report = build_report(inputs)
    patients = section(report.html, "patients")
    outline = Outline(report.html)
    assert len(outline.all("script")) == 1 and not outline.all("img")
    assert outline.unbalanced == [] and outline.open == []
    assert "M.S." in patients and "Cohen&#39;s kappa" in patients and LEFT_OUT in patients
    assert "indistinguishable" not in report.html
    summary = report.scores["generators"][GENERATOR]["reviews"]
    assert summary["patients"]["n"] == 2 and summary["patients"]["n_realistic"] == 1


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_words_become_one_printable_line(text):
    line = one_line(text)
    assert line == one_line(line) and line.isprintable() and line == line.strip()
