"""`ehr-pipeline evaluate` from outside: results on stdout, one clear line on stderr, exit codes 0 and 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from ehr_pipeline_tests.evaluate.examples import patients, shuffled

COMMAND = Path(sys.executable).parent / "ehr-pipeline"


def evaluate(*arguments, cwd):
    return subprocess.run(
        [COMMAND, "evaluate", *map(str, arguments)], check=False, capture_output=True, text=True, timeout=300, cwd=cwd
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    patients(100, 1).to_csv(folder / "real.csv", index=False)
    shuffled(patients(100, 2)).to_csv(folder / "synthetic.csv", index=False)
    (folder / "empty.csv").write_text("")
    return folder


def test_scores_are_printed_and_left_with_the_page(folder):
    done = evaluate(
        "--real", "real.csv", "--synthetic", "synthetic.csv", "--target", "died", "--out", "out", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert "c2st_auc" in done.stdout and done.stdout.splitlines()[-1] == "out/index.html"
    assert sum("--holdout" in line for line in done.stderr.splitlines()) == 1
    assert {path.name for path in (folder / "out").iterdir()} == {"index.html", "scores.json"}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--real", "nowhere.csv", "--synthetic", "synthetic.csv"], "nowhere.csv"),
        (["--real", "real.csv", "--synthetic", "empty.csv"], "empty.csv"),
        (["--real", "real.csv", "--synthetic", "synthetic.csv", "--target", "dead"], "dead"),
        (["--real", "real.csv", "--synthetic", "synthetic.csv", "--seed", "-1"], "--seed"),
        (["--synthetic", "synthetic.csv"], "--real"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_wrong_input_is_one_clear_line_and_exit_2(folder, arguments, names):
    done = evaluate(*arguments, "--out", "never", cwd=folder)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert 1 <= len(lines) <= 3 and "Traceback" not in done.stderr
    assert names in done.stderr
    assert not (folder / "never").exists()
