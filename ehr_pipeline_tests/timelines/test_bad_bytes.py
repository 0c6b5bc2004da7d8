"""Whatever bytes a file of events holds, it is read, or refused in one line of ours."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.timelines.cohort import cohort_of
from ehr_pipeline.timelines.files import read_raw
from ehr_pipeline.timelines.mend import mended
from ehr_pipeline_tests.security.test_bad_bytes import FUZZ, MARK, parsed_or_refused, spoilt
from ehr_pipeline_tests.timelines.events import SCHEMA, stays, write


def read(path) -> None:
    cohort = cohort_of(mended(read_raw(path), path.name), path.name)
    assert (cohort.minutes[~cohort.is_static & (cohort.events["code"] != "MEDS_BIRTH")] >= 0).all()


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("events") / "good.parquet"
    frame = stays(6, is_calendar=True).replace({"text_value": {"AF": MARK}})
    write(frame[frame.groupby("subject_id").cumcount() < 12], path)
    return path.read_bytes()


@FUZZ
@given(data=st.data())
def test_any_bytes_as_events(data, good, tmp_path):
    path = tmp_path / "events.parquet"
    path.write_bytes(data.draw(spoilt(good)))
    parsed_or_refused(read, path)


ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(1, 3)),
        st.one_of(st.none(), st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 10**10)),
        st.one_of(st.none(), st.sampled_from(["A", "B//x", "MEDS_BIRTH", "MEDS_DEATH", "", "//", "\x00"]), st.text()),
        st.one_of(st.none(), st.floats(width=32), st.sampled_from([1.0, -0.0, 0.0])),
        st.one_of(st.none(), st.text(max_size=300)),
    ),
    max_size=60,
)


@FUZZ
@given(rows=ROWS)
def test_any_events_are_mended_or_refused(rows, tmp_path):
    columns = [pa.array([row[k] for row in rows], field.type) for k, field in enumerate(SCHEMA)]
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), tmp_path / "events.parquet")
    with np.errstate(over="ignore"):
        parsed_or_refused(read, tmp_path / "events.parquet")


def test_times_that_no_calendar_has_are_left_out(tmp_path):
    n, ends = 40, [-(2**63) + 1, 2**63 - 1]
    times = pa.array([ends[k % 2] if k < 20 else k * 10**6 for k in range(n)]).cast(pa.timestamp("us"))
    columns = [pa.array([k % 10 for k in range(n)]), times, ["A"] * n, pa.nulls(n), pa.nulls(n)]
    columns = [pa.array(column).cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), tmp_path / "events.parquet")
    events = mended(read_raw(tmp_path / "events.parquet"), "events.parquet")
    assert events.notes[0] == "20 events have a time outside the years 1 to 9999: left out"
    read(tmp_path / "events.parquet")
