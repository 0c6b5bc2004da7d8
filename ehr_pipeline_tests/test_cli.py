"""What the command line promises: results on stdout, one clear line on stderr, exit codes 0, 1, 2."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from ehr_pipeline.generators.registry import GENERATORS, default_generators
from ehr_pipeline.storage import DataFolder

COMMAND = Path(sys.executable).parent / "ehr-pipeline"


def cli(*arguments, **environment):
    """Run the installed command as a user does."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


def is_one_clear_line(done):
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return 1 <= len(lines) <= 3 and "Traceback" not in done.stderr


def test_cohorts_and_generators_are_listed(tmp_path):
    cohorts = cli("cohorts", "--data", tmp_path)
    assert cohorts.returncode == 0
    assert {line.split()[0] for line in cohorts.stdout.splitlines()} >= {"medicore", "icu_48h", "emergency"}
    generators = cli("generators")
    starred = {line.split()[1] for line in generators.stdout.splitlines() if line.startswith("*")}
    assert starred == set(default_generators())
    assert all(name in generators.stdout for name in GENERATORS)


def test_a_hospital_is_simulated_ingested_and_not_read_twice(tmp_path):
    made = cli("simulate", "--patients", 60, "--out", tmp_path / "hospital", "--sites", 2, "--seed", 3)
    assert made.returncode == 0, made.stderr
    data = DataFolder(tmp_path / "data")
    first = cli("ingest", "--source", tmp_path / "hospital", "--data", data.root)
    assert first.returncode == 0 and "60 patients" in first.stdout
    assert data.warehouse.stat().st_mode & 0o077 == 0
    again = cli("ingest", "--source", tmp_path / "hospital", "--data", data.root)
    assert again.returncode == 0 and "unchanged" in again.stdout


def test_own_cohorts_are_found_where_the_environment_says(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "title: Mine\nindex: admission\nwindow: {until: admission}\nfeatures: {age: {fact: age}}\n"
    )
    done = cli("cohorts", "--data", tmp_path / "data", EHR_PIPELINE_COHORTS=str(tmp_path))
    assert done.returncode == 0 and "mine" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["ingest", "--source", "/nowhere"], "/nowhere"),
        (["run", "--cohort", "nobody"], "nobody"),
        (["run", "--generator", "magic"], "magic"),
        (["run", "--seed", "-1"], "--seed"),
        (["run", "--epsilon", "0"], "--epsilon"),
        (["run", "--epsilon", "inf"], "--epsilon"),
        (["run", "--epsilon", "1", "--delta", "1"], "--delta"),
        (["run", "--delta", "1e-5"], "--epsilon"),
        (["run", "--universe", ""], "--universe"),
        (["synthesize", "t.csv", "--out", "o.csv", "--epsilon", "nan"], "--epsilon"),
        (["synthesize", "t.csv", "--out", "o.csv", "--epsilon", "1", "--delta", "0"], "--delta"),
        (["synthesize", "t.csv", "--out", "o.csv", "--delta", "1e-5"], "--epsilon"),
        (["synthesize", "t.csv", "--out", "o.csv", "--epsilon", "1"], "--schema"),
        (["simulate", "--patients", "0", "--out", "x"], "--patients"),
        (["simulate", "--patients", "ten", "--out", "x"], "--patients"),
        (["ingest"], "--source"),
        (["cohorts", "--cohorts", "/nowhere"], "/nowhere"),
        (["sing"], "sing"),
        (["ui", "--port", "0"], "--port"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_wrong_input_is_one_clear_line_that_names_it_and_exit_2(tmp_path, arguments, names):
    done = cli(*arguments, EHR_PIPELINE_DATA=str(tmp_path / "data"))
    assert done.returncode == 2, done.stderr
    assert is_one_clear_line(done), done.stderr
    assert names in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_traceback_is_shown_only_behind_debug(tmp_path):
    done = cli("ingest", "--source", "/nowhere", "--data", tmp_path, "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_a_broken_cohort_file_is_named_with_its_field(tmp_path):
    (tmp_path / "mine.yaml").write_text("title: Mine\nindex: birth\nwindow: {until: admission}\nfeatures: {}\n")
    done = cli("run", "--cohorts", tmp_path, "--data", tmp_path / "data")
    assert done.returncode == 2 and is_one_clear_line(done), done.stderr
    assert "mine.yaml" in done.stderr and "index" in done.stderr


def test_a_budget_is_spent_shown_capped_and_proved(tmp_path):
    table, schema, data = tmp_path / "t.csv", tmp_path / "s.yaml", DataFolder(tmp_path / "data")
    table.write_text("age,sex\n" + "".join(f"{20 + k % 60},{'FM'[k % 2]}\n" for k in range(400)))
    schema.write_text("columns: {age: {kind: integer, minimum: 18, maximum: 90}, sex: {kind: binary}}")
    data.root.mkdir()
    data.policy.write_text("epsilon_cap: 1.5\n")

    def spend(name):
        options = ("--generator", "independent", "--schema", schema, "--epsilon", "1", "--delta", "1e-5")
        return cli("synthesize", table, "--out", tmp_path / name, *options, "--data", data.root)

    first, second = spend("one.csv"), spend("two.csv")
    assert first.returncode == 0, first.stderr
    lines = first.stderr.splitlines()
    assert lines[0].startswith("privacy: epsilon ") and "per patient" in lines[0]
    assert second.returncode == 1 and is_one_clear_line(second) and "cap of 1.5" in second.stderr
    assert not (tmp_path / "two.csv").exists()
    shown = cli("ledger", "--data", data.root)
    assert shown.returncode == 0 and "independent" in shown.stdout and "cap     1.5  left     0.5" in shown.stdout
    for arguments in (("ledger", "verify", "--data", data.root), ("ledger", "--data", data.root, "verify")):
        assert cli(*arguments).returncode == 0
    with duckdb.connect(str(data.ledger)) as connection:
        (name,) = connection.sql("show tables").fetchall()[0]
        connection.sql(f"update {name} set epsilon = epsilon / 10")
    for arguments in (("ledger", "verify"), ("ledger",)):
        done = cli(*arguments, "--data", data.root)
        assert done.returncode == 1 and is_one_clear_line(done) and "does not verify" in done.stderr


def test_a_folder_without_a_ledger_shows_that_nothing_was_spent(tmp_path):
    for arguments in (("ledger",), ("ledger", "verify")):
        done = cli(*arguments, "--data", tmp_path / "data")
        assert done.returncode == 0 and "nothing was written down" in done.stdout
    assert not (tmp_path / "data").exists()
