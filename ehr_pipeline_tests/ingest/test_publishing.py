"""Old or new, never half: killed builds, a second writer, readers, a disk that fills."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ehr_pipeline.errors import ResourceShort
from ehr_pipeline.ingest import connect, ingest
from ehr_pipeline.storage import DataFolder, sha256
from ehr_pipeline_tests.ingest.hospital import HOSPITAL, path_of, rewrite, write_table

ROOT = Path(__file__).parents[2]

# Ingests, and stops (to be killed) at the given step of the given task.
STOPPING = """
import sys, time
from pathlib import Path
from ehr_pipeline.ingest import ingest
from ehr_pipeline.storage import DataFolder

def listen(step):
    if (step.task, step.done) == (sys.argv[3], int(sys.argv[4])):
        print("here", flush=True)
        time.sleep(600)

ingest([Path(sys.argv[1])], DataFolder(Path(sys.argv[2])), listen)
"""


def start_and_stop_at(source: Path, data: DataFolder, task: str, step: int) -> subprocess.Popen:
    """An ingest in another process, that has come to the given step and stands there."""
    arguments = [sys.executable, "-c", STOPPING, str(source), str(data.root), task, str(step)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "here\n"
    return process


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def contents(data: DataFolder) -> dict[str, str]:
    paths = [data.warehouse, data.ingest_manifest, *data.events.iterdir()]
    return {path.name: sha256(path) for path in paths}


def sex_of_first(data: DataFolder) -> str:
    with connect(data) as con:
        return con.execute("SELECT gender FROM mimiciv_hosp.patients WHERE subject_id = 1").fetchone()[0]


def change_sex(source: Path) -> None:
    rewrite(path_of(source, "patients"), lambda text: text.replace("1,F,60", "1,M,60"))


@pytest.mark.parametrize(("task", "step"), [("read", 5), ("events", 1)])
def test_a_killed_ingest_leaves_the_old_whole_and_the_next_sweeps_up(task, step, source, data):
    ingest([source], data)
    before = contents(data)
    change_sex(source)
    kill(start_and_stop_at(source, data, task, step))
    assert contents(data) == before
    assert sex_of_first(data) == "F"
    assert data.ingest_scratch.exists()
    assert not ingest([source], data).unchanged
    assert sex_of_first(data) == "M"
    assert not data.ingest_scratch.exists()


def test_a_reader_goes_on_reading_the_old_while_the_new_takes_its_place(source, data):
    ingest([source], data)
    with connect(data) as con:
        change_sex(source)
        ingest([source], data)
        query = "SELECT gender FROM mimiciv_hosp.patients WHERE subject_id = 1"
        assert con.execute(query).fetchone() == ("F",)
        assert sex_of_first(data) == "M"  # in the same process, with the old still open


def test_another_process_that_reads_does_not_stop_an_ingest(source, data):
    ingest([source], data)
    code = (
        "import sys, duckdb; con = duckdb.connect(sys.argv[1], read_only=True); print('here', flush=True);"
        "sys.stdin.readline(); print(con.execute('SELECT count(*) FROM mimiciv_hosp.patients').fetchone()[0])"
    )
    arguments = [sys.executable, "-c", code, str(data.warehouse)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "here\n"
        change_sex(source)
        ingest([source], data)
        assert sex_of_first(data) == "M"
        out, _ = reader.communicate("go on\n")
    assert out == "3\n"


def test_a_second_ingest_waits_for_the_first_and_says_so(source, data):
    first = start_and_stop_at(source, data, "read", 3)
    steps: list[str] = []
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    second = context.Process(target=lambda: told.put([step.task for step in listened(source, data)]))
    second.start()
    time.sleep(1)
    assert second.is_alive()
    assert not data.warehouse.exists()
    kill(first)  # its lock goes with it
    steps = told.get(timeout=60)
    second.join()
    assert steps[0] == "waiting for another ingest into this folder"
    assert steps.count("read") == len(HOSPITAL)
    assert sex_of_first(data) == "F"


def listened(source: Path, data: DataFolder) -> list:
    steps: list = []
    ingest([source], data, steps.append)
    return steps


def big_table(source: Path) -> None:
    rows = [
        HOSPITAL["labevents"][0] | {"labevent_id": number, "comments": f"{number * 7919}" * 20}
        for number in range(40_000)
    ]
    write_table(source, "labevents", rows)


def test_a_file_that_may_not_grow_is_told_as_a_full_disk(source, data):
    """RLIMIT_FSIZE stands for the disk where a file system of our own can't be mounted."""
    ingest([source], data)
    before = contents(data)
    big_table(source)
    context = multiprocessing.get_context("fork")
    told = context.Queue()

    def ingest_in_little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            ingest([source], data)
        except ResourceShort as error:
            told.put(str(error))
        else:
            told.put("done")

    process = context.Process(target=ingest_in_little_room)
    process.start()
    message = told.get(timeout=120)
    process.join()
    assert "disk is full" in message
    assert contents(data) == before
    assert not data.ingest_scratch.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_full_disk_is_one_line_and_loses_nothing(source, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine doesn't let tests mount")
    try:
        data = DataFolder(disk / "data")
        ingest([source], data)
        before = contents(data)
        big_table(source)
        with pytest.raises(ResourceShort, match="disk is full") as caught:
            ingest([source], data)
        assert "\n" not in str(caught.value)
        assert contents(data) == before
        assert not data.ingest_scratch.exists()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
