"""What a column of two words promises once a schema says it is binary: 0 and 1 to learn from, its own words written."""

import pandas as pd
import pytest

from ehr_pipeline.errors import SourceError
from ehr_pipeline.tables import read_table, write_table
from ehr_pipeline.tables.binary_words import PAIRS, binary_value, public_spelling, words_of_levels
from ehr_pipeline.tables.schema_file import read_schema_file, write_schema_file
from ehr_pipeline.tables.synthesize import Request, synthesize


def table_of_words(tmp_path, words, suffix=".csv", levels="", kind="category"):
    path, schema = tmp_path / f"t{suffix}", tmp_path / "s.yaml"
    frame = pd.DataFrame({"word": words, "n": range(len(words))})
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.astype({"word": kind}).to_parquet(path)
    schema.write_text(f"columns: {{word: {{kind: binary{levels}}}}}")
    return read_table(path, schema)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["F", "M", "M", None], [0, 1, 1, None]),
        (["female", "male", "male", "female"], [0, 1, 1, 0]),
        (["Yes", "No", "Yes", "No"], [1, 0, 1, 0]),
        (["Y", "N", "N", "Y"], [1, 0, 0, 1]),
        (["TRUE", "FALSE", "NA", "TRUE"], [1, 0, None, 1]),
        (["Negative", "Positive", None, "Negative"], [0, 1, None, 0]),
        (["0", "1", "1", "0"], [0, 1, 1, 0]),
    ],
)
def test_the_usual_words_are_read_and_written_again(tmp_path, words, values, suffix):
    with table_of_words(tmp_path, words * 5, suffix) as table:
        assert [None if pd.isna(one) else int(one) for one in table["word"]] == values * 5
        assert table.layout["word"].treatment == "learned"
        out = tmp_path / f"o{suffix}"
        write_table(table.frame(), table.layout, out, 0)
    read = (lambda path: pd.read_csv(path, dtype=str)) if suffix == ".csv" else pd.read_parquet
    pd.testing.assert_frame_equal(read(out), read(tmp_path / f"t{suffix}"))


def test_words_of_ones_own_are_the_levels_of_the_schema(tmp_path):
    with table_of_words(tmp_path, ["dead", "alive", "dead"], levels=", levels: [alive, dead]") as table:
        assert table["word"].tolist() == [1, 0, 1]
    with pytest.raises(SourceError, match="neither yes nor no") as refused, table_of_words(tmp_path, ["SECRET", "no"]):
        pass
    assert "SECRET" not in str(refused.value)


def test_the_word_that_most_rows_have_is_written_and_its_partner_where_it_never_occurs(tmp_path):
    with table_of_words(tmp_path, ["Yes", "Yes", "yes", "NO", "no", "no"]) as table:
        assert table.layout["word"].spelled == ("no", "Yes")
    with table_of_words(tmp_path, ["FEMALE", None, "FEMALE"]) as table:
        assert table.layout["word"].spelled == ("FEMALE", "MALE")


def test_levels_in_another_order_do_not_turn_known_words_round():
    assert words_of_levels(("M", "F")) == ("F", "M")
    assert words_of_levels(("0", "1")) is None and words_of_levels(None) is None
    assert binary_value("f", ("F", "M")) == 0 and binary_value("what", ("F", "M")) is None
    assert binary_value("no", ("alive", "dead")) is None


def test_no_word_stands_for_both():
    zeros, ones = ({pair[value] for pair in PAIRS} for value in (0, 1))
    assert not zeros & ones


def test_what_a_private_run_writes_is_known_without_a_look():
    assert public_spelling("sex", ("0", "1")) == public_spelling("patientGender", None) == ("F", "M")
    assert public_spelling("smoker", ("0", "1")) == ("0", "1")
    assert public_spelling("smoker", ("no", "yes")) == ("no", "yes")


def test_the_schema_file_keeps_the_words(tmp_path):
    with table_of_words(tmp_path, ["F", "M"] * 20) as table:
        write_schema_file(tmp_path / "again.yaml", table.layout)
    assert read_schema_file(tmp_path / "again.yaml")[0].levels == ("F", "M")


def test_a_binary_column_of_words_is_learned_and_drawn(tmp_path):
    frame = pd.DataFrame({"sex": ["F", "M", "F", "F"] * 50, "age": [30, 40, 50, 60] * 50})
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "s.yaml").write_text("columns: {sex: {kind: binary, levels: [0, 1], missing: false}}")
    request = Request(
        table=tmp_path / "t.parquet",
        out=tmp_path / "o.parquet",
        generator="independent",
        schema=tmp_path / "s.yaml",
        conditions={"sex": "M"},
    )
    synthesize(request)
    assert (pd.read_parquet(tmp_path / "o.parquet")["sex"] == "M").all()
