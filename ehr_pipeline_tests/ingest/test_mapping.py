"""Mapping files: what is wrong is named with what may stand there; cells become times and numbers, or nothing."""

import contextlib
import datetime
import hashlib
import json
import math

import duckdb
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.ingest.mapping import template
from ehr_pipeline.ingest.mapping_file import load_mapping, shipped_mappings
from ehr_pipeline.ingest.mapping_sql import cell_sql, distance_sql, id_sql, moment_sql, number_sql
from ehr_pipeline_tests.ingest.foreign import MAPPING, mapping

EVENT = MAPPING["files"][0]["events"][0]


def load(tmp_path, content):
    path = tmp_path / "own.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True))
    return load_mapping(path)


FAULTS = {
    "a wrong key": (
        MAPPING | {"file": []},
        "there is no key 'file'; there are title, subject_ids, visit_ids, origin, files",
    ),
    "a wrong key of a file": (
        mapping(subject="id"),
        "file 1: there is no key 'subject'; there are missing, words, where, file",
    ),
    "a wrong key of an event": (
        mapping(events=[EVENT | {"cod": "x"}]),
        "file 1, event 1: there is no key 'cod'; there are",
    ),
    "a wrong key of a time": (
        mapping(time={"colum": "minute"}),
        "file 1, time: there is no key 'colum'; there are static",
    ),
    "a wrong key of a condition": (
        mapping(where={"name": {"not": ["x"]}}),
        "there is no key 'not'; there are any_of, except",
    ),
    "a wrong key of a join": (
        mapping(joins=[{"path": "x"}]),
        "file 1, join 1: there is no key 'path'; there are file, by",
    ),
    "no files": ({"title": "x"}, "files: is missing"),
    "an empty list of files": ({"title": "x", "files": []}, "files"),
    "no subject": (mapping(subject_id=None), "file 1, subject_id: is missing"),
    "no time": (mapping(time=None), "event 1 has no time; name a column, or say time: static"),
    "no origin": ({**MAPPING, "origin": None}, "needs since, or the mapping an origin"),
    "an origin that is no time": ({**MAPPING, "origin": "birth"}, "origin must be a time"),
    "an unknown unit": (mapping(time={"column": "minute", "unit": "fortnights"}), "file 1, time, unit"),
    "a unit and a format": (mapping(time={"column": "m", "unit": "days", "format": "%d"}), "keep one"),
    "a column and a value": (mapping(time={"column": "m", "value": "2"}), "a column or a value"),
    "two ways to tell a value": (mapping(events=[EVENT | {"text_value": "name"}]), "value stands for"),
    "half a template": (mapping(events=[EVENT | {"code": "OWN//x{name}"}]), "each a word or one {column}"),
    "an empty part": (mapping(events=[EVENT | {"code": "OWN////x"}]), "each a word or one {column}"),
    "a clock without quotes": (
        "title: x\nfiles: [{file: a, subject_id: b, time: {value: 48:01, unit: 'HH:MM'}, events: []}]",
        "quotes",
    ),
    "a truth for a text": (mapping(words={"value": {True: "x"}}), "quotes"),
    "a truth for a cell": (mapping(where={"name": False}), "quotes"),
    "a list for a text": (mapping(file=["a", "b"]), "file 1, file: must be text"),
    "a text for a list": (mapping(events="LAB"), "events: must be a list"),
    "a name": (MAPPING | {"name": "own"}, "the file's name"),
    "a list": ([1, 2], "must be a mapping with title and files"),
    "a key twice": ("title: x\ntitle: y\n", "line 2 is not valid YAML (a key stands twice)"),
    "no YAML": ("title: [x", "is not valid YAML"),
    "a date of no calendar": ("title: x\norigin: 2000-13-45\n", "is not valid YAML"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_mapping_is_one_line_that_names_the_place_and_what_may_stand_there(fault, tmp_path):
    content, words = FAULTS[fault]
    with pytest.raises(DefinitionError) as caught:
        load(tmp_path, content)
    assert words in str(caught.value), str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "own.yaml"))
    assert "\n" not in str(caught.value)


def test_the_shipped_mappings_are_valid():
    assert set(shipped_mappings()) == {"physionet-2012", "synthea"}
    for name, path in shipped_mappings().items():
        assert load_mapping(path).name == name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "file",
        "optional",
        "delimiter",
        "subject_id",
        "hadm_id",
        "time",
        "codes",
        "joins",
        "events",
        "missing",
        "words",
        "where",
    ]
)


@given(
    changes=st.dictionaries(KEYS, JSON, max_size=3),
    event=st.dictionaries(st.sampled_from([*EVENT, "time", "unit"]), JSON),
)
@settings(max_examples=60, deadline=None)
def test_any_content_is_a_mapping_or_refused_in_one_line(tmp_path_factory, changes, event):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(json.dumps(mapping(**{"events": [EVENT | event], **changes})))
    try:
        assert load_mapping(path).files
    except DefinitionError as error:
        assert "\n" not in str(error)


@given(st.text(max_size=30))
@settings(max_examples=60, deadline=None)
@example("{}")
@example("//")
@example("{a}//{a}")
def test_any_text_is_a_template_that_writes_itself_or_is_refused(text):
    with contextlib.suppress(ValueError):
        assert str(template(text)) == text


CON = duckdb.connect()


def ask(sql: str, *values):
    return CON.execute(f"SELECT {sql} FROM (SELECT ?::VARCHAR AS x)", list(values)).fetchone()[0]


TIMES = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))
OFFSETS = st.integers(-14 * 60, 14 * 60)


@given(TIMES)
@settings(max_examples=50, deadline=None)
def test_a_time_is_read_as_it_was_written(moment):
    for text in (moment.isoformat(), moment.isoformat(sep=" "), f" {moment.isoformat()} ", f"{moment.isoformat()}Z"):
        assert ask(moment_sql("x"), text) == moment


@given(TIMES, OFFSETS)
@settings(max_examples=50, deadline=None)
def test_a_time_with_a_zone_is_told_in_utc(moment, minutes):
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    assert ask(moment_sql("x"), moment.replace(tzinfo=zone).isoformat()) == moment - datetime.timedelta(minutes=minutes)


@given(st.text(max_size=20) | st.text(alphabet="0123456789-: TZ+.infaepoch", max_size=28))
@example("infinity")
@example("epoch")
@example("2020-02-30")
@example("2020-01-01 25:00")
@example("12020-01-01")
@example("2020-01-01 (BC)")
@settings(max_examples=80, deadline=None)
def test_any_text_is_a_time_a_distance_a_number_and_an_id_or_nothing(text):
    text = text.replace("\x00", "")
    moment = ask(moment_sql("x"), text)
    assert moment is None or isinstance(moment, datetime.datetime) or "BC" not in str(moment)
    units = ("HH:MM", "seconds", "minutes", "hours", "days")
    distances = ask(f"[{', '.join(distance_sql('x', unit) for unit in units)}]", text)
    assert all(distance is None or abs(distance) < 10**18 for distance in distances)
    number = ask(number_sql("x"), text)
    assert number is None or math.isfinite(number)
    assert isinstance(ask(id_sql("x", "integer"), text), int | None)


@given(st.integers(0, 9_999), st.integers(0, 59), st.integers(0, 59), st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_clock_passes_midnight_as_often_as_it_likes(hours, minutes, seconds, is_before):
    sign = -1 if is_before else 1
    text = f"{'-' if is_before else ''}{hours:02}:{minutes:02}"
    assert ask(distance_sql("x", "HH:MM"), text) == sign * (hours * 60 + minutes) * 60_000_000
    assert (
        ask(distance_sql("x", "HH:MM"), f"{text}:{seconds:02}")
        == sign * ((hours * 60 + minutes) * 60 + seconds) * 10**6
    )


@pytest.mark.parametrize("text", ["1:2", "10:60", "1:2:3:4", ":10", "10:", "ten", "1.5:00", "--1:00", "12345678:00"])
def test_what_is_no_clock_is_no_distance(text):
    assert ask(distance_sql("x", "HH:MM"), text) is None


@given(st.floats(-1e6, 1e6))
@settings(max_examples=50, deadline=None)
def test_a_distance_is_rounded_to_the_microsecond(hours):
    assert ask(distance_sql("x", "hours"), repr(hours)) == pytest.approx(hours * 3.6e9, abs=1)


@given(st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=50, deadline=None)
def test_a_whole_number_is_itself_and_a_text_id_is_positive_and_stable(number):
    assert ask(id_sql("x", "integer"), str(number)) == number
    assert ask(id_sql("x", "integer"), f" {number}.0 ") == number
    assert ask(id_sql("x", "integer"), f"{number}.5") is None
    digest = hashlib.sha256(str(number).encode()).digest()
    assert ask(id_sql("x", "text"), str(number)) == int.from_bytes(digest[:8], "big") % 2**63


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@settings(max_examples=50, deadline=None)
def test_a_number_is_the_float32_that_was_written(number):
    assert ask(number_sql("x"), repr(number)) == number


@pytest.mark.parametrize("text", ["1_000", "1,5", "0x1F", "<3", "1 2", "1e", "nan", "inf", "1e300", "", ".", "٣"])
def test_what_is_no_plain_number_is_none(text):
    assert ask(number_sql("x"), text) is None


def test_words_and_missing_cells_are_the_files_then_the_events(tmp_path):
    content = mapping(
        missing={"value": ["?", -1]},
        words={"value": {1: "one"}},
        events=[EVENT | {"words": {"value": {"one": "uno", "2": None}}}],
    )
    file = load(tmp_path, content).files[0]
    sql = cell_sql("x", "value", (file, file.events[0]))
    told = {text: ask(sql, text) for text in ("?", "-1", "-1.0", "1", "01.0", "2", "2.0", "three")}
    assert told == {
        "?": None,
        "-1": None,
        "-1.0": None,
        "1": "uno",
        "01.0": "uno",
        "2": None,
        "2.0": "2.0",
        "three": "three",
    }
