"""What `synthesize` and the three lines of Python promise: a synthetic table that reads as the real one does."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import ehr_pipeline as ehr
from ehr_pipeline.errors import OptionError, SourceError
from ehr_pipeline.generators.independent import Independent
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline.storage import DataFolder
from ehr_pipeline.tables import model as model_module
from ehr_pipeline.tables import read_table, write_table
from ehr_pipeline.tables.synthesize import Request, synthesize

ROOT = Path(__file__).parents[2]


def patients(n=800, seed=0):
    """A table of visits with everything that an ordinary export has."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 95, n)
    return pd.DataFrame(
        {
            "visit_id": rng.permutation(np.arange(100_000, 100_000 + n)),
            "patient_nbr": [f"P{k:05d}" for k in rng.integers(0, n // 2, n)],
            "age": age,
            "weight": np.where(rng.random(n) < 0.2, "NA", np.char.mod("%.1f", rng.normal(75, 12, n))),
            "admitted": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
            "diagnosis": rng.choice(["250", "414", "V57", "E11"], n, p=[0.4, 0.3, 0.2, 0.1]),
            "race": np.append(rng.choice(["A", "B", "Other"], n - 3), ["Rare one", "Rare two", "Rare three"]),
            "flag": rng.integers(0, 2, n),
            "hospital": "North",
            "unused": np.nan,
            "note": [f"seen by doctor {k} at {rng.random():.3f}" for k in range(n)],
        }
    )


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "patients.csv"
    patients().to_csv(path, index=False)
    return path


def test_the_output_reads_as_the_input_does(table, tmp_path):
    made = synthesize(Request(table=table, out=tmp_path / "out.csv", generator="independent"))
    real, synthetic = pd.read_csv(table), pd.read_csv(tmp_path / "out.csv")
    assert made.n_rows == len(synthetic) == len(real)
    assert list(synthetic.columns) == list(real.columns)
    same = [name for name in real.columns if name != "note"]
    assert (synthetic[same].dtypes == real[same].dtypes).all()
    assert synthetic["note"].isna().all() and synthetic["unused"].isna().all()
    assert (synthetic["hospital"] == "North").all()
    assert set(synthetic["race"]) <= {"A", "B", "Other"} and set(synthetic["diagnosis"]) <= set(real["diagnosis"])
    assert synthetic["admitted"].str.fullmatch(r"\d{4}-\d\d-\d\d").all()
    raw = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert raw["weight"].map(lambda text: bool(re.fullmatch(r"NA|\d+\.\d", text))).all()
    assert (raw["weight"] == "NA").mean() == pytest.approx(0.2, abs=0.05)
    for name in ("visit_id", "patient_nbr"):
        assert synthetic[name].is_unique and not set(synthetic[name]) & set(real[name])
    assert synthetic["patient_nbr"].str.fullmatch(r"P\d{5}").all()
    assert made.schema == tmp_path / "out.schema.yaml" and made.schema.exists()


def test_the_same_seed_gives_the_same_file_and_another_does_not(table, tmp_path):
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthesize(Request(table=table, out=tmp_path / f"{name}.csv.gz", generator="independent", seed=seed, rows=300))
        files.append((tmp_path / f"{name}.csv.gz").read_bytes())
    assert files[0] == files[1] != files[2]


def test_conditions_are_met_in_the_files_own_spelling(table, tmp_path):
    conditions = {"race": "Other", "age": "70", "weight": "NA", "admitted": "2020-05-05", "hospital": "North"}
    request = Request(table=table, out=tmp_path / "o.csv", generator="independent", rows=50, conditions=conditions)
    made = synthesize(request)
    rows = pd.read_csv(tmp_path / "o.csv", dtype=str, keep_default_na=False)
    assert made.n_rows == len(rows) == 50
    assert all((rows[name] == value).all() for name, value in conditions.items())


def test_a_balance_gives_each_level_its_share(table, tmp_path):
    request = Request(
        table=table, out=tmp_path / "o.csv", generator="independent", rows=90, balance={"diagnosis": {"E11": 0.5}}
    )
    synthesize(request)
    assert (pd.read_csv(tmp_path / "o.csv")["diagnosis"] == "E11").sum() == 45


def test_the_schema_file_that_was_given_is_not_written_over(table, tmp_path):
    own = tmp_path / "o.schema.yaml"
    own.write_text("columns: {age: {kind: integer, minimum: 18, maximum: 40}}  # mine\n")
    synthesize(Request(table=table, out=tmp_path / "o.csv", generator="independent", schema=own))
    assert own.read_text().endswith("# mine\n")
    assert pd.read_csv(tmp_path / "o.csv")["age"].between(18, 40).all()


def test_kinds_are_told_before_the_first_step_and_not_when_the_fit_refuses(table, tmp_path, monkeypatch):
    said = []
    synthesize(
        Request(table=table, out=tmp_path / "o.csv", generator="independent"),
        progress=lambda step: said.append(step.task),
        say=said.append,
    )
    assert [line.split()[0] for line in said[:11]] == list(pd.read_csv(table).columns)
    assert said[11].startswith("column note is free text") and said[12] == "Independent columns"
    refused = []

    def no_tier(*_):
        raise OptionError("has no private tier")

    monkeypatch.setattr(Independent, "fit", no_tier)
    with pytest.raises(OptionError, match="no private tier"):
        synthesize(Request(table=table, out=tmp_path / "p.csv", generator="independent"), say=refused.append)
    assert not refused and not (tmp_path / "p.csv").exists()


def test_a_budget_reaches_the_generator(table, tmp_path, monkeypatch):
    seen = []

    def fit_table(table, generator, *, budget, **_):
        seen.append((generator, budget))
        raise SourceError("enough")

    schema = tmp_path / "s.yaml"
    schema.write_text(
        yaml.safe_dump(
            {
                "columns": {name: {"kind": "text"} for name in pd.read_csv(table).columns[1:]}
                | {"visit_id": {"kind": "id"}, "flag": {"kind": "binary"}}
            }
        )
    )
    monkeypatch.setattr("ehr_pipeline.tables.synthesize.fit_table", fit_table)
    for epsilon in (2.0, 0.5):
        with pytest.raises(SourceError):
            synthesize(Request(table=table, out=tmp_path / "o.csv", schema=schema, epsilon=epsilon))
    assert seen == [
        ("column_autoregressive", Budget(epsilon=2.0, delta=1e-6)),
        ("marginals", Budget(epsilon=0.5, delta=1e-6)),
    ]


def test_a_write_that_dies_leaves_what_was_there(table, tmp_path, monkeypatch):
    out = tmp_path / "o.csv"
    out.write_text("before")

    def dies(draw):
        yield from (frame for frame, _ in zip(chunks(draw), range(1), strict=False))
        raise KeyboardInterrupt

    chunks = model_module.Draw.chunks
    monkeypatch.setattr(model_module.Draw, "chunks", dies)
    with pytest.raises(KeyboardInterrupt):
        synthesize(Request(table=table, out=out, generator="independent"))
    assert out.read_text() == "before" and sorted(path.name for path in tmp_path.iterdir()) == ["o.csv", "patients.csv"]


def test_the_output_is_the_owners_alone(table, tmp_path):
    synthesize(Request(table=table, out=tmp_path / "o.csv", generator="independent"))
    assert (tmp_path / "o.csv").stat().st_mode & 0o077 == 0


# Python


def test_a_data_frame_comes_back_as_one_of_its_own_kind():
    frame = patients().astype({"race": "category", "flag": "boolean", "age": "int16", "diagnosis": "category"})
    frame["weight"] = pd.to_numeric(frame["weight"], errors="coerce").astype("float32")
    drawn = ehr.fit(frame, generator="independent").sample(100, {"flag": True, "diagnosis": "E11"}, seed=3)
    assert len(drawn) == 100 and list(drawn.columns) == list(frame.columns)
    known = [name for name in frame.columns if not isinstance(frame[name].dtype, pd.CategoricalDtype)]
    assert (drawn[known].dtypes == frame[known].dtypes).all()
    assert drawn["flag"].all() and (drawn["diagnosis"] == "E11").all()
    assert set(drawn["race"].cat.categories) == {"A", "B", "Other"}  # rare levels are nobody's business
    assert not set(drawn["visit_id"]) & set(frame["visit_id"])


def test_a_model_is_kept_in_a_folder_without_a_value_of_the_table(table, tmp_path):
    model = ehr.fit(str(table), generator="independent", seed=1)
    model.save(tmp_path / "model")
    loaded = ehr.Model.load(tmp_path / "model")
    known = [name for name in patients().columns if name not in ("visit_id", "patient_nbr")]
    pd.testing.assert_frame_equal(model.sample(200, seed=5)[known], loaded.sample(200, seed=5)[known])
    assert loaded.sample(20)["patient_nbr"].str.fullmatch(r"P\d{6}").all()  # longer than any that was
    assert len(model.sample()) == 800
    kept = b"".join(path.read_bytes() for path in (tmp_path / "model").rglob("*") if path.is_file())
    for value in (b"Rare one", b"seen by", *(text.encode() for text in patients()["patient_nbr"].head(50))):
        assert value not in kept


def test_settings_of_the_generator_are_passed_on(table):
    with pytest.raises(OptionError, match="no such setting: speed"):
        ehr.fit(table, generator="independent", speed=3)
    with pytest.raises(OptionError, match="'nobody'"):
        ehr.fit(table, generator="nobody")
    with pytest.raises(OptionError, match="'nothere'"):
        ehr.fit(table, generator="independent").sample(5, {"nothere": 1})


def test_importing_the_package_imports_nothing_else():
    code = (
        "import sys, ehr_pipeline; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch','pandas','pyarrow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError):
        ehr.nothing  # noqa: B018


@pytest.mark.slow
def test_the_readmes_three_lines_run(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text()
    block = next(part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "ehr.fit" in part)
    patients().to_csv(tmp_path / "patients.csv", index=False)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block, names)
    assert len(names["synthetic"]) == 1000
    assert not DataFolder(tmp_path / "data").root.exists()


def test_nothing_missing_is_invented_and_nothing_is_lost_by_writing_what_was_read(table, tmp_path):
    with read_table(table) as read:
        write_table(read.frame(), read.layout, tmp_path / "same.csv", 0)
    known = [name for name in patients().columns if name not in ("visit_id", "patient_nbr", "note", "race")]
    before, after = pd.read_csv(table, dtype=str)[known], pd.read_csv(tmp_path / "same.csv", dtype=str)[known]
    pd.testing.assert_frame_equal(before, after)
