"""What the schema file promises: read strictly, written for editing, and nothing in it that is a patient's."""

import re

import numpy as np
import pytest
import yaml

from ehr_pipeline.errors import DefinitionError, SourceError
from ehr_pipeline.tables import read_table, write_table
from ehr_pipeline.tables.schema_file import read_schema_file, schema_path, write_schema_file


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    rows = [f"{k},{'<5' if k % 20 == 0 else k % 31}.5,{'ABC'[k % 3]},{k % 2}" for k in range(200)]
    path.write_text("a,b,c,d\n" + "\n".join(rows).replace("<5.5", "<5") + "\n")
    return path


def said(tmp_path, text):
    path = tmp_path / "said.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "line"),
        ("columns: []", "columns"),
        ("cols: {}", "columns"),
        ("columns: {a: integer}", "column a"),
        ("columns: {a: {kind: whole}}", "column a, kind"),
        ("columns: {a: {kind: integer, unti: mg}}", "column a, unti"),
        ("columns: {a: {unit: mg}}", "column a, kind"),
        ("columns: {a: {kind: continuous, minimum: 5, maximum: 1}}", "minimum is above maximum"),
        ("columns: {a: {kind: continuous, decimals: 99}}", "decimals"),
        ("columns: {a: {kind: categorical, levels: [x, x]}}", "distinct"),
        ("columns: {z: {kind: integer}}", "'z'"),
        ("columns: {b: {kind: time}}", "column b"),
        ("columns: {c: {kind: integer}, b: {kind: continuous}}", "column c holds no numbers"),
        ("columns: {a: {kind: binary}, b: {kind: continuous}}", "column a is not only 0 and 1"),
        ("columns: {b: {kind: integer}}", "not only whole numbers"),
    ],
)
def test_a_schema_file_is_read_strictly(table, tmp_path, text, says):
    with pytest.raises((DefinitionError, SourceError), match=re.escape(says)) as refused:
        read_table(table, said(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_numbers_among_words_become_numbers_and_the_words_are_missing(table, tmp_path):
    with pytest.raises(SourceError, match="column b mixes numbers with words"):
        read_table(table)
    with read_table(table, said(tmp_path, "columns: {b: {kind: continuous, unit: mg, minimum: 0}}")) as read:
        assert read["b"].isna().sum() == 10 and read.schema["b"].unit == "mg" and read.schema["b"].decimals == 1
        write_table(read.frame(), read.layout, tmp_path / "out.csv", 0)
    assert "<5" not in (tmp_path / "out.csv").read_text()


def test_numbers_may_be_declared_categories_text_or_identifiers(table, tmp_path):
    text = "columns: {a: {kind: text}, b: {kind: categorical}, c: {kind: text}, d: {kind: categorical, role: outcome}}"
    with read_table(table, said(tmp_path, text)) as read:
        assert read.layout.learned.names == ["b", "d"] and read.schema["d"].role == "outcome"
        assert (read["b"] == "<5").sum() == 10
    with read_table(table, said(tmp_path, "columns: {b: {kind: categorical}, a: {kind: id}}")) as read:
        assert read.layout["a"].treatment == "identifier"


def test_what_is_written_is_read_again_and_holds_no_value_of_the_table(table, tmp_path):
    with read_table(table, said(tmp_path, "columns: {b: {kind: continuous, unit: mg, role: sensitive}}")) as read:
        path = write_schema_file(tmp_path / "table.schema.yaml", read.layout)
        again = read_table(table, path)
        assert again.schema == read.schema
        again.close()
    entries = yaml.safe_load(path.read_text())["columns"]
    assert list(entries) == ["a", "b", "c", "d"]
    assert entries["b"] == {"kind": "continuous", "unit": "mg", "decimals": 1, "role": "sensitive"}
    assert not any({"levels", "minimum", "maximum"} & set(entry) for entry in entries.values())
    assert path.stat().st_mode & 0o077 == 0


def test_levels_may_be_numbers_in_yaml(tmp_path):
    columns = read_schema_file(said(tmp_path, "columns: {a: {kind: categorical, levels: [1, 2, x]}}"))
    assert columns[0].levels == ("1", "2", "x")


@pytest.mark.parametrize(
    ("out", "schema"),
    [("a.csv", "a.schema.yaml"), ("b.csv.gz", "b.schema.yaml"), ("c.d.parquet", "c.d.schema.yaml")],
)
def test_the_schema_lies_beside_the_output_under_its_name(tmp_path, out, schema):
    assert schema_path(tmp_path / out) == tmp_path / schema


def test_a_declared_column_may_be_empty_or_constant(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b,c\n" + "".join(f"{k % 30},,5\n" for k in range(60)))
    with read_table(path, said(tmp_path, "columns: {b: {kind: integer}, c: {kind: integer}}")) as table:
        assert str(table["b"].dtype) == str(table["c"].dtype) == "Int64"
        assert table["b"].isna().all() and np.all(table["c"] == 5)
        assert table.layout.learned.names == ["a"]
        write_table(table.frame(["a"]), table.layout, tmp_path / "out.csv", 0)
    assert (tmp_path / "out.csv").read_text() == path.read_text()
