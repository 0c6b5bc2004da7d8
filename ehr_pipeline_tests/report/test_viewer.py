"""The viewer shows synthetic patients and nobody else, within its limits, as text."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest

from ehr_pipeline.errors import SourceError
from ehr_pipeline.report import viewer as viewer_module
from ehr_pipeline.report.build import build_report
from ehr_pipeline.report.viewer import N_EVENTS, N_LANES, N_PATIENTS, N_ROWS, choose_patients, read_viewer
from ehr_pipeline.storage import CohortFolder, sha256
from ehr_pipeline_tests.report import timeline_examples
from ehr_pipeline_tests.report.test_page import HOSTILE, Outline
from ehr_pipeline_tests.report.test_timelines import section

MARKER = "QQREALQQ"


@pytest.fixture
def events(tmp_path):
    return timeline_examples.write_events(tmp_path / "made.parquet", timeline_examples.synthetic_events())


def page(viewer, **changes) -> str:
    return build_report(timeline_examples.inputs(1, viewer=viewer, **changes)).html


def test_patients_are_chosen_by_seed_and_at_most_so_many(events):
    n_patients, chosen = choose_patients(events)
    assert n_patients == 30 and len(chosen) == N_PATIENTS and chosen == sorted(set(chosen))
    assert choose_patients(events) == (30, chosen) and choose_patients(events, seed=1)[1] != chosen
    assert read_viewer(events) == read_viewer(events)
    assert read_viewer(events).events_sha256 == sha256(events)


def test_a_patient_is_shown_as_lanes_marks_facts_and_what_lies_around(events):
    one = read_viewer(events).patients[0]
    assert [(lane.title, lane.unit) for lane in one.lanes] == [("Heart rate", "bpm"), ("Sodium", "mEq/L")]
    heart = one.lanes[0]
    assert heart.hours == tuple(float(hour) for hour in range(25)) and len(heart.values) == 25
    assert one.hours == 24.0 and one.lanes[1].hours == (3.0,)
    assert [(row.kind, row.title, row.hours) for row in one.marks] == [("drugs", "Furosemide", (5.0,))]
    assert dict(one.facts)["age"] == "60 years" and dict(one.facts)["gender"] in ("F", "M")
    assert one.lists == (
        ("Diagnoses", ("I509 (ICD-10)",)),  # coded days later: no hour of it is drawn
        ("Before and after", ("admission: EW EMER., 4.0 days before the first value",)),
    )


def test_no_real_patients_data_reaches_the_viewer(tmp_path, monkeypatch):
    """The page is the same whatever the cohort's real files hold, and no other file of patients is opened."""
    folder = CohortFolder(tmp_path / "icu")
    files = folder.generator("timeline_markov")
    timeline_examples.write_events(files.events, timeline_examples.synthetic_events())
    read: list[list] = []
    asked = viewer_module._asked
    monkeypatch.setattr(
        viewer_module, "_asked", lambda sql, parameters: (read.append(parameters), asked(sql, parameters))[1]
    )
    before = page(read_viewer(files.events))
    real = timeline_examples.synthetic_events(40, seed=9)
    real["code"] = real["code"].where(real["code"] != "MEDICATION//Furosemide", f"MEDICATION//{MARKER}")
    real["numeric_value"] = real["numeric_value"].where(real["code"] != timeline_examples.SODIUM, 123.457)
    for path in (folder.events, folder.members, folder.prepared_events, folder.prepared_table, folder.table):
        timeline_examples.write_events(path, real)
    after = page(read_viewer(files.events))
    assert before == after
    assert MARKER not in after and "123.457" not in after and "123.5" not in section(after, "patients")
    assert {parameters[0] for parameters in read} == {str(files.events)}


def test_limits_hold_and_what_is_beyond_is_counted(tmp_path):
    base = timeline_examples.synthetic_events(1)
    start = pd.Timestamp("2110-03-02 08:00")
    many = [(1, start, f"LAB//{code}//u", 1.0, None) for code in range(60)]
    many += [(1, start, f"MEDICATION//drug {k}", None, None) for k in range(60)]
    many += [(1, start + pd.Timedelta(seconds=k), "VITAL//220210//insp/min", 18.0, None) for k in range(5000)]
    events = pd.concat([base, pd.DataFrame(many, columns=base.columns)], ignore_index=True)
    (one,) = read_viewer(timeline_examples.write_events(tmp_path / "e.parquet", events)).patients
    assert len(one.lanes) <= N_LANES and len(one.marks) <= N_ROWS
    assert sum(len(lane.hours) for lane in one.lanes) <= N_EVENTS
    assert one.n_events == len(events)
    assert {line.split(" more ")[1] for line in one.beyond} == {"measured things", "rows of marks", "events"}


def test_hostile_events_are_shown_as_text(tmp_path):
    base = timeline_examples.synthetic_events(3)
    hostile = base.tail(1).assign(code=f"MEDICATION//{HOSTILE}", text_value=HOSTILE, time=base["time"].iloc[5])
    static = base.head(1).assign(code=f"{HOSTILE}//{HOSTILE}", text_value=HOSTILE)
    unit = base.tail(1).assign(code=f"LAB//1//{HOSTILE}", numeric_value=1.0, time=base["time"].iloc[6])
    events = pd.concat([base, hostile, static, unit], ignore_index=True)
    html = page(read_viewer(timeline_examples.write_events(tmp_path / "e.parquet", events)))
    outline = Outline(html)
    assert len(outline.all("script")) == 1 and not outline.all("img")
    assert outline.unbalanced == [] and outline.open == []
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;" in section(html, "patients")


def test_odd_patients_are_shown_too(tmp_path):
    rows = [
        (1, None, "GENDER//F", None, None),  # nothing but a fact
        (2, pd.Timestamp("2110-01-01"), "PULSE", float("inf"), None),
        (3, pd.Timestamp("2110-01-01"), "PULSE", 60.0, None),  # one value, of another source's code
        (4, pd.Timestamp("2110-01-01"), "MEDS_DEATH", None, None),
        (5, None, "MEDS_BIRTH", None, None),
    ]
    columns = ["subject_id", "time", "code", "numeric_value", "text_value"]
    shown = read_viewer(timeline_examples.write_events(tmp_path / "e.parquet", pd.DataFrame(rows, columns=columns)))
    assert [one.number for one in shown.patients] == [1, 2, 3, 4, 5]
    assert [len(one.lanes) for one in shown.patients] == [0, 0, 1, 0, 0]
    for picture in section(page(shown), "patients").split("<svg")[1:]:
        assert not re.search(r"\bnan|\binf", picture.split("</svg>", maxsplit=1)[0])


def test_what_is_no_event_file_is_a_clear_error(tmp_path):
    path = tmp_path / "e.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(SourceError, match="cannot be read as synthetic events; sample the generator again"):
        read_viewer(path)


def test_a_page_with_a_viewer_runs_its_own_script_and_nothing_else(events):
    html = page(read_viewer(events))
    outline = Outline(html)
    (policy,) = [m["content"] for m in outline.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-")
    assert "unsafe-eval" not in policy and "connect-src" not in policy
    assert outline.all("script") == [{}]
    assert "fetch(" not in html and "XMLHttpRequest" not in html and "http://" not in html and "https://" not in html
    assert "<form" not in html


def test_three_generators_of_large_patients_stay_a_page(tmp_path):
    base = timeline_examples.synthetic_events(25)
    start = pd.Timestamp("2110-03-02 08:00")
    values = [
        (subject, start + pd.Timedelta(minutes=3 * k), f"VITAL//{220000 + k % 15}//u", float(k), None)
        for subject in range(1, 26)
        for k in range(2000)
    ]
    events = pd.concat([base, pd.DataFrame(values, columns=base.columns)], ignore_index=True)
    viewer = read_viewer(timeline_examples.write_events(tmp_path / "e.parquet", events))
    inputs = timeline_examples.inputs(2, viewer=viewer)
    third = replace(inputs.generators[2], name="ehr_safe", title="EHR-Safe")
    html = build_report(replace(inputs, generators=(*inputs.generators, third))).html
    assert len(html.encode()) < 15_000_000
