"""What the tables of a bundle promise: formulas stay text, numbers stay numbers, and all three hold the same rows."""

import csv
import string

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.release.csv_safe import FORMULA_STARTS, neutral, write_csv
from ehr_pipeline.release.database import write_database

CELLS = st.text(st.sampled_from(string.printable + "é中😀'\"＝＋－＠\u202e"), max_size=12)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.one_of(st.none(), CELLS), st.floats(-1e6, 1e6)), min_size=1, max_size=6),
    st.text(st.characters(min_codepoint=33, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
)
def test_no_text_cell_or_name_begins_a_formula_and_no_number_is_touched(tmp_path_factory, cells, name):
    folder = tmp_path_factory.mktemp("csv")
    frame = pd.DataFrame({"text" + name: [c for c, _ in cells], name: [n for _, n in cells]})
    frame["text" + name] = frame["text" + name].astype("str")
    frame.to_parquet(folder / "t.parquet")
    n = write_csv(folder / "t.parquet", folder / "t.csv")
    head, *rows = rows_of(folder / "t.csv")
    assert head == ["text" + name, neutral(name)]
    assert [float(row[1]) for row in rows] == frame[name].tolist()
    written = [row[0] for row in rows]
    assert not any(cell.startswith(FORMULA_STARTS) for cell in [*written, *head])
    assert written == ["" if cell is None else neutral(cell) for cell, _ in cells]
    assert n == sum(cell is not None and neutral(cell) != cell for cell, _ in cells) + (neutral(name) != name)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\0"])
def test_each_sign_that_begins_a_formula_is_neutralised(start):
    assert neutral(f"{start}cmd|' /C calc'!A0").startswith("'")


FRAME = pd.DataFrame(
    {
        "-1": np.array([-1.5, np.nan, 3.0]),
        "-1'; DROP TABLE patients; --": pd.array(["=1", None, "ok"], dtype="str"),
        'a"b': pd.array([1, None, 0], dtype="Int8"),
        "when": pd.to_datetime(["2020-01-01", None, "2021-02-03"]),
    }
)


@pytest.mark.parametrize("folder_name", ["plain", 'it\'s; a "folder" --'])
def test_a_database_holds_the_same_rows_whatever_its_columns_and_folder_are_called(tmp_path, folder_name):
    folder = tmp_path / folder_name
    folder.mkdir()
    FRAME.to_parquet(folder / "t.parquet")
    write_database(folder / "t.parquet", folder / "t.duckdb")
    with duckdb.connect(str(folder / "t.duckdb"), read_only=True) as connection:
        assert connection.sql("SHOW TABLES").fetchall() == [("patients",)]
        table = connection.sql("SELECT * FROM patients")
        assert table.columns == list(FRAME.columns)
        assert table.fetchall()[0][:2] == (-1.5, "=1")
        assert connection.sql("SELECT count(*) FROM patients").fetchall() == [(3,)]
    assert sorted(path.name for path in folder.iterdir()) == ["t.duckdb", "t.parquet"]


def test_a_table_larger_than_a_batch_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("ehr_pipeline.release.csv_safe.BATCH_ROWS", 7)
    pd.DataFrame({"n": range(50), "t": ["+x"] * 50}).to_parquet(tmp_path / "t.parquet")
    assert write_csv(tmp_path / "t.parquet", tmp_path / "t.csv") == 50
    head, *rows = rows_of(tmp_path / "t.csv")
    assert head == ["n", "t"] and [int(row[0]) for row in rows] == list(range(50))


def test_two_names_that_become_one_keep_their_columns(tmp_path):
    pd.DataFrame({"=a": [1], "'=a": [2]}).to_parquet(tmp_path / "t.parquet")
    write_csv(tmp_path / "t.parquet", tmp_path / "t.csv")
    assert rows_of(tmp_path / "t.csv") == [["'=a", "'=a"], ["1", "2"]]
