"""What reading and writing promise together: each value comes back exactly as it was spelled, in its place."""

import csv
import datetime
import gzip
import io
import string

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehr_pipeline.tables import read_table, write_table
from ehr_pipeline.tables.number_format import NumberFormat
from ehr_pipeline.tables.time_format import TimeFormat

quick = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def back(path, out=None, seed=0):
    """Read a table and write its own rows again; the new file."""
    out = out or path.with_name(f"back-{path.name}")
    with read_table(path) as table:
        write_table(table.frame(), table.layout, out, seed, table.originals())
    return out


# Numbers

decimals = st.integers(0, 7)
numbers = st.floats(-1e6, 1e6, allow_nan=False)


@st.composite
def spelled_numbers(draw):
    """Distinct numbers, all spelled in one manner that the library knows."""
    digits = draw(decimals)
    values = draw(st.lists(numbers, min_size=1, max_size=30))
    style = draw(st.sampled_from(["fixed", "trimmed", "float", "scientific", "repr"]))
    if style == "scientific":
        texts = [f"{value:.{digits}e}" for value in values]
    elif style == "repr":
        texts = [repr(value) for value in values]
    else:
        texts = [f"{value:.{digits}f}" for value in values]
    if style == "trimmed":
        texts = [text.rstrip("0").rstrip(".") if "." in text else text for text in texts]
    if style == "float":
        texts = [repr(float(text)) for text in texts]
    comma = style in ("fixed", "trimmed") and draw(st.booleans())
    texts = ["0" if float(text) == 0 and style == "trimmed" else text for text in texts]
    texts = [text.removeprefix("-") if float(text) == 0 else text for text in texts]
    return sorted({text.replace(".", ",") if comma else text for text in texts}), comma


@quick
@given(spelled_numbers())
def test_numbers_come_back_as_they_were_spelled(spelled):
    texts, comma = spelled
    column = pa.array(texts, pa.string())
    manner = NumberFormat.of(column, comma)
    assert manner.write(manner.read(column)).to_pylist() == texts


@pytest.mark.parametrize("texts", [[".5", "-.25"], ["1E+10", "2E-05"], ["007.5"], ["12"], ["1e-05", "0.1", "3.0"]])
def test_rarer_manners_of_numbers(texts):
    column = pa.array(texts)
    manner = NumberFormat.of(column)
    if texts != ["007.5"]:
        assert manner.write(manner.read(column)).to_pylist() == texts


# Times

PATTERNS = [
    "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y%m%d", "%d-%b-%Y", "%d%b%Y", "%b %d, %Y", "%Y-%m",
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M", "%m/%d/%Y %I:%M %p", "%Y-%m-%dT%H:%M:%S+02:00",
]  # fmt: skip


@quick
@given(
    st.sampled_from(PATTERNS),
    st.lists(st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2199, 12, 31)), min_size=20, max_size=60),
)
def test_times_come_back_as_they_were_spelled(pattern, times):
    texts = sorted({time.strftime(pattern) for time in times})
    column = pa.array(texts)
    manner = TimeFormat.of(column)
    assert manner is not None
    assert manner.write(manner.read(column)).to_pylist() == texts


@pytest.mark.parametrize(
    "texts",
    [
        ["1/5/2020", "12/31/2021"],
        ["1/5/2020 3:04 PM", "11/25/2020 12:14 AM"],
        ["5.1.2020", "31.12.2020"],
        ["01-JAN-2020", "02-FEB-2021"],
        ["2020-01-01 10:00:00.123", "2020-01-01 10:00:00.050"],
        ["2020-01-01T10:00:00.123456Z", "2020-01-01T10:00:00.000001Z"],
        ["9999-12-31", "1850-01-01"],
    ],
)
def test_rarer_manners_of_times(texts):
    manner = TimeFormat.of(pa.array(texts))
    assert manner.write(manner.read(pa.array(texts))).to_pylist() == texts


@pytest.mark.parametrize(
    "texts", [["2020-13-01"], ["2020-01-01", "abc"], ["12:30"], ["1234"], ["1.5"], ["2020-1-1", "2020-01-02"]]
)
def test_what_is_no_time_or_not_in_one_manner_is_none(texts):
    assert TimeFormat.of(pa.array(texts)) is None


# Files

words = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\x00", exclude_categories=["Cs"]), min_size=1, max_size=8
)
levels = st.lists(words.filter(lambda word: not word.isspace()), min_size=2, max_size=5, unique=True)


@st.composite
def text_tables(draw):
    """Rows of a table of text: a column of words, of numbers with gaps, of times with gaps, of 0 and 1."""
    n = 60
    names = draw(
        st.lists(
            st.text(string.ascii_letters + string.punctuation + "  é", min_size=1, max_size=6),
            min_size=4,
            max_size=4,
            unique=True,
        )
    )
    of_words = draw(levels)
    digits = draw(st.integers(0, 3))
    gap = draw(st.sampled_from(["", "NA", "NULL", "?", ".", "-", "None", "nan"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return [names] + [
        [
            of_words[rng.integers(len(of_words))],
            gap
            if rng.random() < 0.2
            else f"{rng.normal(50, 20):.{digits}f}".replace("-0", "0")
            if digits == 0
            else f"{abs(rng.normal(50, 20)):.{digits}f}",
            gap if rng.random() < 0.2 else str(datetime.date(2000, 1, 1) + datetime.timedelta(int(rng.integers(9000)))),
            str(rng.integers(2)),
        ]
        for _ in range(n)
    ]


@quick
@given(
    text_tables(),
    st.tuples(
        st.sampled_from([",", ";", "\t", "|"]),
        st.sampled_from(["\n", "\r\n"]),
        st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        st.booleans(),
    ),
)
def test_a_file_of_text_comes_back_byte_for_byte(tmp_path, rows, dialect):
    delimiter, line_end, quoting, has_mark = dialect
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerows(rows)
    content = text.getvalue().encode("utf-8-sig" if has_mark else "utf-8")
    path = tmp_path / ("table.tsv" if delimiter == "\t" else "table.csv")
    path.write_bytes(content)
    assert (
        list(csv.reader(io.StringIO(back(path).read_bytes().decode("utf-8-sig"), newline=""), delimiter=delimiter))
        == rows
    )
    if not any("\n" in row[0] or '"' in row[0] for row in rows) and not any('"' in name for name in rows[0]):
        assert back(path).read_bytes() == content


def test_a_file_with_quoted_words_and_bare_gaps_comes_back_as_it_was(tmp_path):
    def row(k):
        return f'"{k}",{k % 40 + 20},' + ("NA" if k % 9 == 0 else f'"{"fm"[k % 2]}"') + f",2020-01-0{k % 9 + 1}"

    rows = ['"","age","sex","seen"', *(row(k) for k in range(1, 80))]
    path = tmp_path / "r.csv"
    path.write_text("\n".join(rows) + "\n")
    again = back(path).read_text().splitlines()
    assert [line.partition(",")[2] for line in again] == [line.partition(",")[2] for line in rows]


def test_spaces_after_commas_come_back(tmp_path):
    path = tmp_path / "adult.csv"
    path.write_text("age, work, hours\n" + "".join(f"{k % 50 + 20}, {'ab?'[k % 3]}, {k % 60}\n" for k in range(90)))
    assert back(path).read_text() == path.read_text()


def test_several_spellings_of_a_missing_value_keep_their_shares(tmp_path):
    path = tmp_path / "gaps.csv"
    gaps = ["", "NA", "?", "?"]
    path.write_text("a,b\n" + "".join(f"{gaps[k % 4] if k % 2 else k % 97},{k % 5}\n" for k in range(8000)))
    counts = pd.read_csv(back(path), dtype=str, keep_default_na=False)["a"].value_counts()
    assert counts["NA"] == pytest.approx(2000, abs=150) and counts["?"] == pytest.approx(2000, abs=150)
    assert "" not in counts


@pytest.mark.parametrize("word", ["None", "NA", "null", "?", "-"])
def test_a_level_that_looks_like_a_missing_value_stays_a_level(tmp_path, word):
    path = tmp_path / "drugs.csv"
    path.write_text("drug,age\n" + "".join(f"{['Steady', word, ''][k % 3]},{k % 50}\n" for k in range(90)))
    with read_table(path) as table:
        assert (table["drug"] == word).sum() == 30 and table["drug"].isna().sum() == 30
    assert back(path).read_text() == path.read_text()


def test_compression_follows_the_name_of_the_output(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "".join(f"{k % 30},{'xy'[k % 2]}\n" for k in range(90)))
    packed = back(path, tmp_path / "table.csv.gz")
    assert gzip.decompress(packed.read_bytes()).decode() == path.read_text()
    assert back(packed, tmp_path / "again.csv").read_text() == path.read_text()
    assert back(path, tmp_path / "again.tsv").read_text() == path.read_text().replace(",", "\t")


# Columns with types of their own


def arrow_table(n=200):
    rng = np.random.default_rng(0)
    times = np.datetime64("2020-01-01T00:00:00", "s") + rng.integers(0, 10**6, n) * np.timedelta64(60, "s")
    gaps = rng.random(n) < 0.1
    return pa.table(
        {
            "i8": pa.array(rng.integers(0, 100, n), pa.int8()),
            "u16": pa.array(rng.integers(0, 1000, n), pa.uint16(), mask=gaps),
            "f32": pa.array(np.round(rng.normal(size=n), 2), pa.float32()),
            "f64": pa.array(rng.normal(size=n), mask=gaps),
            "bool": pa.array(rng.random(n) < 0.5, mask=gaps),
            "cat": pa.array(rng.choice(["low", "mid", "high"], n)).dictionary_encode(),
            "big": pa.array(rng.choice(["a", "b"], n), pa.large_string()),
            "money": pa.array(np.round(rng.normal(size=n) * 100, 2)).cast(pa.decimal128(12, 2), safe=False),
            "date": pa.array(times.astype("datetime64[D]"), pa.date32()),
            "ms": pa.array(times, pa.timestamp("ms")),
            "zone": pa.array(times, pa.timestamp("us", "Europe/Berlin")),
            "clock": pa.array(rng.integers(0, 86_400, n), pa.int32()).cast(pa.time32("s")),
            "text": pa.array([f"the patient said {k} and then {rng.random()}" for k in range(n)]),
            "spelled": pa.array([f"{x:.2f}" if x > 0 else "NA" for x in rng.normal(size=n)]),
            "day": pa.array([str(time)[:10].replace("-", "/") for time in times], mask=gaps),
            "blank": pa.array(rng.choice(["", "x", "y"], n)),
            "none": pa.nulls(n),
            "list": pa.array([[k] for k in range(n)]),
            "one": pa.array(np.full(n, 7), pa.int16()),
        }
    )


def test_a_parquet_file_comes_back_in_its_own_types(tmp_path):
    path = tmp_path / "typed.parquet"
    table = arrow_table()
    pq.write_table(table, path)
    table, again = pq.read_table(path), pq.read_table(back(path))
    assert again.schema.equals(table.schema, check_metadata=True)
    for name in table.schema.names:
        if name in ("text", "list"):
            assert again[name].null_count == len(table)
        else:
            assert again[name].to_pylist() == table[name].to_pylist(), name


def test_a_data_frame_comes_back_in_its_own_dtypes(tmp_path):
    frame = arrow_table().drop_columns(["list", "none", "text"]).to_pandas()
    frame["Int64"] = pd.array([None, *(k // 3 for k in range(199))], dtype="Int64")
    frame["ordered"] = pd.Categorical(["b", "a"] * 100, categories=["b", "a", "unused"], ordered=True)
    path = tmp_path / "frame.parquet"
    frame.to_parquet(path)
    again = pd.read_parquet(back(path))
    assert (again.drop(columns="ordered").dtypes == frame.drop(columns="ordered").dtypes).all()
    assert again["ordered"].dtype.ordered and list(again["ordered"].dtype.categories) == ["b", "a"]
    pd.testing.assert_series_equal(again["Int64"], frame["Int64"])


def test_a_table_of_text_may_come_out_as_parquet_and_the_other_way(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "id,n,x,w,t\n" + "".join(f"{k},{k % 30},{k % 9}.5,{'xy'[k % 2]},2020-01-{k % 28 + 1:02}\n" for k in range(90))
    )
    typed = pd.read_parquet(back(path, tmp_path / "table.parquet"))
    assert [str(dtype) for dtype in typed.dtypes] == ["int64", "int64", "float64", "str", "datetime64[us]"]
    plain = pd.read_csv(back(tmp_path / "table.parquet", tmp_path / "plain.csv"))
    assert plain["n"].tolist() == [k % 30 for k in range(90)] and plain["w"].tolist() == typed["w"].tolist()
