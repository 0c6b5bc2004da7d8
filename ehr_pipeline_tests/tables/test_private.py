"""What a private run of any table promises: nothing is known of its rows but what the budget measured."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import ehr_pipeline as ehr
from ehr_pipeline.errors import BudgetExceeded, DefinitionError, OptionError
from ehr_pipeline.generators.independent import Independent
from ehr_pipeline.privacy.account import Account
from ehr_pipeline.storage import DataFolder
from ehr_pipeline.tables import read_table
from ehr_pipeline.tables.public_layout import public_values
from ehr_pipeline.tables.synthesize import Request, synthesize
from ehr_pipeline.tables.table import table_of

SAID = {
    "patient_id": {"kind": "id"},
    "age": {"kind": "integer", "minimum": 18, "maximum": 95, "missing": False},
    "weight": {"kind": "continuous", "minimum": 30, "maximum": 200, "decimals": 1},
    "sex": {"kind": "binary", "levels": [0, 1], "missing": False},
    "smoker": {"kind": "binary", "levels": ["no", "yes"]},
    "race": {"kind": "categorical", "levels": ["A", "B", "C"]},
    "ill": {"kind": "binary"},
    "note": {"kind": "text"},
}


def patients(n=600, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "patient_id": rng.permutation(np.arange(70_000, 70_000 + n)),
            "age": rng.integers(18, 95, n),
            "weight": np.where(rng.random(n) < 0.2, np.nan, rng.normal(75, 12, n).round(1)),
            "sex": rng.choice(["F", "M"], n, p=[0.7, 0.3]),
            "smoker": rng.choice(["No", "Yes"], n),
            "race": rng.choice(["A", "B"], n),
            "ill": rng.integers(0, 2, n),
            "note": [f"seen by doctor {k}" for k in range(n)],
        }
    )


def others():
    """Quite other patients in a table of the same columns and types: constants, gaps, other words, other lengths."""
    return pd.DataFrame(
        {
            "patient_id": [1, 1, 1],
            "age": [40, 40, 40],
            "weight": [1e9, 70.123, 70.0],
            "sex": ["M", "M", "?"],
            "smoker": ["Y", "perhaps", "0"],
            "race": ["Z", "Z", "Z"],
            "ill": [7, 7, 7],
            "note": ["", "x", "y"],
        }
    )


@pytest.fixture
def schema(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump({"columns": SAID}))
    return path


@pytest.fixture
def account(tmp_path):
    return Account(data=DataFolder(tmp_path / "data"), why="a test")


def write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_the_layout_is_the_same_whoever_the_patients_are(tmp_path, schema, suffix):
    layouts = []
    for frame in (patients(), others(), patients(30, seed=9)):
        with read_table(write(frame, tmp_path / f"t{suffix}"), schema, is_private=True) as table:
            layouts.append(table.layout.model_dump_json())
    assert layouts[0] == layouts[1] == layouts[2]


def test_a_data_frames_notes_of_rows_and_categories_are_not_kept(schema):
    frame = patients(500).astype({"race": "category", "ill": "boolean"})
    frame.attrs["source"] = "SECRET"
    more = pd.concat([frame] * 3, ignore_index=True).assign(race=lambda rows: rows["race"].cat.add_categories("SECRET"))
    layouts = []
    for one in (frame, more):
        with table_of(one, schema, is_private=True) as table:
            layouts.append(table.layout)
            kept = str(table.layout.arrow.metadata) + str(table.layout.arrow)
            assert not any(word in kept for word in ("SECRET", "num_categories", "'stop'", '"stop"'))
    assert layouts[0] == layouts[1]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_private_table_reads_as_the_real_one_and_has_as_many_rows_as_were_counted(tmp_path, schema, suffix, account):
    frame, said = patients(3000), []
    path, out = write(frame, tmp_path / f"t{suffix}"), tmp_path / f"o{suffix}"
    request = Request(
        table=path, out=out, generator="independent", schema=schema, epsilon=4.0, delta=1e-5, account=account
    )
    made = synthesize(request, say=said.append)
    read = pd.read_csv if suffix == ".csv" else pd.read_parquet
    real, drawn = read(path), read(out)
    assert list(drawn.columns) == list(real.columns)
    (row,) = account.ledger.entries()
    assert (row.epsilon, row.delta, row.source) == (4.0, 1e-5, path.name) and len(row.data_fingerprint) == 64
    noise = row.mechanisms["mechanisms"][0]["noise_multiplier"]
    assert made.n_rows == len(drawn) and abs(len(drawn) - 3000) < 6 * noise * math.sqrt(700)  # 700 cells at most
    assert set(drawn["sex"]) == {"F", "M"} and (drawn["sex"] == "F").mean() == pytest.approx(0.7, abs=0.08)
    assert set(drawn["smoker"].dropna()) <= {"no", "yes"}
    assert set(drawn["race"].dropna()) <= {"A", "B", "C"}
    assert drawn["age"].between(18, 95).all() and drawn["age"].notna().all()
    assert drawn["weight"].isna().mean() == pytest.approx(0.2, abs=0.08)
    assert drawn["note"].isna().all() and drawn["patient_id"].is_unique
    assert said[0].startswith("privacy: epsilon") and any("one patient is one patient_id" in line for line in said)
    assert read_again(made.schema)["sex"]["levels"] == ["F", "M"]


def read_again(path):
    return yaml.safe_load(path.read_text())["columns"]


def test_columns_that_the_schema_does_not_name_are_listed_in_one_line(tmp_path, schema):
    path = write(patients().assign(zip=1, city="X"), tmp_path / "t.csv")
    with pytest.raises(DefinitionError, match="does not name zip, city;") as refused:
        read_table(path, schema, is_private=True)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("column", "entry", "says"),
    [
        ("weight", {"kind": "continuous", "minimum": 0}, "weight: .* minimum and maximum"),
        ("age", {"kind": "integer"}, "age: .* minimum and maximum"),
        ("race", {"kind": "categorical"}, "race: .* levels"),
        ("note", {"kind": "time"}, "note holds times"),
        ("ill", {"kind": "id"}, "identifiers patient_id, ill|patient"),
    ],
)
def test_what_the_schema_does_not_say_is_asked_for_and_not_looked_up(tmp_path, column, entry, says, account):
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump({"columns": SAID | {column: entry}}))
    table = write(patients().rename(columns={"patient_id": "patient_id"}), tmp_path / "t.parquet")
    request = Request(table=table, out=tmp_path / "o.csv", generator="independent", schema=path, epsilon=1.0,
                      account=account)  # fmt: skip
    if column == "ill":  # a second identifier: the one named for patients is theirs
        with read_table(table, path, is_private=True) as opened:
            assert len(np.unique(opened.subject_id)) == 600
        return
    with pytest.raises(DefinitionError, match=says):
        synthesize(request)
    assert not account.ledger.exists


def test_of_several_identifiers_none_named_for_a_patient_is_taken_for_one(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text("columns: {visit_id: {kind: id}, key: {kind: id}, ill: {kind: binary}}")
    table = write(pd.DataFrame({"visit_id": [1, 2], "key": [1, 1], "ill": [0, 1]}), tmp_path / "t.csv")
    with pytest.raises(DefinitionError, match="visit_id, key"):
        read_table(table, path, is_private=True)


def test_a_type_that_cannot_be_the_kind_is_refused(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text("columns: {a: {kind: continuous, minimum: 0, maximum: 9}, b: {kind: binary}}")
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [[1, 2], [3]], "b": [0, 1]}), table)
    with pytest.raises(DefinitionError, match="column a is list"):
        read_table(table, path, is_private=True)


def test_no_schema_no_private_run(tmp_path):
    table = write(patients(), tmp_path / "t.csv")
    with pytest.raises(OptionError, match="--schema"):
        synthesize(Request(table=table, out=tmp_path / "o.csv", epsilon=1.0))


def test_conditions_are_checked_against_the_schema_and_no_patient(tmp_path, schema, account):
    path = write(patients(), tmp_path / "t.csv")
    request = {"table": path, "out": tmp_path / "o.csv", "generator": "independent", "schema": schema, "epsilon": 1.0}
    for name, value in (("race", "Z"), ("age", "17"), ("age", ""), ("ill", "2"), ("note", "x"), ("nothere", "1")):
        with pytest.raises(OptionError, match=name):
            synthesize(Request(**request, account=account, conditions={name: value}))
    assert not account.ledger.exists
    synthesize(Request(**request, account=account, rows=40, conditions={"sex": "M", "smoker": "Yes", "age": "44"}))
    drawn = pd.read_csv(tmp_path / "o.csv")
    assert (drawn["sex"] == "M").all() and (drawn["smoker"] == "yes").all() and (drawn["age"] == 44).all()


def test_what_is_refused_by_the_cap_is_refused_before_the_table_is_read(tmp_path, schema, account, monkeypatch):
    account.data.root.mkdir()
    account.data.policy.write_text("epsilon_cap: 0.5\n")
    monkeypatch.setattr("ehr_pipeline.tables.synthesize.read_table", lambda *_, **__: pytest.fail("it was read"))
    table = write(patients(), tmp_path / "t.csv")
    with pytest.raises(BudgetExceeded):
        synthesize(Request(table=table, out=tmp_path / "o.csv", schema=schema, epsilon=1.0, account=account))
    assert not (tmp_path / "o.csv").exists()


def test_a_fit_that_dies_has_spent_and_leaves_no_file(tmp_path, schema, account, monkeypatch):
    monkeypatch.setattr(Independent, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    table = write(patients(), tmp_path / "t.csv")
    with pytest.raises(KeyboardInterrupt):
        synthesize(Request(table=table, out=tmp_path / "o.csv", generator="independent", schema=schema, epsilon=1.0,
                           account=account))  # fmt: skip
    assert account.ledger.totals()[0].epsilon == 1.0 and not (tmp_path / "o.csv").exists()


def test_a_file_without_a_budget_is_internal_where_there_is_a_ledger(tmp_path, account):
    table = write(patients(), tmp_path / "t.csv")
    synthesize(Request(table=table, out=tmp_path / "o.csv", generator="independent", account=account))
    assert [row.kind for row in account.ledger.entries()] == ["internal"]


def test_three_lines_of_python_keep_to_a_budget_too(tmp_path, schema, monkeypatch):
    monkeypatch.setenv("EHR_PIPELINE_DATA", str(tmp_path / "data"))
    model = ehr.fit(patients(), "independent", schema, epsilon=2.0, universe="mine")
    drawn = model.sample()
    assert len(drawn) == model.n_rows and model.originals is None and set(drawn["sex"]) == {"F", "M"}
    (row,) = Account(data=DataFolder(tmp_path / "data"), why="").ledger.entries()
    assert (row.universe, row.epsilon, row.delta, row.id) == ("mine", 2.0, 1e-6, model.ledger_entry)
    model.save(tmp_path / "model")
    loaded = ehr.Model.load(tmp_path / "model")
    assert loaded.ledger_entry == row.id and loaded.generator.privacy.record() == row.mechanisms
    for budget in ({"epsilon": 0}, {"epsilon": math.nan}, {"delta": 1e-6}, {"epsilon": 1, "delta": 1}):
        with pytest.raises(OptionError):
            ehr.fit(patients(), "independent", schema, **budget)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_how_few_patients_there_are_is_not_told_by_a_refusal(tmp_path, schema, account, n):
    for suffix in (".csv", ".parquet") if n else (".parquet",):
        out = tmp_path / f"o{n}{suffix}"
        table = write(patients(600).head(n), tmp_path / f"t{suffix}")
        synthesize(Request(table=table, out=out, generator="independent", schema=schema, epsilon=0.5, account=account))
        assert out.exists()


CELLS = st.text(max_size=12) | st.sampled_from(["1e999", "-1e308", "nan", "007", "1,5", "1.5", " 3 ", "F", "yes", "\0"])


@settings(max_examples=150, deadline=None)
@given(cells=st.lists(CELLS | st.none(), min_size=1, max_size=8), column=st.sampled_from(list(SAID)[1:7]))
def test_any_cell_is_read_by_itself_and_within_the_schema(cells, column):
    """Whatever stands in a file, each value is what it would be alone, and no value is outside the schema."""
    schema = _schema(column)
    frame = pd.DataFrame({column: pd.Series(cells, dtype="str"), "x": "a"})
    with table_of(frame, schema, is_private=True) as table:
        together, layout = table[column], table.layout[column]
    alone = [public_values(layout, pa.array([cell], pa.string())).iloc[0] for cell in cells]
    pd.testing.assert_series_equal(together, pd.Series(alone, dtype=together.dtype, name=column))
    _within(together.dropna(), layout.column)


@settings(max_examples=100, deadline=None)
@given(
    numbers=st.lists(st.floats() | st.integers(-(2**40), 2**40) | st.none(), min_size=1, max_size=8),
    column=st.sampled_from(["age", "weight", "ill"]),
)
def test_any_number_is_read_within_the_schema(numbers, column):
    frame = pd.DataFrame({column: pd.Series(numbers, dtype="float64"), "x": "a"})
    with table_of(frame, _schema(column), is_private=True) as table:
        _within(table[column].dropna(), table.layout[column].column)


def _schema(column):
    from ehr_pipeline.record import Schema
    from ehr_pipeline.tables.schema_file import _column

    return Schema(columns=(_column("s", column, SAID[column]), _column("s", "x", {"kind": "text"})))


def _within(values, column):
    if column.kind == "categorical":
        assert set(values) <= set(column.levels)
    elif column.kind == "binary":
        assert set(values) <= {0, 1}
    else:
        assert values.between(column.minimum, column.maximum).all()
        decimals = column.decimals or 0
        assert np.allclose(values.astype(float), values.astype(float).round(decimals))
