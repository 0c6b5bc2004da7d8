"""Pages of timelines: drawn where they should be, hidden where they must be, absent where nothing was found."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from ehr_pipeline.evaluate.files import ComparedFiles
from ehr_pipeline.evaluate.questions import Questions
from ehr_pipeline.evaluate.reading import FileFacts
from ehr_pipeline.evaluate.timelines.result import Band
from ehr_pipeline.record import Schema
from ehr_pipeline.report.build import build_report
from ehr_pipeline.report.code_titles import LEFT_OUT, code_titles, distinct_titles, retitled
from ehr_pipeline.report.files import report_files
from ehr_pipeline.report.lint import lint
from ehr_pipeline.report.pictures.heat import GREY, heat_map, pixels
from ehr_pipeline.report.pictures.over_time import HEIGHT, rate, survival, trajectory
from ehr_pipeline.report.summary import key_scores
from ehr_pipeline.report.timelines import CONTENTS
from ehr_pipeline_tests.report import examples, timeline_examples
from ehr_pipeline_tests.report.test_page import HOSTILE, Outline

SECTIONS = {anchor for anchor, _ in CONTENTS}


@pytest.fixture(scope="module")
def report():
    return build_report(timeline_examples.inputs())


def section(html: str, anchor: str) -> str:
    return html.split(f'<section id="{anchor}"')[1].split("</section>", maxsplit=1)[0]


def points(picture: str, tag: str, css: str) -> list[list[tuple[float, float]]]:
    """Coordinates of the polygons or lines of one class."""
    found = re.findall(rf'<{tag} points="([^"]*)" class="{css}"', picture)
    return [[tuple(float(x) for x in pair.split(",")) for pair in one.split()] for one in found]


def test_no_section_of_timelines_stands_where_no_generator_makes_them():
    html = build_report(examples.inputs()).html
    assert not SECTIONS & {attributes.get("id") for attributes in Outline(html).all("section")}
    assert "<script" not in html


def test_every_section_with_findings_stands_and_is_led_to(report):
    outline = Outline(report.html)
    assert SECTIONS - {"analyses", "patients"} <= {attributes.get("id") for attributes in outline.all("section")}
    assert 'href="#trajectories"' in report.html and 'href="#patients"' not in report.html
    assert outline.unbalanced == [] and outline.open == []
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") == "true" for svg in outline.all("svg"))
    assert lint(report.html) == []


def test_the_baseline_stands_beside_every_learned_generator_and_is_missed_where_it_did_not_run(report):
    shown = section(report.html, "timelines")
    rows = re.findall(r"Distance of time gaps.*?</tbody>", shown, re.DOTALL)[0]
    assert "Markov timelines" in rows and "Timeline transformer" in rows and "Variational" not in rows
    assert "50.0 %" in shown  # .2 of the baseline's .4
    assert "was not run here" not in shown
    inputs = timeline_examples.inputs()
    learned_alone = replace(inputs, generators=(inputs.generators[0], inputs.generators[2]))
    assert "<code>timeline_markov</code> was not run here" in build_report(learned_alone).html


def test_scores_of_timelines_stand_with_floor_null_interval_and_normalised_value(report):
    rows = re.findall(r"Distance of time gaps.*?</tbody>", section(report.html, "timelines"), re.DOTALL)[0]
    for words in ("0.400", "[0.390, 0.410]", "0.010", "0.500", "0.80"):
        assert words in rows


def test_key_scores_of_events_are_plottable(report):
    found = key_scores(report)
    assert found["timeline_transformer/timelines/time_gap_ks"] == 0.2
    assert not any(name.startswith("tabular_vae/timelines") for name in found)


def test_failed_gates_of_timelines_fail_the_card():
    inputs = timeline_examples.inputs(1)
    gated = timeline_examples.score("mean_normalised", 0.4, threshold=0.3, verdict="failed")
    found = timeline_examples.evaluation(scores={"mean_normalised": gated})
    one = inputs.generators[1]
    one = replace(one, evaluation=one.evaluation.model_copy(update={"timelines": found}))
    report = build_report(replace(inputs, generators=(one,)))
    card = report.scores["generators"]["timeline_markov"]
    assert card["dimensions"]["timelines"]["state"] == "failed" and card["verdict"] == "failed"
    assert "Mean normalised error of timelines: 0.400, allowed at most 0.300" in section(report.html, "verdict")


def test_bands_are_drawn_at_their_quartiles_real_in_ink_and_synthetic_in_colour():
    real = Band(median=[10.0, 20.0], low=[0.0, 10.0], high=[20.0, 30.0], n=[50, 50])
    synthetic = Band(median=[15.0, 15.0], low=[5.0, 5.0], high=[25.0, 25.0], n=[9, 9])
    picture = trajectory("t", [0.0, 1.0], real, [(2, synthetic)], (0.0, 40.0))
    (ink,), (colour,) = points(picture, "polygon", "real area"), points(picture, "polygon", "band g2")
    bottom, height = HEIGHT - 38, HEIGHT - 46
    y = {value: round(bottom - height * value / 40, 1) for value in (0, 5, 10, 15, 20, 25, 30)}
    assert [p[1] for p in ink] == [y[0], y[10], y[30], y[20]]  # lower edge onwards, upper edge back
    assert [p[1] for p in colour] == [y[5], y[5], y[25], y[25]]
    assert [p[1] for p in points(picture, "polyline", "line real")[0]] == [y[10], y[20]]
    assert [p[1] for p in points(picture, "polyline", "line g2")[0]] == [y[15], y[15]]


def test_hidden_bins_of_a_band_leave_a_gap_and_a_bin_alone_is_still_seen():
    real = timeline_examples.band([80.0, 81.0, None, 83.0])
    picture = trajectory("t", [0.0, 1.0, 2.0, 3.0], real, [], (70.0, 90.0))
    lines = points(picture, "polyline", "line real")
    assert [len(line) for line in lines] == [2, 2]
    assert lines[0][-1][0] < lines[1][0][0] < lines[1][1][0]  # the second is the last bin, from end to end
    assert len(points(picture, "polygon", "real area")) == 2


def test_hidden_cells_of_a_heat_map_are_grey_and_zero_is_blank():
    rgba = pixels([[1.0, 0.0, None]], "share")
    assert rgba[0, 0, 3] == 255 and rgba[0, 1, 3] == 0 and tuple(rgba[0, 2]) == GREY
    red, blue = pixels([[0.3, -0.3]], "difference")[0]
    assert red[0] > red[2] and blue[2] > blue[0] and red[3] == blue[3] == 255


def test_a_hidden_real_share_hides_its_difference(report):
    shown = section(report.html, "measurement")
    assert shown.count("grey: too few patients, hidden") == 4  # real and difference, for each of two generators
    assert "nan" not in heat_map("l", [], [], [], "share")


def test_survival_curves_step_down_at_their_days():
    picture = survival("s", [0.0, 1.0, 2.0], [1.0, 0.5, 0.4], [(0, [1.0, 0.9, 0.8])])
    real, made = (points(picture, "polyline", f"line {css}")[0] for css in ("real", "g0"))
    xs = sorted({x for x, _ in real})
    assert len(xs) == 3 and real[-1][1] > made[-1][1]  # further down
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(real))  # stairs


def test_survival_shows_restricted_means_and_gap(report):
    shown = section(report.html, "survival")
    assert "mean to day 2: real 1.93 days" in shown
    assert "Timeline transformer: 1.96 days, largest gap 0.040" in shown


def test_rates_are_an_area_and_a_line_per_generator():
    picture = rate("r", [0.0, 1.0, 2.0], [1.0, None, 3.0], [(1, [2.0, 2.0, 2.0])])
    assert len(points(picture, "polygon", "real area")) == 2
    assert len(points(picture, "polyline", "line g1")) == 1


def test_plausibility_shows_both_shares_and_the_rules_that_somebody_breaks(report):
    shown = section(report.html, "plausibility")
    for words in ("2.0 %", "3.0 %", "[2.00, 4.00] %", "E15°: Systolic is above diastolic"):
        assert words in shown
    assert "Nobody breaks this" not in shown and "1 rules that no patient breaks" in shown


def test_outcomes_are_told_apart_in_words(report):
    shown = section(report.html, "trajectories")
    assert ">died<" in shown and ">survived<" in shown


def test_findings_that_are_empty_still_make_a_page():
    bare = timeline_examples.evaluation(
        scores={}, trajectories=[], outcome_trajectories=[], rates=[], survival=[], prevalence=[], values=[],
        transitions=[], two_sample=[], tasks=[], notes=[],
        missingness=timeline_examples.evaluation().missingness.model_copy(
            update={"codes": [], "titles": [], "hours": [], "real": [], "synthetic": []}
        ),
    )  # fmt: skip
    inputs = timeline_examples.inputs(1)
    one = inputs.generators[1]
    one = replace(one, evaluation=one.evaluation.model_copy(update={"timelines": bare}))
    html = build_report(replace(inputs, generators=(one,))).html
    assert '<section id="timelines"' in html and '<section id="trajectories"' not in html


def test_hostile_codes_titles_and_notes_are_text():
    hostile = timeline_examples.trajectory(title=HOSTILE, unit=HOSTILE, code=HOSTILE)
    found = timeline_examples.evaluation(trajectories=[hostile], outcome_trajectories=[hostile], notes=[HOSTILE])
    found = found.model_copy(
        update={
            "prevalence": [found.prevalence[0].model_copy(update={"title": HOSTILE})],
            "missingness": found.missingness.model_copy(update={"titles": [HOSTILE, HOSTILE]}),
            "tasks": [found.tasks[0].model_copy(update={"title": HOSTILE})],
        }
    )
    inputs = timeline_examples.inputs(1)
    one = inputs.generators[1]
    one = replace(one, evaluation=one.evaluation.model_copy(update={"timelines": found}))
    outline = Outline(build_report(replace(inputs, generators=(one,))).html)
    assert not outline.all("script") and not outline.all("img")
    assert outline.unbalanced == [] and outline.open == []
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]


def test_codes_are_called_by_the_catalogue_or_their_own_words_and_claims_are_left_out():
    titles = code_titles([timeline_examples.HEART_RATE, "LAB//99999//g/dL", "PULSE", "X//an anonymous donor"])
    heart = titles[timeline_examples.HEART_RATE]
    assert (heart.title, heart.unit, heart.kind) == ("Heart rate", "bpm", "values")
    assert (titles["LAB//99999//g/dL"].title, titles["LAB//99999//g/dL"].unit) == ("99999", "g/dL")
    assert titles["PULSE"].title == "PULSE" and titles["PULSE"].kind is None
    assert titles["X//an anonymous donor"].title == LEFT_OUT
    assert len(set(distinct_titles(["A//x", "B//x", "A//y//x", "MEDICATION//x"]).values())) == 4


def test_a_code_that_makes_a_claim_does_not_stop_the_report():
    found = timeline_examples.evaluation(trajectories=[timeline_examples.trajectory(code="DONOR//anonymous")])
    assert retitled(found).trajectories[0].title == LEFT_OUT


def test_two_event_files_have_the_same_sections_and_none_of_tables():
    found = timeline_examples.evaluation()
    bare = examples.EMPTY_EVALUATION.model_copy(
        update={
            "timelines": found,
            "n_rows": found.n_patients,
            "provenance": {"made_at": "2026-11-22T08:00:00+00:00", "seed": 0, "versions": {}},
        }
    )
    files = {
        role: FileFacts(name=f"{role}.parquet", sha256=None, n_rows=9, n_patients=900) for role in ("real", "synthetic")
    }
    html = report_files(
        ComparedFiles(
            evaluation=bare, files=files, schema=Schema(columns=()), n_train=450, n_holdout=450, questions=Questions(),
            seed=0,
        )
    ).html  # fmt: skip
    shown = {attributes.get("id") for attributes in Outline(html).all("section")}
    assert SECTIONS - {"analyses", "patients"} <= shown
    assert not shown & {"compared", "fidelity", "epidemiology", "sanity"}
    assert "Privacy was not judged: no attack was run on these events" in html
    assert "was not run here" not in html  # a pair of files has no baseline to run
    assert "Of the clinical rules, 7 on the order and values of events" in html
    assert "No clinical rule was run" not in html
