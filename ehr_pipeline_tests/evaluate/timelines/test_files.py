"""MEDS files through the command line: recognised, judged, written; or one clear line."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ehr_pipeline
from ehr_pipeline.cli import app
from ehr_pipeline.errors import InputError
from ehr_pipeline.evaluate.timelines.files import are_events, evaluate_event_files
from ehr_pipeline_tests.evaluate.timelines.examples import stays

N = 60


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meds")
    for name, frame in (("real", stays(N, 1)), ("holdout", stays(N, 2, 1000)), ("synthetic", stays(N, 3))):
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def test_the_command_judges_events_and_writes_numbers_and_page(files, tmp_path):
    names = [
        part for name in ("real", "synthetic", "holdout") for part in (f"--{name}", str(files / f"{name}.parquet"))
    ]
    done = CliRunner().invoke(app, ["evaluate", *names, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "mean_normalised" in done.output
    said = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert said["scores"]["time_gap_ks"]["value"] < 0.2
    assert said["provenance"]["synthetic_sha256"] and said["n_patients"]["compared"] == N
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Timelines" in page and "Membership (events)" in page and "No attack was run" not in page
    assert {attack["name"] for attack in said["attacks"]} >= {"copies (stays)", "copies (events)"}
    assert said["scores"]["copied_stretches_train"]["dimension"] == "privacy"
    assert (tmp_path / "out" / "scores.json").stat().st_mode & 0o077 == 0


def test_without_a_holdout_the_patients_are_halved_and_utility_does_not_pass(files):
    said = []
    found = evaluate_event_files(stays(N, 1), files / "synthetic.parquet", say=said.append)
    assert found.n_patients["train"] == found.n_patients["holdout"] == N // 2
    assert said and said[0].startswith("no holdout") and said[0] in found.notes
    assert all(score.verdict != "passed" for score in found.scores.values() if score.dimension == "utility")
    assert found.attacks == []


def test_events_are_told_by_their_columns(files, tmp_path):
    assert are_events(files) and are_events(files / "real.parquet") and are_events(stays(3, 1))
    table = tmp_path / "table.parquet"
    pd.DataFrame({"subject_id": [1], "age": [50]}).to_parquet(table)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert not any(are_events(one) for one in (table, tmp_path / "broken.parquet", tmp_path / "none.parquet"))


@pytest.mark.parametrize(
    ("holdout", "options", "says"),
    [
        ("real", {}, "the same file"),
        ("shared", {}, "shares 3 subject_ids"),
        ("table", {}, "holds no events in MEDS columns"),
        ("few", {}, "has 5 patients; at least 20"),
        (None, {"targets": ("HR", "Age")}, "names one code"),
        (None, {"treatment": "HR", "outcome": "Age"}, "names one code"),
        (None, {"targets": "NOTHING"}, "is no code of the real events"),
    ],
)
def test_what_cannot_be_used_is_one_line(files, tmp_path, holdout, options, says):
    table = pd.DataFrame({"subject_id": np.arange(50), "age": 50})
    made = {"shared": stays(N, 2, N - 2), "table": table, "few": stays(5, 2, 1000)}
    held = files / "real.parquet" if holdout == "real" else made.get(holdout)
    with pytest.raises(InputError, match=says) as caught:
        ehr_pipeline.evaluate(
            files / "real.parquet", files / "synthetic.parquet", held, out=tmp_path / "out", **options
        )
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
