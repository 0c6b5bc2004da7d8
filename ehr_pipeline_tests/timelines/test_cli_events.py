"""What the command `synthesize-events` promises on a terminal."""

from __future__ import annotations

import pyarrow.parquet as pq

from ehr_pipeline.privacy.ledger import Ledger
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.test_cli import cli, is_one_clear_line
from ehr_pipeline_tests.timelines.events import stays, write


def test_a_file_comes_out_what_was_mended_is_on_stderr_and_the_ledger_knows(tmp_path):
    frame = stays()
    write(frame.iloc[[*range(len(frame)), 5]].assign(ward="A"), tmp_path / "events.parquet")
    data = DataFolder(tmp_path / "data")
    data.root.mkdir()
    out = tmp_path / "out.parquet"
    own = ("--generator", "timeline_markov", "--data", data.root)
    done = cli("synthesize-events", tmp_path / "events.parquet", "--out", out, "--patients", 12, *own)
    assert done.returncode == 0, done.stderr
    assert "1 events stand twice" in done.stderr
    assert done.stdout.startswith("12 patients")
    assert len(set(pq.read_table(out)["subject_id"].to_pylist())) == 12
    assert out.stat().st_mode & 0o777 == 0o600
    (entry,) = Ledger(data.ledger).entries()
    assert (entry.kind, entry.generator, entry.source) == ("internal", "timeline_markov", "events.parquet")


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path):
    done = cli("synthesize-events", tmp_path / "nowhere", "--out", tmp_path / "out.parquet")
    assert done.returncode == 2
    assert is_one_clear_line(done)
    assert "nowhere" in done.stderr


def test_a_budget_is_in_the_ledger_before_training_and_tells_no_real_number_of_patients(tmp_path):
    write(stays(100), tmp_path / "events.parquet")
    data = DataFolder(tmp_path / "data")
    data.root.mkdir()
    out = tmp_path / "out.parquet"
    own = ("--generator", "timeline_markov", "--data", data.root)
    done = cli("synthesize-events", tmp_path / "events.parquet", "--out", out, "--epsilon", 3, *own)
    assert done.returncode == 0, done.stderr
    assert "privacy: epsilon 3 at delta 1e-06" in done.stderr
    (entry,) = Ledger(data.ledger).entries()
    assert (entry.kind, entry.epsilon, entry.delta) == ("spend", 3.0, 1e-6)
    ids = set(pq.read_table(out)["subject_id"].to_pylist())
    assert max(ids) <= 200 and 1 in ids
    # What is left under the cap of 4 is not enough for another.
    done = cli("synthesize-events", tmp_path / "events.parquet", "--out", tmp_path / "b.parquet", "--epsilon", 3, *own)
    assert done.returncode != 0
    assert not (tmp_path / "b.parquet").exists()
    assert len(list(Ledger(data.ledger).entries())) == 1


def test_a_generator_without_a_private_tier_refuses_in_one_line(tmp_path):
    write(stays(20), tmp_path / "events.parquet")
    out = tmp_path / "out.parquet"
    own = ("--generator", "ehr_safe", "--epsilon", 1, "--data", tmp_path)
    done = cli("synthesize-events", tmp_path / "events.parquet", "--out", out, *own)
    assert done.returncode == 2
    assert is_one_clear_line(done)
    assert "ehr_safe has no private tier" in done.stderr


def test_conditions_fix_static_facts_and_wrong_ones_are_refused(tmp_path):
    write(stays(), tmp_path / "events.parquet")
    out = tmp_path / "out.parquet"
    asked = ("synthesize-events", tmp_path / "events.parquet", "--out", out, "--generator", "timeline_markov")
    done = cli(*asked, "--condition", "GENDER=GENDER//F")
    assert done.returncode == 0, done.stderr
    codes = set(pq.read_table(out)["code"].to_pylist())
    assert "GENDER//F" in codes and "GENDER//M" not in codes
    out.unlink()
    for wrong, told in {"GENDER=X": "GENDER//F, GENDER//M", "BLOOD=B": "GENDER"}.items():
        done = cli(*asked, "--condition", wrong)
        assert done.returncode == 2 and told in done.stderr.splitlines()[-1]
        assert not out.exists()
