"""Whatever bytes a file holds, a parser reads it or says one line of ours: no crash, no value, no code run."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ehr_pipeline.cohort import load_definition
from ehr_pipeline.errors import EhrPipelineError
from ehr_pipeline.generators.balance import read_balance
from ehr_pipeline.generators.conditions import read_conditions
from ehr_pipeline.ingest.header import read_header
from ehr_pipeline.mimic import tables
from ehr_pipeline.tables import read_table
from ehr_pipeline.tables.schema_file import read_schema_file

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
MARK = "QQMARKERQQ"

# Bytes at random hardly ever get past the first sign of a format, so most are a good file with a part overwritten.
CSV = b"subject,age,sex,when\n" + b"".join(
    b"%d,%d.5,%s,2020-01-%02d\n" % (k, k % 90, b"FM"[k % 2 : k % 2 + 1], 1 + k % 28) for k in range(60)
)
YAML = b"columns:\n  age: {kind: continuous, minimum: 0, maximum: 120}\n  sex: {kind: categorical, levels: [F, M]}\n"
COHORT = b"title: All\nindex: admission\nwindow: {until: admission}\nfeatures: {age: {fact: age}}\n"


def spoilt(good: bytes) -> st.SearchStrategy[bytes]:
    """A good file with up to three stretches overwritten, inserted or cut out; or bytes at random."""
    spot = st.tuples(st.integers(0, len(good)), st.integers(0, 12), st.binary(max_size=24))

    def spoil(spots: list[tuple[int, int, bytes]]) -> bytes:
        spoilt = good
        for start, length, put in spots:
            spoilt = spoilt[:start] + put + spoilt[start + length :]
        return spoilt

    return st.one_of(st.lists(spot, min_size=1, max_size=3).map(spoil), st.binary(max_size=300))


def one_line(error: EhrPipelineError) -> None:
    assert "\n" not in str(error).strip() and MARK not in str(error)
    assert str(error).isprintable()


def parsed_or_refused(read, *arguments) -> None:
    """Call a parser; an error of ours must be one line without the marker, any other error fails the test."""
    try:
        read(*arguments)
    except EhrPipelineError as error:
        one_line(error)


def read_whole_table(path) -> None:
    with read_table(path) as table:
        for name in table.schema.names:
            table[name]


@FUZZ
@given(content=spoilt(CSV))
@example(content=b"a,b\n1,2\n\x00\x00,3\n")
@example(content=CSV.replace(b"F", MARK.encode(), 1))
def test_any_bytes_as_csv(content, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    parsed_or_refused(read_whole_table, path)


@FUZZ
@given(content=spoilt(gzip.compress(CSV, mtime=0)))
def test_any_bytes_as_gzip(content, tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(content)
    parsed_or_refused(read_whole_table, path)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory) -> bytes:
    import pandas as pd

    path = tmp_path_factory.mktemp("parquet") / "good.parquet"
    pd.DataFrame({"age": range(60), "sex": ["F", "M"] * 30, "note": [MARK] * 60}).to_parquet(path)
    return path.read_bytes()


@FUZZ
@given(data=st.data())
def test_any_bytes_as_parquet(data, parquet, tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(data.draw(spoilt(parquet)))
    parsed_or_refused(read_whole_table, path)


@FUZZ
@given(content=spoilt(YAML))
@example(content=b"columns: !!python/object/apply:os.system ['true']\n")
@example(content=b"columns: &a [*a]\n")
@example(content=b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\ncolumns: *c\n")
def test_any_bytes_as_schema_file(content, tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_bytes(content)
    parsed_or_refused(read_schema_file, path)


@FUZZ
@given(content=spoilt(COHORT))
@example(content=b"!!python/object/new:tuple [[1]]")
def test_any_bytes_as_cohort(content, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    parsed_or_refused(load_definition, path)


@FUZZ
@given(content=spoilt(b"subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod\n1,F,50,2150,2011 - 2013,\n"))
def test_any_bytes_as_a_raw_table(content, tmp_path):
    patients = tables()["mimiciv_hosp.patients"]
    for name, written in (("patients.csv", content), ("patients.csv.gz", gzip.compress(content, mtime=0))):
        path = tmp_path / name
        path.write_bytes(written)
        parsed_or_refused(read_header, path, patients)


@FUZZ
@given(texts=st.lists(st.text(max_size=40), max_size=3))
@example(texts=["a=b=c"])
@example(texts=["a=:0.5,:0.5"])
@example(texts=["a=x:nan"])
@example(texts=["0=\r0"])
def test_any_text_as_condition_or_balance(texts):
    parsed_or_refused(read_conditions, texts)
    parsed_or_refused(read_balance, texts)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of a fitted generator, as it lies on disk."""
    from ehr_pipeline.generators.configs import IndependentConfig
    from ehr_pipeline.generators.independent import Independent
    from ehr_pipeline_tests.generators.tables import mixed_cohort

    folder = tmp_path_factory.mktemp("model")
    Independent.fit(mixed_cohort(60), IndependentConfig()).save(folder)
    return folder


@FUZZ
@given(data=st.data())
def test_any_bytes_in_a_model_folder_run_no_code(data, model, tmp_path):
    """A model of altered bytes is not trusted, but reading it must not run anything: no pickle, no name imported."""
    import shutil

    from ehr_pipeline.generators.independent import Independent

    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder)
    victim = folder / data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    victim.write_bytes(data.draw(spoilt(victim.read_bytes())))
    before = set(tmp_path.iterdir())
    try:
        Independent.load(folder)
    except (EhrPipelineError, ValueError, KeyError, TypeError, AttributeError, IndexError, json.JSONDecodeError):
        pass
    except Exception as error:  # noqa: BLE001 - safetensors has an error of its own
        assert type(error).__module__.startswith(("safetensors", "pydantic")), type(error)
    assert set(tmp_path.iterdir()) == before
