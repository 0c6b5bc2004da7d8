"""What storage promises: what is written is whole, private, and where the design says."""

import os
import signal
import stat
import subprocess
import sys
import textwrap

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline import storage
from ehr_pipeline.errors import NotReady, OptionError, ResourceShort
from ehr_pipeline.storage import DataFolder


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = storage.write_text(tmp_path / "a.json", "old")
    with pytest.raises(ZeroDivisionError), storage.atomic_file(target) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_folder_and_nothing_else(tmp_path):
    target = tmp_path / "model"
    with storage.atomic_folder(target) as folder:
        (folder / "weights").write_text("old")
    with pytest.raises(ZeroDivisionError), storage.atomic_folder(target) as folder:
        (folder / "weights").write_text("new")
        raise ZeroDivisionError
    assert (target / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_moved_aside_by_a_writer_that_died_comes_back(tmp_path):
    (tmp_path / ".old-model").mkdir()
    (tmp_path / ".old-model" / "weights").write_text("old")
    with pytest.raises(ZeroDivisionError), storage.atomic_folder(tmp_path / "model"):
        raise ZeroDivisionError
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_a_process_killed_in_mid_write_leaves_the_old_file(tmp_path):
    target = storage.write_text(tmp_path / "a.txt", "old")
    script = textwrap.dedent(
        f"""
        import time; from pathlib import Path; from ehr_pipeline import storage
        with storage.atomic_file(Path({str(target)!r})) as temporary:
            temporary.write_text("half"); print("writing", flush=True); time.sleep(60)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    storage.write_text(target, "new")  # the next writer sweeps what the dead one left
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_two_writers_leave_one_whole_file(tmp_path):
    target = tmp_path / "a.txt"
    with storage.atomic_file(target) as first, storage.atomic_file(target) as second:
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the outer block ends last
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_the_old_file_stands(tmp_path):
    target = storage.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ResourceShort, match="disk is full: a.txt"), storage.atomic_file(target):
        with open("/dev/full", "w") as full:
            full.write("x" * 100_000)
    assert target.read_text() == "old"


def test_files_and_folders_are_readable_by_their_owner_alone(tmp_path):
    target = tmp_path / "cohorts" / "icu" / "table.parquet"
    storage.write_parquet(target, pd.DataFrame({"a": [1]}))
    assert mode(target) == 0o600
    assert mode(target.parent) == mode(target.parent.parent) == 0o700


def test_nan_never_reaches_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_not_there_says_what_to_run(tmp_path):
    with pytest.raises(NotReady, match="run ingest first"):
        storage.read_json(tmp_path / "a.json", "run ingest first")


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "1a", "a-b", "a b", "é", "a\n", "report", "prepared", "a.b"])
def test_a_hostile_name_is_never_a_folder(tmp_path, name):
    with pytest.raises(OptionError):
        DataFolder(tmp_path).cohort(name)
    with pytest.raises(OptionError):
        DataFolder(tmp_path).cohort("icu").generator(name)


@given(st.text())
def test_every_folder_of_a_cohort_lies_inside_the_data_folder(name):
    data = DataFolder.find("/data")
    try:
        folder = data.cohort(name).root
    except OptionError:
        return
    assert folder.parent == data.root / "cohorts"
    assert folder.resolve() == folder


def test_the_data_folder_is_the_option_then_the_environment_then_data(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EHR_PIPELINE_DATA", raising=False)
    assert DataFolder.find().root == tmp_path / "data"
    monkeypatch.setenv("EHR_PIPELINE_DATA", str(tmp_path / "elsewhere"))
    assert DataFolder.find().root == tmp_path / "elsewhere"
    assert DataFolder.find(tmp_path / "option").root == tmp_path / "option"


def test_sha256_is_of_the_bytes(tmp_path):
    path = storage.write_text(tmp_path / "a", "abc")  # the digest of "abc" stands in FIPS 180-2
    assert storage.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
