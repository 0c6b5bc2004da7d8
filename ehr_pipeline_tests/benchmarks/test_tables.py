"""The benchmark command: everyone measured alike, nothing measured twice, and a failure is a row that says why."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
JUDGE = """
import json, sys
from pathlib import Path
said = dict(zip(sys.argv[2::2], sys.argv[3::2]))
with Path(__file__).with_name("calls").open("a") as calls:
    calls.write("called" + chr(10))
score = {"value": 0.25, "floor": 0.125, "null": 0.5, "normalised": None}
Path(said["--json"]).write_text(json.dumps({"c2st_auc": score, "tstr_hgb[adverse_event]": score}))
"""

pytestmark = pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset (util-linux) pins to a core")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("benchmark")
    (made / "judge").mkdir()
    (made / "judge" / "judge.py").write_text(JUDGE)
    return made


def tables(folder, *options):
    command = [sys.executable, BENCHMARKS / "tables.py", "--rows", "300", "--out", folder / "out"]
    command += ["--judge", folder / "judge" / "judge.py", "--venvs", folder / "environments", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def cells(done, name):
    line = next(line for line in done.stdout.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture(scope="module")
def first(folder):
    return tables(folder, "--generator", "independent", "--peer", "cart")


def test_floor_and_null_come_before_the_contenders(first):
    assert first.returncode == 0, first.stderr
    names = [line.split("|")[1].strip() for line in first.stdout.splitlines() if line.startswith("|")]
    assert names == ["", "---", "floor", "null", "`independent`", "`cart`"]
    assert cells(first, "floor")[1] == "0.1250"
    assert cells(first, "null")[1] == "0.5000"


def test_a_contender_has_scores_time_memory_and_version(first):
    row = cells(first, "`independent`")
    assert row[1:3] == ["0.2500", "0.2500"]
    assert all(float(seconds.replace(",", "")) >= 0 for seconds in row[3:5])
    assert float(row[5].replace(",", "")) > 20
    assert row[6].startswith("torch ")


def test_a_peer_that_is_not_installed_is_a_row_that_says_so(first):
    assert "not installed" in cells(first, "`cart`")[1]


def test_the_table_is_written_as_it_is_printed(first, folder):
    written = next((folder / "out").glob("*/results.md")).read_text()
    assert written.strip() == first.stdout.strip()
    results = json.loads(next((folder / "out").glob("*/results.json")).read_text())["results"]
    assert results["independent"]["fit"]["cpu_s"] > 0
    assert results["cart"]["reason"]


def test_a_second_run_measures_and_judges_nothing_again(first, folder):
    stored = next((folder / "out").glob("*/independent.run.json"))
    calls = (folder / "judge" / "calls").read_text()
    before = stored.stat().st_mtime_ns
    again = tables(folder, "--generator", "independent")
    assert cells(again, "`independent`") == cells(first, "`independent`")
    assert stored.stat().st_mtime_ns == before
    assert (folder / "judge" / "calls").read_text() == calls


def test_a_peer_that_fails_is_a_row_with_its_last_line(folder):
    python = folder / "environments" / "arf" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'broken | on purpose' >&2\nexit 3\n")
    python.chmod(0o700)
    done = tables(folder, "--peer", "arf")
    assert done.returncode == 0, done.stderr
    assert cells(done, "`arf`")[1] == "failed (exit 3): broken / on purpose"


def test_a_contender_is_stopped_at_the_cap(folder):
    python = folder / "environments" / "mostlyai" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o700)
    assert "stopped at the cap of 1 s" in tables(folder, "--peer", "mostlyai", "--cap-s", "1").stdout


def test_an_unknown_name_lists_those_there_are(folder):
    done = tables(folder, "--peer", "nobody")
    assert done.returncode == 1
    assert "nobody" in done.stderr and "mostlyai" in done.stderr
