"""What a process of ours leaves behind and reaches out to: nothing that others can read, and nobody."""

import os
import resource
import subprocess
import sys
import textwrap

import pytest

from ehr_pipeline.simulate import simulate_hospital
from ehr_pipeline.writing import private_process

WATCHED = textwrap.dedent(
    """
    import socket, sys
    ALLOWED = ("127.0.0.1", "::1", "localhost")

    def watch(event, arguments):
        if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in ALLOWED:
            print("REACHED OUT", file=sys.stderr, flush=True)
        if event in ("socket.getaddrinfo", "socket.gethostbyname") and arguments[0] not in (*ALLOWED, None, ""):
            if arguments[0] != socket.gethostname():
                print("ASKED FOR A NAME", file=sys.stderr, flush=True)

    sys.addaudithook(watch)
    """
)


def test_a_process_writes_for_its_owner_alone_and_dumps_no_core():
    code = (
        "import os, resource; from ehr_pipeline.writing import private_process; private_process();"
        "mask = os.umask(0); print(oct(mask), resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown == ["0o77", "0"]


def test_the_mask_of_before_is_told_so_that_it_can_come_back():
    before = os.umask(0o022)
    try:
        assert private_process() == 0o022
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
    finally:
        os.umask(before)


@pytest.mark.slow
def test_a_whole_run_reaches_nobody(tmp_path):
    """Every Python process of a run is watched from its first line; telemetry of a dependency would be seen."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCHED)
    simulate_hospital(300, tmp_path / "hospital", seed=3)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "watch"),
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-c",
        "from ehr_pipeline.cli import main; main()",
        "run",
        "--source",
        str(tmp_path / "hospital"),
    ]
    command += ["--data", str(tmp_path / "data"), "--cohort", "emergency", "--generator", "independent"]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=600)
    assert "REACHED OUT" not in done.stderr and "ASKED FOR A NAME" not in done.stderr
    assert (tmp_path / "data" / "cohorts" / "emergency" / "report" / "index.html").exists(), done.stderr[-300:]


def test_the_watch_sees_a_connection(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WATCHED)
    code = "import socket\ntry: socket.create_connection(('192.0.2.1', 9), timeout=0.01)\nexcept OSError: pass"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert "REACHED OUT" in done.stderr
