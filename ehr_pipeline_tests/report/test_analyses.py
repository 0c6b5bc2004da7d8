"""Analyses side by side: real members alone, the same SQL on both, nothing said of few real patients."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import duckdb
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.cohort import build_cohort, load_definitions
from ehr_pipeline.ingest import ingest
from ehr_pipeline.mimic.analyses import analyses
from ehr_pipeline.record import SMALL_CELL
from ehr_pipeline.report.analyses import LISTS, AnalysisResult, AnalysisTable, analyse_cohort, analyse_members, masked
from ehr_pipeline.report.analyses_view import side_by_side
from ehr_pipeline.report.build import build_report
from ehr_pipeline.simulate import simulate_hospital
from ehr_pipeline.storage import DataFolder, private_folder
from ehr_pipeline_tests.export.streams import strip_identifiers
from ehr_pipeline_tests.report import timeline_examples
from ehr_pipeline_tests.report.test_page import HOSTILE, Outline
from ehr_pipeline_tests.report.test_timelines import section

GENERATOR = "timeline_markov"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DataFolder:
    """A simulated hospital; a cohort's own window events, without identifiers, stand in for a generator's."""
    root = tmp_path_factory.mktemp("analyses")
    simulate_hospital(80, root / "hospital", seed=5)
    data = DataFolder(root / "data")
    ingest([root / "hospital"], data)
    build_cohort(load_definitions()["icu_48h"], data)
    folder = data.cohort("icu_48h")
    private_folder(folder.generator(GENERATOR).root)
    strip_identifiers(folder.root, folder.generator(GENERATOR).events, name=folder.events.name)
    return data


@pytest.fixture(scope="module")
def results(data) -> dict[str, AnalysisResult]:
    return {one.name: one for one in analyse_cohort(data, "icu_48h", [GENERATOR])}


def test_every_analysis_runs_on_both_and_measures_the_same_vital_signs(results):
    assert set(results) == set(analyses())
    for name, one in results.items():
        assert one.real is not None and one.synthetic[GENERATOR] is not None, name
        assert one.real.columns == one.synthetic[GENERATOR].columns and one.words
    vitals = results["first_day_vitals"]
    for sign, row in vitals.real.rows.items():
        assert vitals.synthetic[GENERATOR].rows[sign] == pytest.approx(row, rel=0.02), sign


def test_the_real_side_is_the_members_alone_one_admission_each(data, tmp_path):
    members = pd.read_parquet(data.cohort("icu_48h").members)
    some = tmp_path / "some.parquet"
    pd.concat([members.head(40), members.head(40)]).to_parquet(some, index=False)
    found = analyse_members(data, some)
    assert all(table.n_patients == 40 for table in found.values())
    assert found["sofa_first_day"].rows["total"][0] == 40


def test_what_was_found_in_synthetic_events_is_kept_while_they_stay_the_same(data, results, monkeypatch):
    files = data.cohort("icu_48h").generator(GENERATOR)
    assert files.analyses.exists() and not files.analyses_scratch.exists()
    monkeypatch.setattr("ehr_pipeline.report.analyses.analyse_events", lambda *_: pytest.fail("asked again"))
    again = analyse_cohort(data, "icu_48h", [GENERATOR])
    assert {one.name: one.synthetic for one in again} == {name: one.synthetic for name, one in results.items()}


def test_events_of_another_source_answer_nothing_and_stop_nothing(data, monkeypatch):
    other = data.cohort("icu_48h").generator("ehr_safe")
    private_folder(other.root)
    con = duckdb.connect()
    con.execute(
        f"COPY (SELECT 1::BIGINT AS subject_id, TIMESTAMP '2000-01-01' AS time, 'HR' AS code, 60::FLOAT AS "
        f"numeric_value, NULL::VARCHAR AS text_value) TO '{other.events}' (FORMAT parquet)"
    )
    monkeypatch.setattr("ehr_pipeline.report.analyses.analyse_members", lambda *_: {})
    found = {one.name: one.synthetic["ehr_safe"] for one in analyse_cohort(data, "icu_48h", ["ehr_safe"])}
    assert found["first_day_vitals"].rows == {}
    other.events.write_bytes(b"no parquet")
    assert all(one.synthetic["ehr_safe"] is None for one in analyse_cohort(data, "icu_48h", ["ehr_safe"]))


def table(columns: str, rows: dict[str, tuple], n_patients: int = 1000) -> AnalysisTable:
    return AnalysisTable(columns=tuple(columns.split()), rows=rows, n_patients=n_patients)


COUNTS = st.lists(st.integers(0, 60), min_size=2, max_size=8)


@given(COUNTS, st.data())
def test_no_count_or_proportion_of_few_real_patients_is_left_and_none_can_be_worked_out(counts, drawn):
    deaths = [drawn.draw(st.integers(0, n)) for n in counts]
    rows = {f"{10 * k}": (n, d / n if n else None) for k, (n, d) in enumerate(zip(counts, deaths, strict=True))}
    found = masked("icu_mortality_by_age", table("n_stays mortality", rows)).rows
    shown = [found[key][0] for key in rows]
    hidden = sum(n for n, cell in zip(counts, shown, strict=True) if cell is None)
    assert hidden == 0 or hidden >= SMALL_CELL or all(cell is None or cell == 0 for cell in shown)
    for n, d, key in zip(counts, deaths, rows, strict=True):
        assert found[key][0] is None or found[key][0] == n
        if found[key][1] is not None:
            assert not 0 < d < SMALL_CELL and not 0 < n - d < SMALL_CELL


def test_points_of_few_go_with_their_share_and_the_total_goes_too():
    rows = {"liver": (100.0, 0.2, 0.05), "renal": (100.0, 0.9, 0.5), "total": (100.0, 1.1, 0.55)}
    found = masked("sofa_first_day", table("n_stays mean_points share_above_0", rows)).rows
    assert found == {"liver": (100.0, None, None), "renal": (100.0, 0.9, 0.5), "total": (100.0, None, None)}


def test_quartiles_need_patients_beyond_them():
    rows = {"hospital": (30.0, 1.0, 2.0, 3.0, 0.5, 0.5), "intensive care": (500.0, 1.0, 2.0, 3.0, 0.5, 0.5)}
    columns = "n_stays quarter median three_quarters over_3_days over_7_days"
    found = masked("length_of_stay", table(columns, rows)).rows
    assert found["hospital"] == (30.0, None, None, None, 0.5, 0.5)
    assert found["intensive care"] == rows["intensive care"]


@pytest.mark.parametrize("name", LISTS)
def test_what_few_real_patients_have_is_not_even_named(name):
    rows = {"common": (300.0, 0.3), "rare": (10.0, 0.01)}
    found = masked(name, table("n_admissions share", rows))
    assert found.rows == {"common": (300.0, 0.3)} and found.n_hidden == 1


def test_real_and_synthetic_stand_in_one_row():
    real = table("n_stays mortality", {"40": (120.0, None), "50": (None, None)}, 300)
    made = table("n_stays mortality", {"40": (80.0, 0.125), "90": (3.0, 1.0)}, 7)
    one = AnalysisResult(name="icu_mortality_by_age", words="w", real=real, synthetic={"a": made, "b": None})
    shown = side_by_side(one, {"a": "Generator A", "b": "Generator B"})
    assert shown.heads == ("", "Real", "Generator A", "Generator B")
    assert shown.rows == (
        ("patients looked at", "300", "7", "–"),
        ("40: stays", "120", "80", "–"),
        ("40: mortality", "hidden", "12.5 %", "–"),
        ("50: stays", "hidden", "–", "–"),
        ("50: mortality", "hidden", "–", "–"),
        ("90: stays", "–", "3", "–"),
        ("90: mortality", "–", "100 %", "–"),
    )


def test_the_page_and_the_scores_have_the_analyses_and_hostile_names_are_text(results):
    hostile = table("n_prescriptions share", {HOSTILE: (300.0, 0.3)})
    odd = replace(results["top_drugs"], real=hostile, words=HOSTILE)
    report = build_report(timeline_examples.inputs(1, analyses=(results["first_day_vitals"], odd)))
    shown, outline = section(report.html, "analyses"), Outline(report.html)
    assert "heart rate: mean" in shown and "Markov timelines" in shown
    assert not outline.all("script") and not outline.all("img") and outline.unbalanced == []
    assert [one["name"] for one in report.scores["analyses"]] == ["first_day_vitals", "top_drugs"]
    json.dumps(asdict(odd), allow_nan=False)
