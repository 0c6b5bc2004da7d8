"""Text of a definition is never SQL, and the connection could do nothing with it if it were."""

import duckdb
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehr_pipeline.cohort import build_cohort, load_definition
from ehr_pipeline.cohort.stream import locked_connection
from ehr_pipeline.errors import DefinitionError, NotReady
from ehr_pipeline_tests.cohort.hospital import Hospital, definition_of

BEGIN, END = "2150-03-01 10:00", "2150-03-05 10:00"
EVIL = "'); COPY (SELECT 1) TO '{marker}'; --"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two admitted patients, in a folder whose own name has a quote."""
    hospital = Hospital()
    for subject in (1, 2):
        hospital.patient(subject).admission(subject, subject * 10, BEGIN, END)
        hospital.event(subject, BEGIN, "MEDICATION//Aspirin", hadm_id=subject * 10)
    return hospital.write(tmp_path_factory.mktemp("o'brien; --"))


def test_folder_with_a_quote_in_its_name_works(data, tmp_path):
    assert build_cohort(definition_of(tmp_path), data).n_members == 2


@pytest.mark.parametrize("where", ["drugs", "salt", "title", "description"])
def test_statement_in_free_text_is_only_text(data, tmp_path, where):
    marker = tmp_path / "marker"
    evil = EVIL.format(marker=marker)
    places = {
        "drugs": {"features": {"a": {"drugs": ["aspirin", evil]}}},
        "salt": {"split": {"salt": evil}},
        "title": {"title": evil},
        "description": {"description": evil},
    }
    assert build_cohort(definition_of(tmp_path, **places[where]), data).n_members == 2
    assert not marker.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"features": {'a" FROM members; --': {"fact": "age"}}},
        {"features": {"a": {"item": EVIL, "statistic": "first"}}},
        {"features": {"a": {"item": "sodium", "statistic": "first", "sources": [EVIL]}}},
        {"features": {"a": {"codes": {"icd10": [EVIL]}}}},
        {"features": {"a": {"codes": EVIL}}},
        {"features": {"a": {"drugs": EVIL}}},
        {"features": {"a": {"fact": EVIL}}},
        {"population": {"sex": [EVIL]}},
        {"population": {"diagnoses": {"any_of": [EVIL]}}},
        {"population": {"drugs": {"none_of": [EVIL]}}},
        {"population": {"minimum_stay_hours": EVIL}},
        {"window": {"hours_after": EVIL}},
        {"index": EVIL},
    ],
    ids=str,
)
def test_statement_where_a_name_belongs_is_refused(tmp_path, changes):
    with pytest.raises(DefinitionError):
        definition_of(tmp_path, **changes)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30), st.text(max_size=20))
def test_any_drug_name_and_salt_build_or_are_refused(data, tmp_path, drug, salt):
    """Quotes, semicolons, brackets, percent signs, other alphabets: text that never reaches the parser."""
    path = tmp_path / "any.yaml"
    content = {
        "title": "Any",
        "index": "admission",
        "window": {"until": "admission"},
        "features": {"found": {"drugs": ["aspirin", drug]}},
        "split": {"salt": salt},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        definition = load_definition(path)
    except DefinitionError:
        return
    assert build_cohort(definition, data).n_members == 2


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "SELECT * FROM read_text('{folder}/secret.txt')",
        "SELECT * FROM read_csv('{folder}/secret.txt')",
        "ATTACH '{folder}/other.duckdb'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET allowed_paths = ['/']",
        "SET temp_directory = '/tmp'",
    ],
)
def test_connection_reads_the_events_and_nothing_else(data, tmp_path, statement):
    (tmp_path / "secret.txt").write_text("secret")
    files = sorted(data.events.glob("*.parquet"))
    with locked_connection(tmp_path, files) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM events").fetchone() == (True,)
        with pytest.raises(duckdb.Error):
            connection.execute(statement.format(folder=tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.txt"]


def test_event_file_that_is_cut_short_is_one_line_and_loses_nothing(tmp_path):
    hospital = Hospital().patient(1).admission(1, 10, BEGIN, END)
    data = hospital.write(tmp_path / "data", n_files=1)
    definition = definition_of(tmp_path)
    build_cohort(definition, data)
    before = data.cohort("made").table.read_bytes()
    [file] = data.events.glob("*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:40] + bytes(len(content) // 2 - 40) + content[len(content) // 2 :])
    with pytest.raises(NotReady, match="ingest the source again"):
        build_cohort(definition, data)
    assert data.cohort("made").table.read_bytes() == before
