"""Who takes part: every generator of the registry, and the open peers, each in a virtual environment of its own.

What belongs here: names, scripts, environments, and running one of them pinned to one core. What does not: what their
numbers are worth (`judges.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_pipeline.generators.registry import GENERATORS

SCRIPTS = Path(__file__).parent / "peers"
LIBRARY = Path(__file__).parents[1] / "ehr_pipeline"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One that fits and samples.

    Attributes
    ----------
    name
        How the table names it.
    script
        File in `peers/` that runs it.
    environment
        Name of its environment and of its `peers/<environment>.txt`; None for ours, which runs in this one.
    arguments
        What the script is told besides the table.
    """

    name: str
    script: str
    environment: str | None = None
    arguments: tuple[str, ...] = ()

    @property
    def sources(self) -> list[Path]:
        """Files that decide what it does: a stored result of other ones is not its own."""
        own = [SCRIPTS / self.script, SCRIPTS / "stopwatch.py"]
        if self.environment is not None:
            return own + sorted(SCRIPTS.glob(f"{self.environment}.*txt"))
        return own + [file for room in ("generators", "tables") for file in sorted((LIBRARY / room).rglob("*.py"))]


def _synthcity(name: str, plugin: str) -> Contender:
    return Contender(name=name, script="synthcity_plugin.py", environment="synthcity", arguments=("--plugin", plugin))


PEERS = {
    peer.name: peer
    for peer in (
        Contender(name="mostlyai", script="mostlyai_engine.py", environment="mostlyai"),
        Contender(name="arf", script="arf.py", environment="arf"),
        Contender(name="cart", script="cart.py", environment="cart"),
        Contender(name="copula", script="copula.py", environment="copula"),
        _synthcity("ctgan", "ctgan"),
        _synthcity("tvae", "tvae"),
        _synthcity("tabddpm", "ddpm"),
    )
}


def ours(name: str) -> Contender:
    """A generator of this project."""
    return Contender(name=name, script="ours.py", arguments=("--generator", name))


def chosen(generators: list[str], peers: list[str]) -> list[Contender]:
    """Those named; all where nobody is."""
    if not generators and not peers:
        generators, peers = list(GENERATORS), list(PEERS)
    unknown = sorted({*generators} - {*GENERATORS}) + sorted({*peers} - {*PEERS})
    if unknown:
        raise SystemExit(f"there is no {unknown[0]!r}: generators {', '.join(GENERATORS)}; peers {', '.join(PEERS)}")
    return [ours(name) for name in generators] + [PEERS[name] for name in peers]


def python_of(contender: Contender, environments: Path) -> Path:
    """Its interpreter, which need not be there."""
    if contender.environment is None:
        return Path(sys.executable)
    return environments / contender.environment / "bin" / "python"


def install(contender: Contender, environments: Path) -> str | None:
    """Make its environment from its pins, with the python that runs this; why it cannot be made, or None."""
    python = python_of(contender, environments)
    if python.exists():
        return None
    folder = python.parents[1]
    pins = SCRIPTS / f"{contender.environment}.txt"
    pip = [python, "-m", "pip", "install"]
    steps = [[sys.executable, "-m", "venv", folder], [*pip, "-r", pins]]
    if (alone := pins.with_suffix(".alone.txt")).exists():
        steps.append([*pip, "--no-deps", "--ignore-requires-python", "-r", alone])
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            return f"cannot be installed: {_last_line(done.stderr)}"
    return None


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What all contenders have in common."""

    train: Path
    rows: int
    seed: int
    core: int
    cap_s: float
    environments: Path


def run(contender: Contender, conditions: Conditions, out: Path) -> dict[str, Any]:
    """Fit and sample in a process of its own, on one core; its rows go to `out`.

    What comes back is what `peers/stopwatch.py` prints, with `reason` None; or a reason alone.
    """
    python = python_of(contender, conditions.environments)
    if not python.exists():
        return {"reason": "not installed: run again with --install"}
    # Should memory run out, the contender is the first to go, before anybody's work.
    pinned = ["choom", "-n", "1000", "--", "taskset", "-c", str(conditions.core)]
    command = [*pinned, python, SCRIPTS / contender.script]
    command += ["--train", conditions.train, "--rows", str(conditions.rows), "--seed", str(conditions.seed)]
    command += ["--out", out, *contender.arguments]
    # One thread, no GPU, and nobody fetches anything.
    alone = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    started, load = time.monotonic(), os.getloadavg()[0]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | alone, timeout=conditions.cap_s
        )
    except subprocess.TimeoutExpired:
        return {"reason": f"stopped at the cap of {conditions.cap_s:,.0f} s"}
    except OSError as error:
        return {"reason": f"cannot be started: {error.strerror} ({error.filename})"}
    if done.returncode < 0:
        guess = " (out of memory?)" if done.returncode == -signal.SIGKILL else ""
        return {"reason": f"killed by signal {-done.returncode}{guess}"}
    if done.returncode or not out.exists():
        return {"reason": f"failed (exit {done.returncode}): {_last_line(done.stderr)}"}
    found = json.loads(done.stdout.splitlines()[-1])
    return {"reason": None, "load": load, "process_wall_s": time.monotonic() - started} | found


def digest(*parts: str | Path) -> str:
    """Hex digest of texts, and of the bytes of files."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.read_bytes() if isinstance(part, Path) else part.encode())
    return found.hexdigest()


def _last_line(text: str) -> str:
    """The line that names an error, or else the last one, short enough for a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it said nothing"]
    named = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception)\b", line)]
    return (named or lines)[-1][:160].replace("|", "/")
