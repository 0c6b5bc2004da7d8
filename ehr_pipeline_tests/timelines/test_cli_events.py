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
    done = cli("synthesize-events", tmp_path / "events.parquet", "--out", out, "--patients", 12, "--data", data.root)
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
