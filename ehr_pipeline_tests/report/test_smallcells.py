"""Small cells: nothing on the page or in the JSON speaks of one to ten real patients."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.evaluate.result import ColumnComparison, EpidemiologyRow, Subgroup
from ehr_pipeline.record import SMALL_CELL
from ehr_pipeline.report.build import build_report
from ehr_pipeline.report.inputs import FlowStep
from ehr_pipeline.report.smallcells import hide_share, hide_small, shown_flow
from ehr_pipeline_tests.report import examples

COUNTS = st.lists(st.integers(0, 40), min_size=2, max_size=8)


@given(COUNTS)
def test_small_counts_are_hidden_and_cannot_be_worked_out(counts):
    hidden = hide_small(counts)
    assert all(n is None or n == 0 or n >= SMALL_CELL for n in hidden)
    together = sum(n for n, shown in zip(counts, hidden, strict=True) if shown is None)
    assert together == 0 or together >= SMALL_CELL or set(hidden) == {None}
    assert hide_small(hidden) == hidden


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6))
def test_flow_never_gives_away_a_small_step(left_out):
    total = 500
    flow = [FlowStep(label="all", n_left=total)]
    for n in left_out:
        flow.append(FlowStep(label="criterion", n_left=flow[-1].n_left - n))
    rows = shown_flow(flow)
    assert rows[-1][1] == flow[-1].n_left
    for (_, before, _, is_rounded), (_, after, out, _), true in zip(rows, rows[1:], left_out, strict=False):
        if 0 < true < SMALL_CELL:
            assert out is None and is_rounded
        elif not is_rounded:
            assert out == before - after == true


def test_share_of_few_is_hidden_and_of_none_or_many_shown():
    assert hide_share(0.05, 100) is None  # 5 patients
    assert hide_share(0.95, 100) is None  # all but 5
    assert hide_share(0.0, 100) == 0.0
    assert hide_share(0.5, 100) == 0.5


def test_small_cells_left_by_an_earlier_stage_are_hidden_everywhere():
    inputs = examples.inputs(n_generators=1)
    column = ColumnComparison(
        name="sex", kind="categorical", levels=["F", "M", "X"], train=[2000, 1993, 7], holdout=[500, 496, 4],
        synthetic=[2000, 1990, 10], missing_share={"train": 0.00125, "holdout": 0.0, "synthetic": 0.5},
        distance=0.00075, distance_floor=0.00225, divergence=0.001, divergence_floor=0.002,
    )  # fmt: skip
    group = Subgroup(column="sex", level="X", n_real=7, n_synthetic=20, share_ratio=2.86, scores={"ks_mean": 0.4321})
    evaluation = inputs.generators[0].evaluation.model_copy(update={"columns": [column], "subgroups": [group]})
    facts = {"n_patients": 9}
    report = build_report(
        replace(inputs, generators=[replace(inputs.generators[0], evaluation=evaluation, facts=facts)])
    )
    found = report.scores["generators"]["tabular_vae"]
    assert found["columns"][0]["train"] == [2000, None, None]
    assert found["columns"][0]["distance"] is found["columns"][0]["divergence_floor"] is None
    assert found["columns"][0]["missing_share"]["train"] is None
    assert found["subgroups"][0]["n_real"] is None and found["subgroups"][0]["share_ratio"] is None
    assert found["facts"]["n_patients"] == "< 11"
    assert "0.4321" not in report.html + json.dumps(report.scores)


def test_share_of_a_level_is_hidden_where_its_count_is():
    inputs = examples.inputs(n_generators=1)
    column = ColumnComparison(
        name="sex", kind="categorical", levels=["F", "M", "X"], train=[2000, 1993, 7], holdout=[500, 489, 11],
        synthetic=[2000, 1990, 10], missing_share={"train": 0.0, "holdout": 0.0, "synthetic": 0.0},
    )  # fmt: skip
    rows = [
        EpidemiologyRow(label=f"sex: {level}", unit="%", real=real, synthetic=50.0, difference=50.0 - real)
        for level, real in (("F", 50.0), ("M", 49.825))  # what is left, 0.175 % of 4,000, would be the seven
    ]
    evaluation = inputs.generators[0].evaluation.model_copy(update={"columns": [column], "epidemiology": rows})
    report = build_report(replace(inputs, generators=[replace(inputs.generators[0], evaluation=evaluation)]))
    shown = report.scores["generators"]["tabular_vae"]["epidemiology"]
    assert [(row["real"], row["difference"]) for row in shown] == [(50.0, 0.0), (None, None)]


def test_hidden_rule_count_shows_only_its_bound():
    row = build_report(examples.inputs()).html.split("R32[bmi]")[-1].split("</tr>")[0]
    assert re.search(r"&lt; 0\.27 %|< 0\.27 %", row)  # 11 of 4,000 records


def test_real_extremes_are_not_on_the_page():
    inputs = examples.inputs(n_generators=1)
    edges = inputs.generators[0].evaluation.columns[0].bins
    assert edges == sorted(edges)
    assert "minimum" not in build_report(inputs).html.split('id="fidelity"')[1].split("</section>")[0]
