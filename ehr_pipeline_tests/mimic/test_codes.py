"""Code templates: rendering and parsing undo each other, in Python and in SQL."""

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ehr_pipeline.mimic.codes import Template, escape, escape_sql, unescape, unescape_sql

# Mostly the characters that codes are made of, so that collisions are found.
VALUES = st.none() | st.text(alphabet="/\\UNKbs %a", max_size=8) | st.text(max_size=12)
NO_NUL = VALUES.filter(lambda value: value is None or "\x00" not in value)


@given(st.lists(VALUES, min_size=3, max_size=3))
@example(["UNK", None, "\\UNK"])
@example(["mg/", "/mg", "a//b"])
@example(["", "/", "///"])
@example(["\\s", "\\b", "\\"])
def test_what_is_rendered_is_parsed_back(values):
    template = Template.read("LAB//{a}//ICD//{b}//{c}")
    row = dict(zip("abc", values, strict=True))
    assert template.parse(template.render(row)) == row


@given(VALUES, VALUES)
def test_two_values_never_share_a_code(one, other):
    assert (escape(one) == escape(other)) == (one == other)


def test_python_and_sql_agree():
    con = duckdb.connect()
    template = Template.read("LAB//{a}//ICD//{b}")
    sql = f"""SELECT {escape_sql("a")}, {template.render_sql({"a": "a", "b": "b"})}, {unescape_sql(escape_sql("a"))},
        {template.part_sql("a", "code")}, {template.part_sql("b", "code")}, {template.match_sql("code")}
        FROM (SELECT ?::VARCHAR AS a, ?::VARCHAR AS b, ?::VARCHAR AS code)"""

    @given(NO_NUL, NO_NUL)
    @example("UNK", "a//b/")
    def agree(a, b):
        code = template.render({"a": a, "b": b})
        assert con.execute(sql, [a, b, code]).fetchone() == (escape(a), code, a, a, b, True)

    agree()


@pytest.mark.parametrize(
    "value", ["mg/dL", "Metoprolol", "insp/min", "%", "Sodium Chloride 0.9%  Flush", "°F", "PO/NG"]
)
def test_usual_values_stand_in_codes_as_they_are(value):
    assert escape(value) == unescape(value) == value


def test_a_code_of_another_template_is_not_parsed():
    drug = Template.read("PROCEDURE//ICD//{icd_version}//{icd_code}")
    assert drug.parse("PROCEDURE//225792//min") is None
    assert drug.parse("PROCEDURE//NEW//9//0040") is None
    assert Template.read("TRIAGE//acuity").parse("TRIAGE//acuity") == {}
