"""What `synthesize-events` promises: any MEDS file in, its twin out; faults mended and told, or refused in a line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.errors import OptionError, SourceError
from ehr_pipeline.evaluate.timelines.rules import find_broken
from ehr_pipeline.timelines.synthesize import EventsRequest, synthesize_events
from ehr_pipeline_tests.timelines.events import SCHEMA, stays, write


def synthesized(tmp_path, frame=None, *, schema=SCHEMA, patients=30, seed=0):
    """The events that the quickest generator drew, and what was said; what all of them keep, the contract tests say."""
    if frame is not None:
        write(frame, tmp_path / "events.parquet", schema)
    said = []
    request = EventsRequest(
        events=tmp_path / "events.parquet",
        out=tmp_path / "out.parquet",
        generator="timeline_markov",
        patients=patients,
        seed=seed,
    )
    synthesize_events(request, say=said.append)
    return pd.read_parquet(tmp_path / "out.parquet"), said


def with_rows(*rows) -> pd.DataFrame:
    """The stays and rows more: (subject_id, time, code, numeric_value)."""
    more = pd.DataFrame([(*row, None) for row in rows], columns=SCHEMA.names)
    more["time"] = pd.to_datetime(more["time"], format="ISO8601")
    return pd.concat([stays(), more.astype({"numeric_value": "float64"})], ignore_index=True)


def test_output_has_the_columns_and_types_of_the_input_whatever_they_are(tmp_path):
    schema = pa.schema(
        [
            ("code", pa.dictionary(pa.int32(), pa.large_string())),
            ("hadm_id", pa.int64()),
            ("numeric_value", pa.float64()),
            ("subject_id", pa.int32()),
            ("time", pa.timestamp("ns", "UTC")),
        ]
    )
    frame = stays().assign(hadm_id=5)
    frame.loc[frame["code"] == "WEIGHT", "numeric_value"] += 0.6
    frame["time"] = frame["time"].dt.tz_localize("UTC")
    made, said = synthesized(tmp_path, frame, schema=schema)
    assert pq.read_schema(tmp_path / "out.parquet").types == pq.read_schema(tmp_path / "events.parquet").types
    assert made["hadm_id"].isna().all()
    weight = made.loc[made["code"] == "WEIGHT", "numeric_value"]
    assert set(weight) <= {60.6 + k for k in range(8)}
    assert any("hadm_id" in line for line in said)
    assert made["time"].min() == pd.Timestamp("2150-01-01", tz="UTC")


def test_a_clean_file_is_learned_without_a_word(tmp_path):
    assert synthesized(tmp_path, stays())[1] == []


def histories(n=120):
    """Patients with one to five admissions that never overlap, with weights in between."""
    rng, rows = np.random.default_rng(0), []
    for k in range(n):
        day = 0.0
        for _ in range(rng.integers(1, 6)):
            stay = rng.exponential(3) + 0.1
            rows += [(k + 1, day, "ADMISSION//URGENT", np.nan), (k + 1, day + stay, "DISCHARGE//HOME", np.nan)]
            rows += [(k + 1, day + part * stay, "WEIGHT", 70.0) for part in rng.random(3)]
            day += stay + rng.exponential(20) + 0.1
    frame = pd.DataFrame(rows, columns=["subject_id", "day", "code", "numeric_value"])
    frame["time"] = pd.Timestamp("2150-01-01") + pd.to_timedelta((frame.pop("day") * 1_440).round(), unit="min")
    return frame.assign(text_value=None)[SCHEMA.names]


def test_admissions_of_a_drawn_history_never_overlap(tmp_path):
    made, _ = synthesized(tmp_path, histories(), patients=400)
    n_admissions = (made["code"] == "ADMISSION//URGENT").groupby(made["subject_id"]).sum()
    assert n_admissions.max() > 1
    found = find_broken(made)
    assert not found["E07"].broken.size and not found["E08"].broken.size
    assert found["E08"].n_checked > 100


def test_new_patients_have_ids_of_their_own_and_are_as_many_as_asked(tmp_path):
    frame = stays()
    frame["subject_id"] -= 999  # 1 to 60
    made, _ = synthesized(tmp_path, frame, patients=25)
    assert made["subject_id"].nunique() == 25
    assert not set(made["subject_id"]) & set(frame["subject_id"])


def test_output_is_sorted_inside_the_window_and_static_facts_come_first(tmp_path):
    made, _ = synthesized(tmp_path, stays(), patients=60)
    again = made.sort_values(["subject_id", "time"], na_position="first", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(made, again)
    assert made["time"].max() <= pd.Timestamp("2150-01-01 23:59")


def test_a_seed_decides_the_bytes(tmp_path):
    write(stays(), tmp_path / "events.parquet")
    drawn = {}
    for seed in (1, 1, 2):
        synthesized(tmp_path, seed=seed)
        drawn.setdefault(seed, set()).add((tmp_path / "out.parquet").read_bytes())
    assert len(drawn[1]) == 1
    assert drawn[1] != drawn[2]


def test_a_folder_of_shards_is_read_and_its_metadata_is_not(tmp_path):
    folder = tmp_path / "events.parquet"
    (folder / "data" / "train").mkdir(parents=True)
    (folder / "metadata").mkdir()
    frame = stays()
    write(frame[frame["subject_id"] < 1030], folder / "data" / "train" / "0.parquet")
    write(frame[frame["subject_id"] >= 1030], folder / "data" / "train" / "1.parquet")
    (folder / "metadata" / "codes.parquet").write_bytes(b"no events")
    assert synthesized(tmp_path, patients=None)[0]["subject_id"].nunique() == 60


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(1000, "2149-12-31", "HR", 80), (1000, None, "MEDS_BIRTH", None)], "MEDS_BIRTH events have no time"),
        ([(1000, "2150-01-01 03:00", "HR", np.inf)], "1 values are infinite"),
        ([(1000, "2150-01-01 03:00", None, 80)], "1 events have no code"),
        ([(1000, "2150-01-01 03:00", "", 80)], "1 events have no code"),
        ([(1000, "2150-01-01 03:01", "HR", 80)] * 3, "2 events stand twice"),
        ([(1059, "2150-01-01 03:00", "HR", 80)], "1 events have a time before the row above"),
        ([(1000, "2150-01-01 03:00", "HR", 80)], "apart"),
        ([(1000, "2150-01-02 03:00", "MEDS_BIRTH", None)], "events lie before their patient's birth"),
        ([(1000, "2150-01-01", "MEDS_BIRTH", None), (1000, "2150-01-01 01:00", "MEDS_BIRTH", None)], "second"),
        ([(1000, "2150-01-01 03:00", "CODE OF ONE", 1)], "1 codes of fewer than 5 patients"),
        ([(1000, "2150-03-01", "HR", 80)], "1 events later than"),
    ],
)
def test_what_was_mended_is_said_with_its_count(tmp_path, rows, told):
    made, said = synthesized(tmp_path, with_rows(*rows))
    assert any(told in line for line in said), said
    assert made["subject_id"].nunique() == 30
    assert "CODE OF ONE" not in set(made["code"])
    assert np.isfinite(made["numeric_value"].dropna()).all()


def test_null_subject_ids_are_left_out_and_counted(tmp_path):
    frame = stays().astype({"subject_id": "Int64"})
    frame.loc[[3, 5], "subject_id"] = pd.NA
    assert "2 events name no patient" in synthesized(tmp_path, frame)[1][0]


def test_codes_may_hold_anything(tmp_path):
    odd = "LAB//a;b,c|d\n\"e'f\\ü//mg/dL" + "x" * 300
    frame = stays().replace({"code": {"HR": odd, "GENDER//F": odd + "F"}})
    made, _ = synthesized(tmp_path, frame)
    assert {odd, odd + "F"} <= set(made["code"])


def test_long_texts_are_free_text_and_are_not_learned(tmp_path):
    frame = stays()
    frame["text_value"] = frame["text_value"].where(frame["code"] != "RHYTHM", "a note " * 40)
    made, said = synthesized(tmp_path, frame)
    assert made["text_value"].isna().all()
    assert "RHYTHM" in set(made["code"])
    assert any("longer than 200" in line for line in said)


def test_a_patient_with_half_a_million_events_is_one_patient(tmp_path):
    many = pd.DataFrame(
        {
            "subject_id": 999,
            "time": pd.Timestamp("2150-01-01") + pd.to_timedelta(np.arange(500_000) // 400, unit="min"),
            "code": "HR",
            "numeric_value": np.arange(500_000) % 100 + 400.0,
            "text_value": None,
        }
    )
    made, said = synthesized(tmp_path, pd.concat([many, stays()], ignore_index=True))
    assert any("more than 20,000 events" in line for line in said)
    assert made["numeric_value"].max() < 400
    assert made.groupby("subject_id").size().max() < 200


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda frame: frame.iloc[:0], "no event"),
        (lambda frame: frame.drop(columns="code"), "lacks the column code"),
        (lambda frame: frame.assign(time=pd.NaT), "no event of .* has a time"),
        (lambda frame: frame[frame["subject_id"] < 1004], "fewer than 5 patients"),
        (lambda frame: frame.assign(time="yesterday"), "column time"),
        (lambda frame: frame.assign(numeric_value="high"), "column numeric_value"),
        (lambda frame: frame.assign(code=7), "column code"),
        (lambda frame: frame.assign(subject_id=frame["subject_id"] + 0.5), "subject_id"),
        (lambda frame: frame.assign(subject_id="a"), "column subject_id"),
    ],
)
def test_what_cannot_be_mended_is_refused_in_one_line_and_nothing_is_written(tmp_path, change, named):
    change(stays()).to_parquet(tmp_path / "events.parquet", index=False)
    with pytest.raises(SourceError, match=named) as refusal:
        synthesized(tmp_path)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["events.parquet"]


@pytest.mark.parametrize("content", [b"", b"PAR1 no Parquet", b"subject_id,time\n1,2\n"])
def test_a_file_that_is_no_parquet_is_refused(tmp_path, content):
    (tmp_path / "events.parquet").write_bytes(content)
    with pytest.raises(SourceError, match="no Parquet file"):
        synthesized(tmp_path)


def test_out_that_cannot_be_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "folder.parquet").mkdir()
    for out in ("out.csv", "folder.parquet", "nowhere/out.parquet", "events.parquet"):
        with pytest.raises(OptionError, match="--out"):
            synthesize_events(EventsRequest(events=tmp_path / "events.parquet", out=tmp_path / out))
    with pytest.raises(OptionError, match="lies in the events"):
        synthesize_events(EventsRequest(events=tmp_path, out=tmp_path / "out.parquet"))


def test_an_unknown_generator_is_refused_with_those_that_there_are(tmp_path):
    request = EventsRequest(events=tmp_path, out=tmp_path / "out.parquet", generator="tabular_vae")
    with pytest.raises(OptionError, match="timeline_markov"):
        synthesize_events(request)


@pytest.mark.parametrize(
    "types",
    [
        {"time": pa.date32(), "numeric_value": pa.decimal128(10, 2)},
        {"time": pa.timestamp("s"), "numeric_value": pa.int64(), "subject_id": pa.uint64()},
        {"text_value": pa.null(), "numeric_value": pa.null(), "code": pa.large_string(), "subject_id": pa.float64()},
    ],
)
def test_other_types_of_number_time_and_text_are_read_and_written(tmp_path, types):
    schema = pa.schema([(field.name, types.get(field.name, field.type)) for field in SCHEMA])
    frame = stays()
    columns = [
        pa.nulls(len(frame))
        if pa.types.is_null(kind)
        else pa.array(frame[name], from_pandas=True).cast(kind, safe=False)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), tmp_path / "events.parquet")
    made, _ = synthesized(tmp_path)
    assert pq.read_schema(tmp_path / "out.parquet").types == pq.read_schema(tmp_path / "events.parquet").types
    assert len(made)


def test_a_file_without_texts_is_a_file_of_events(tmp_path):
    schema = SCHEMA.remove(4)
    made, said = synthesized(tmp_path, stays().drop(columns="text_value"), schema=schema)
    assert list(made.columns) == schema.names
    assert said == []


def test_times_at_the_ends_of_the_calendar_do_not_break_it(tmp_path):
    made, said = synthesized(tmp_path, with_rows((1000, "1700-01-01", "HR", 80), (1001, "9999-01-01", "HR", 80)))
    assert any("later than" in line for line in said)
    assert made["time"].dropna().dt.year.between(1999, 2151).all()
