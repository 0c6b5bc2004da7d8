"""Whatever bytes a source that is not MIMIC-IV holds, it is read, or refused in one line of ours."""

import duckdb
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.ingest.mapped import STAGED, find_layouts, stage
from ehr_pipeline.ingest.mapping_file import load_mapping
from ehr_pipeline.ingest.meds_source import VIEW, meds_files, view_events
from ehr_pipeline.progress import silent
from ehr_pipeline_tests.ingest.foreign import MAPPING
from ehr_pipeline_tests.security.test_bad_bytes import FUZZ, MARK, parsed_or_refused, spoilt

QUICK_FUZZ = settings(FUZZ, max_examples=25)
VALUES = "id,minute,name,unit,value\n" + "".join(
    f"{n},{n * 7}.5,N{n % 3},bpm,{MARK if n == 9 else n}\n" for n in range(40)
)
TEXT = yaml.safe_dump(MAPPING).encode()


def read_mapped(folder) -> None:
    mapping = load_mapping(folder / "own.yaml")
    layouts = find_layouts(folder, mapping)
    with duckdb.connect() as con:
        files = stage(con, mapping, layouts, silent)
        ((n_events, n_bad),) = con.execute(
            "SELECT count(*), count(*) FILTER (WHERE subject_id IS NULL OR code IS NULL OR NOT isfinite(time)) "
            f"FROM {STAGED}"
        ).fetchall()
    assert n_bad == 0 and n_events == sum(file.n_events for file in files)
    for file in files:  # nothing is lost without a word: the mapping has one kind of event
        assert file.n_rows == file.n_events + file.untaken + sum(file.aside.values())


@QUICK_FUZZ
@given(content=spoilt(VALUES.encode()))
def test_any_bytes_as_the_values_of_a_mapping(content, tmp_path):
    (tmp_path / "own.yaml").write_bytes(TEXT)
    (tmp_path / "values.csv").write_bytes(content)
    parsed_or_refused(read_mapped, tmp_path)


@QUICK_FUZZ
@given(content=spoilt(TEXT))
def test_any_bytes_as_a_mapping(content, tmp_path):
    (tmp_path / "own.yaml").write_bytes(content)
    (tmp_path / "values.csv").write_text(VALUES)
    parsed_or_refused(read_mapped, tmp_path)


def read_meds(folder) -> None:
    files = meds_files(folder)
    if not files:
        return
    with duckdb.connect() as con:
        told = view_events(con, files, "events")
        try:
            ((n_events, n_bad),) = con.execute(
                f"SELECT count(*), count(*) FILTER (WHERE NOT isfinite(numeric_value) OR code = '') FROM {VIEW}"
            ).fetchall()
        except duckdb.Error:  # a damaged page, found late: `stream.write_events` turns it into a line
            return
    assert n_bad == 0 and n_events == told.n_events == told.n_rows - sum(told.aside.values())


@pytest.fixture(scope="module")
def meds(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("meds") / "good.parquet"
    moments = pd.to_datetime(["2020-01-01", None, "2020-02-01"]).astype("datetime64[us]")
    frame = pd.DataFrame({"subject_id": [1, 1, 2], "time": moments, "code": ["A", "B//x", MARK]})
    frame.assign(numeric_value=[1.0, None, 3.0], text_value=["x", None, MARK]).to_parquet(path, index=False)
    return path.read_bytes()


@QUICK_FUZZ
@given(data=st.data())
def test_any_bytes_as_meds(data, meds, tmp_path):
    (tmp_path / "0.parquet").write_bytes(data.draw(spoilt(meds)))
    parsed_or_refused(read_meds, tmp_path)
