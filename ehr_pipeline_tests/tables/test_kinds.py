"""What `read_table` promises without a schema: each column is what a careful reader would take it for."""

import datetime
import os
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import SourceError
from ehr_pipeline.record import DTYPES
from ehr_pipeline.tables import read_table
from ehr_pipeline.tables.table import refuse_too_few, table_of

N = 600
rng = np.random.default_rng(0)
day = datetime.date(2020, 1, 1)

COLUMNS = {
    "continuous": [f"{x:.1f}" for x in rng.normal(size=N)],
    "continuous with gaps": ["NA" if k % 5 == 0 else f"{x:.2f}" for k, x in enumerate(rng.normal(size=N))],
    "continuous by float": [repr(float(x) * 1e-5) for x in rng.normal(size=N)],
    "integer": [str(x) for x in rng.poisson(9, N)],
    "integer age": [str(x) for x in rng.integers(0, 100, N)],
    "integer in thousands": [str(1000 * x) for x in rng.integers(1, 200, N)],
    "integer with .0": [f"{x}.0" for x in rng.poisson(9, N)],
    "binary": [str(x) for x in rng.integers(0, 2, N)],
    "binary with gaps": [["0.0", "1.0", ""][x] for x in rng.integers(0, 3, N)],
    "categorical truth": [["True", "False"][x] for x in rng.integers(0, 2, N)],
    "categorical y": [["Y", "N"][x] for x in rng.integers(0, 2, N)],
    "categorical padded": [f"{x:03d}" for x in rng.integers(0, 20, N)],
    "categorical icd": [["250", "401.9", "V57", "E11.9", "414"][x] for x in rng.integers(0, 5, N)],
    "categorical sparse": [["50912", "50931", "51221"][x] for x in rng.integers(0, 3, N)],
    "categorical stage": [["1", "2", "3", "unclear"][x] for x in rng.integers(0, 4, N)],
    "categorical type_id": [str(x) for x in rng.integers(1, 9, N)],
    "categorical few": ["rare" if k < 2 else "often" for k in range(N)],
    "time": [str(day + datetime.timedelta(int(x))) for x in rng.integers(0, 999, N)],
    "time with gaps": ["NULL" if k % 3 else (day + datetime.timedelta(k)).strftime("%d/%m/%Y") for k in range(N)],
    "id uuid": [str(uuid.UUID(int=int(x))) for x in rng.integers(0, 2**62, N)],
    "id visit_id": [str(x) for x in rng.permutation(10**6)[:N]],
    "id code": [f"HX-{x:06d}" for x in rng.permutation(10**6)[:N]],
    "text": [f"the {k}th note of {x}" for k, x in enumerate(rng.integers(0, 999, N))],
    "text name": [f"{chr(65 + k % 26)}{'abcdefghij'[k % 10] * (k % 7 + 1)}{k * 37 % 1009:x}o" for k in range(N)],
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("kinds") / "all.csv"
    pd.DataFrame(COLUMNS).to_csv(path, index=False)
    with read_table(path) as opened:
        yield opened


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_has_the_kind_it_is_named_for(table, name):
    kind = name.split()[0]
    assert table.schema[name].kind == kind
    assert str(table[name].dtype) == DTYPES[kind]
    assert len(table[name]) == N


def test_decimals_are_told_and_ranges_are_not(table):
    assert table.schema["continuous"].decimals == 1 and table.schema["continuous by float"].decimals is None
    assert all(column.minimum is column.maximum is column.levels is None for column in table.schema.columns)


def test_what_is_learned_has_neither_identifiers_nor_text_nor_constants(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("id,one,none,note,x\n" + "".join(f"{k},A,NA,he said {k * k},{k % 30}\n" for k in range(100)))
    with read_table(path) as table:
        assert table.layout.learned.names == ["x"]
        assert table.layout.notes() == ["column note is free text: it is left out, and comes out empty"]
        assert table.schema.names == ["id", "one", "none", "note", "x"]


@pytest.mark.parametrize("spelled", [str, lambda k: f"P{k:03d}", lambda k: str(uuid.UUID(int=k))])
def test_rows_of_one_patient_belong_together(tmp_path, spelled):
    path = tmp_path / "visits.csv"
    lines = [f"{k},{spelled(k % 40 + 100)},{k % 30}" for k in range(120)] + ["120,,3", "121,,3"]
    path.write_text("visit_id,patient_id,x\n" + "\n".join(lines) + "\n")
    with read_table(path) as table:
        assert len(np.unique(table.subject_id)) == 42
        assert (table.subject_id[:40] == table.subject_id[40:80]).all()
        assert table.layout["patient_id"].treatment == table.layout["visit_id"].treatment == "identifier"


def test_without_a_repeated_patient_each_row_is_one(table):
    assert (table.subject_id == np.arange(N)).all()


def test_a_patient_whose_rows_are_all_there_is_is_refused(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("patient_id,x\n" + "".join(f"9,{k % 20}\n" for k in range(100)))
    with read_table(path) as table, pytest.raises(SourceError, match="fewer than 5 patients"):
        refuse_too_few(table)


def test_ten_thousand_levels_are_categories(tmp_path):
    path = tmp_path / "codes.csv"
    codes = np.repeat([f"C{k:05d}" for k in range(10_000)], 6)
    pd.DataFrame({"code": codes, "x": np.arange(len(codes)) % 7}).to_csv(path, index=False)
    with read_table(path) as table:
        assert table.schema["code"].kind == "categorical" and table["code"].nunique() == 10_000


def test_unusual_names_are_kept(tmp_path):
    path = tmp_path / "names.csv"
    frame = pd.DataFrame(
        {'a "quoted"': range(50), "a,b": range(50), "größe 身長": range(50), "": range(50), "x=y": range(50)}
    )
    (frame % 20).to_csv(path, index=False)
    with read_table(path) as table:
        assert table.schema.names == ['a "quoted"', "a,b", "größe 身長", "column 4", "x=y"]


def test_a_data_frame_of_mixed_values_is_refused_by_the_column():
    frame = pd.DataFrame({"a": range(4), "b": ["x", 1, 2.5, "y"]})
    with pytest.raises(SourceError, match="column b holds values of several types"):
        table_of(frame)
    with pytest.raises(SourceError, match="twice"):
        table_of(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_nothing_of_the_table_is_left_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "".join(f"{k},{k % 3}\n" for k in range(90)))
    with read_table(path):
        assert os.listdir(tmp_path / "temporary") == []


REAL = Path(__file__).parents[3] / "shared/data"


@pytest.mark.skipif(not REAL.exists(), reason="the shared data is not here")
@pytest.mark.parametrize(
    ("file", "n_patients", "some"),
    [
        ("synthea-285/patients.csv.gz", 285, {"ID": "id", "BIRTHDATE": "time", "SSN": "id", "ADDRESS": "text"}),
        ("synthea-285/encounters.csv.gz", 246, {"ID": "id", "PATIENT": "id", "REASONCODE": "categorical"}),
        ("mimic-iv-demo/hosp/admissions.csv.gz", 100, {"hadm_id": "id", "admittime": "time"}),
        ("physionet-2012/outcomes_a.csv", 4000, {"RecordID": "id", "SOFA": "integer", "In-hospital_death": "binary"}),
        ("mimic-iv-ed-demo/triage.csv", 64, {"temperature": "continuous", "pain": "categorical", "o2sat": "integer"}),
    ],
)  # fmt: skip
def test_real_tables_are_told_right(file, n_patients, some):
    with read_table(REAL / file) as table:
        assert {name: table.schema[name].kind for name in some} == some
        assert len(np.unique(table.subject_id)) == n_patients
